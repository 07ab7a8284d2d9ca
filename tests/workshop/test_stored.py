"""How sets are kept: light in bytes, rows of dataclasses."""
from __future__ import annotations

from dataclasses import fields

import torch

from dipir.workshop.relight.data import RelitSet
from dipir.workshop.stored import BRIGHTEST, decode, encode, join, part, tall
from tests.support.relit_sets import balls


def test_encoding_and_its_error():
    radiance = torch.linspace(0, BRIGHTEST, 4001)
    stored = encode(radiance)
    assert stored.dtype == torch.uint8 and torch.equal(encode(decode(stored)), stored)
    # Half a step of a 2.4 power curve: the slope times 0.5 / 255.
    step = 2.4 * BRIGHTEST * (stored.float() + 0.5).div(255) ** 1.4 * 0.5 / 255
    assert bool(((decode(stored) - radiance).abs() <= step + 1e-6).all())
    near_white = (radiance > 0.5) & (radiance < 1.5)
    assert float(((decode(stored) - radiance).abs() / radiance)[near_white].max()) < 0.017
    assert encode(torch.tensor([-1.0, 0.0, 8.0, 99.0])).tolist() == [0, 0, 255, 255]


def test_parts_and_joins():
    data = balls()
    assert len(data) == 4 and len(data.part(slice(1, 3))) == 2
    again = join([data.part(slice(0, 1)), data.part(slice(1, 4))])
    assert all(torch.equal(getattr(again, f.name), getattr(data, f.name)) for f in fields(RelitSet))


def test_rows_by_number_and_tall_numbers():
    data = balls()
    chosen = part(data, torch.tensor([3, 0]))
    assert torch.equal(chosen.lit[0], data.lit[3]) and torch.equal(chosen.kind, data.kind[[3, 0]])
    assert tall(torch.arange(3)).shape == (3, 1, 1, 1) and tall(torch.zeros(2, 4)).shape == (2, 4, 1, 1)
