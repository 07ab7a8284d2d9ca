"""What the surfaces' network says: an untrained one, sizes, numbers as surfaces."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.priors.nets.surface_net import SurfaceNet, SurfaceNetConfig
from dipir.priors.relit.surfaces import see, surfaces_of

SMALL = SurfaceNetConfig(widths=(16, 16, 16, 8, 8, 8), heads=2)


def seeing(seed: int = 1) -> SurfaceNet:
    """Weights that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SurfaceNet(SMALL)
        for layer in (net.out, net.whole[-1]):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(32, 32), (50, 33), (31, 97)])
def test_an_untrained_one_sees_no_surface(size):
    seen = see(SurfaceNet(SMALL).requires_grad_(False), torch.rand(2, 3, *size))
    shapes = {name: tuple(value.shape[1:]) for name, value in vars(seen).items()}
    assert shapes == {"normal": (3, *size), "albedo": (3, *size), "up": (3,), "fine": (8, *size),
                      **{name: (1, *size) for name in ("shading", "depth", "shadow", "solid")}}
    assert not any(value.any() for value in (seen.normal, seen.shading, seen.depth))
    assert float(seen.albedo.min()) == pytest.approx(0.2, abs=0.01) == float(seen.albedo.max())
    assert seen.up.tolist() == [[0, 1, 0]] * 2 and float(seen.shadow.min()) == 0.5


def test_numbers_as_surfaces_by_hand():
    raw = torch.zeros(1, 10, 1, 1)
    raw[0, :3, 0, 0] = torch.tensor([3.0, 0.0, 4.0])
    raw[0, 3:6] = 1.4 / 1.5
    raw[0, 6], raw[0, 7], raw[0, 8], raw[0, 9] = -0.5, 1.5, 2.0, -1.0
    seen = surfaces_of(raw, torch.tensor([[0.0, 0.75]]), torch.tensor([2.0]))
    assert seen.normal.flatten().tolist() == pytest.approx([3 / math.sqrt(26), 0, 4 / math.sqrt(26)])
    assert seen.albedo.flatten().tolist() == pytest.approx([0.5] * 3)
    assert (float(seen.shading), float(seen.depth)) == (-0.5, 1.5)
    assert float(seen.shadow) == pytest.approx(1 / (1 + math.exp(-2))) and float(seen.solid) == 0.5
    assert seen.up.flatten().tolist() == pytest.approx([0, 0.8, 0.6]) and seen.fine.tolist() == [2]


def test_normals_never_exceed_one_and_keep_their_side():
    raw = torch.randn(4, 10, 8, 8, generator=torch.Generator().manual_seed(0)) * 100
    normal = surfaces_of(raw, torch.zeros(4, 2), raw).normal
    assert float(normal.norm(dim=1).max()) <= 1 and bool((normal.sign() == raw[:, :3].sign()).all())


def test_what_is_put_on_to_fill_the_unit_is_the_last_row_and_column():
    net = seeing()
    image = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(2))
    rows, columns = (torch.arange(64).clamp_max(n - 1) for n in (40, 50))
    whole = see(net, image[:, :, rows][..., columns])
    part = see(net, image)
    for name, value in vars(part).items():
        expected = getattr(whole, name)
        torch.testing.assert_close(value, expected if name == "up" else expected[..., :40, :50])
    assert float(part.normal.std()) > 0.01 and float(part.up[0, 0].abs()) > 1e-3
