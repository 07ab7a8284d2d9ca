"""The light prior's body: identity at start, turning, gradients to both inputs."""
from __future__ import annotations

import torch

from dipir.nets.light_unet import LightUNet, LightUNetConfig

SMALL = LightUNetConfig(widths=(8, 8, 16), plate_widths=(8, 8, 8, 8), heads=2, embedding=8)


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
    torch.testing.assert_close(LightUNet(SMALL)(sphere, plate, base), base)


def test_turning_the_sphere_turns_the_output() -> None:
    sphere, plate, base = _inputs()
    net = _scrambled()
    turned = net(torch.roll(sphere, 16, -1), plate, torch.roll(base, 8, -1))
    torch.testing.assert_close(turned, torch.roll(net(sphere, plate, base), 8, -1), atol=1e-5, rtol=1e-4)


def test_every_parameter_and_input_matters() -> None:
    sphere, plate, base = (x.requires_grad_() for x in _inputs())
    net = _scrambled()
    (net(sphere, plate, base) * torch.randn(2, 3, 16, 32)).sum().backward()
    for name, value in [*net.named_parameters(), ("sphere", sphere), ("plate", plate), ("base", base)]:
        assert value.grad is not None and value.grad.abs().max() > 0, name


def test_size_of_the_shipped_net() -> None:
    count = sum(p.numel() for p in LightUNet().parameters())
    assert 1e6 < count < 3e6
