"""The light prior's body: identity at start, turning, gradients to both inputs."""
from __future__ import annotations

import torch

from dipir.priors.nets.light_unet import LightUNet, LightUNetConfig

SMALL = LightUNetConfig(widths=(8, 8, 16), plate_widths=(8, 8, 8, 8), plate_blocks=(0, 1, 1, 1), heads=2, embedding=8)


def _inputs(batch: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return torch.randn(batch, 12, 32, 64), torch.randn(batch, 7, 32, 32), torch.randn(batch, 3, 16, 32)


def _scrambled() -> LightUNet:
    net = LightUNet(SMALL)
    torch.manual_seed(2)
    for parameter in net.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def test_untrained_net_returns_the_extrapolation() -> None:
    sphere, plate, base = _inputs()
    out = LightUNet(SMALL)(sphere, plate, base)
    torch.testing.assert_close(out.smooth, base)
    assert out.direction.shape == (2, 16, 32) and out.direction.abs().max() == 0
    # e^-1.5 = 0.22 of the mean (of logarithms) is thought to come from the dominant light.
    torch.testing.assert_close(out.energy, base.mean((2, 3)) - 1.5)


def test_turning_the_sphere_turns_the_output() -> None:
    sphere, plate, base = _inputs()
    net = _scrambled().eval()
    turned, out = net(torch.roll(sphere, 16, -1), plate, torch.roll(base, 8, -1)), net(sphere, plate, base)
    toward = net.plate(plate)[2]  # comes straight from the plate, which did not turn
    for a, b in ((turned.smooth, out.smooth), (turned.direction - toward, out.direction - toward)):
        torch.testing.assert_close(a, torch.roll(b, 8, -1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(turned.energy, out.energy)


def test_every_parameter_and_input_matters() -> None:
    sphere, plate, base = (x.requires_grad_() for x in _inputs())
    net = _scrambled()
    out = net(sphere, plate, base)
    torch.manual_seed(3)
    sum((value * torch.randn_like(value)).sum() for value in (out.smooth, out.direction, out.energy)).backward()
    for name, value in [*net.named_parameters(), ("sphere", sphere), ("plate", plate), ("base", base)]:
        assert value.grad is not None and value.grad.abs().max() > 0, name


def test_size_of_the_shipped_net() -> None:
    count = sum(p.numel() for p in LightUNet().parameters())
    assert 2e6 < count < 4e6
