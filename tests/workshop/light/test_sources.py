"""Batches of the light prior's training: the asked shares, from the step alone, with a loss that can be followed."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.workshop.light import framed, pool
from dipir.workshop.light.batches import ship
from dipir.workshop.light.framed import Framed
from dipir.workshop.light.pool import Pool
from dipir.workshop.light.sources import LightPriorConfig, Stored, sources_of, staged, timed
from dipir.workshop.trainer import TrainConfig, learning_rate
from tests.support.light_sets import CONFIG, raw_plates, scrambled

CPU = torch.device("cpu")
BARE = replace(CONFIG, bare=0.5, placed=0.5, batch=4)


def test_batches_hold_the_asked_shares(places) -> None:
    config = replace(CONFIG, batch=20, bare=0.35, placed=0.1)
    made = sources_of(config, places, raw_plates(2))
    assert [(count, type(source)) for count, source in made] == [(7, Framed), (11, Pool), (2, Stored)]
    assert [count for count, _ in sources_of(config, places)] == [7, 13]
    assert [type(s) for _, s in sources_of(replace(config, bare=1.0), places)] == [Framed]
    assert [type(s) for _, s in sources_of(replace(config, bare=0.0), places)] == [Pool]


def test_stored_plates_are_drawn_as_they_are() -> None:
    raw = raw_plates(3)
    source = Stored(raw)
    columns = source.columns(np.random.default_rng(0), 200)
    assert set(columns["row"].tolist()) == {0, 1, 2}
    got = source.plates(ship(columns, CPU))
    for key, value in vars(raw).items():
        assert torch.equal(getattr(got, key), value[columns["row"]]), key


def test_a_step_follows_from_its_number(places) -> None:
    steps = staged(BARE, sources_of(BARE, places, raw_plates(3)))
    one, again, other = steps.numbers(5), steps.numbers(5), steps.numbers(6)
    assert all(np.array_equal(one[k], again[k]) for k in one) and list(one) == list(other)
    assert [np.shape(v) for v in one.values()] == [np.shape(v) for v in other.values()], "a graph needs one shape"
    assert any(not np.array_equal(one[k], other[k]) for k in one)


def test_the_loss_is_the_weighted_sum_of_its_terms_and_has_a_gradient(places) -> None:
    steps, net = staged(BARE, sources_of(BARE, places, raw_plates(3))), scrambled()
    loss, scalars = steps(net, 0)
    assert set(scalars) >= set(BARE.weights) and not any(v.requires_grad for v in scalars.values())
    assert float(loss.detach()) == pytest.approx(sum(w * float(scalars[k]) for k, w in BARE.weights.items()), rel=1e-5)
    loss.backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())]
    assert silent == []
    assert net.plate.backbone.stem.weight.grad.abs().max() > 0


def test_sources_are_renewed_before_a_step(places, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pool, framed):
        monkeypatch.setattr(module, "HEIGHT", 24)
        monkeypatch.setattr(module, "WIDTH", 32)
    config = replace(CONFIG, bare=0.0, pool=1, renew=2)
    made = sources_of(config, places)
    steps = staged(config, made)
    (_, source), = made
    seen = []
    for step in range(4):
        steps.before(step)
        seen.append(source.data.plate.clone())
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3]) and not torch.equal(seen[1], seen[2])


def test_a_run_of_minutes_has_no_end_of_steps() -> None:
    config = timed(LightPriorConfig(), 8.0)
    assert config.train.by_time and config.train.minutes == 8 and config.train.steps > 10**8
    assert config.batch == LightPriorConfig().batch
    last = TrainConfig().last * config.train.rate
    assert learning_rate(config.train, 20_000, 8 * 60) == pytest.approx(last, rel=1e-3)


def test_the_backbone_learns_more_slowly() -> None:
    (start, part), = LightPriorConfig().train.slow
    names = [n for n, _ in scrambled().named_parameters() if n.startswith(start)]
    assert part < 1 and len(names) >= 18
