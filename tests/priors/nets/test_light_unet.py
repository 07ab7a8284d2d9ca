"""The light prior's body: identity at start, turning, gradients to all inputs."""
from __future__ import annotations

import torch

from dipir.priors.nets.light_unet import LightUNet, LightUNetConfig
from tests.support.light_sets import NET, scrambled


def _inputs(batch: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return (torch.randn(batch, 13, 32, 64), torch.rand(batch, 3, 64, 96), torch.randn(batch, 5, 4, 6),
            torch.rand(batch, 2, 4, 128, 128), torch.randn(batch, 3, 16, 32))


def test_untrained_net_returns_the_extrapolation() -> None:
    inputs = _inputs()
    base = inputs[-1]
    out = LightUNet(NET)(*inputs)
    torch.testing.assert_close(out.smooth, base)
    assert out.direction.shape == (2, 16, 32) and out.direction.abs().max() == 0
    # e^-1.5 = 0.22 of the mean (of logarithms) is thought to come from the dominant light.
    torch.testing.assert_close(out.energy, base.mean((2, 3)) - 1.5)
    for value, first in ((out.hard, -0.5), (out.share, 1.0), (out.width, -5.0)):
        assert value.tolist() == [first, first]


def test_turning_the_sphere_turns_the_output() -> None:
    sphere, photo, coarse, ground, base = _inputs()
    net = scrambled().eval()
    turned = net(torch.roll(sphere, 16, -1), photo, coarse, ground, torch.roll(base, 8, -1))
    out = net(sphere, photo, coarse, ground, base)
    toward = net.plate(photo, coarse, ground)[2]  # comes straight from the plate, which did not turn
    for a, b in ((turned.smooth, out.smooth), (turned.direction - toward, out.direction - toward)):
        torch.testing.assert_close(a, torch.roll(b, 8, -1), atol=1e-4, rtol=1e-3)
    for key in ("energy", "hard", "share", "width"):
        torch.testing.assert_close(getattr(turned, key), getattr(out, key))


def test_every_parameter_and_input_matters() -> None:
    inputs = [x.requires_grad_() for x in _inputs()]
    net = scrambled()
    out = net(*inputs)
    torch.manual_seed(3)
    sum((value * torch.randn_like(value)).sum() for value in vars(out).values()).backward()
    named = zip(("sphere", "photo", "coarse", "ground", "base"), inputs, strict=True)
    for name, value in [*net.named_parameters(), *named]:
        assert value.grad is not None and value.grad.abs().max() > 0, name


def test_without_the_ground_it_does_not_look_there() -> None:
    config = LightUNetConfig(**{**vars(NET), "ground": False})
    net = scrambled(config=config).eval()
    sphere, photo, coarse, ground, base = _inputs()
    one, two = net(sphere, photo, coarse, ground, base), net(sphere, photo, coarse, 1 - ground, base)
    assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True))
    with_it = scrambled().eval()
    one, two = (with_it(sphere, photo, coarse, g, base) for g in (ground, 1 - ground))
    assert not torch.equal(one.direction, two.direction) and not torch.equal(one.share, two.share)
    assert sum(p.numel() for p in net.parameters()) < sum(p.numel() for p in with_it.parameters())


def test_plates_of_a_batch_do_not_see_each_other() -> None:
    inputs = _inputs(3)
    net = scrambled().eval()
    together, alone = net(*inputs), net(*(x[1:2] for x in inputs))
    for a, b in zip(vars(together).values(), vars(alone).values(), strict=True):
        torch.testing.assert_close(a[1:2], b, atol=1e-4, rtol=1e-4)


def test_size_of_the_shipped_net() -> None:
    """In half precision at most 20 MB, the limit for weights."""
    count = sum(p.numel() for p in LightUNet().parameters())
    assert 7e6 < count < 10e6
