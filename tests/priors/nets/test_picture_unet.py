"""The half-size U-Net: zero at first, any size that fits, detail by the layers at full size."""
from __future__ import annotations

import pytest
import torch

from dipir.priors.nets.picture_unet import PictureUNet


@pytest.mark.parametrize("height, width", [(16, 16), (24, 40)])
def test_zero_at_first_and_as_large_as_its_input(height, width):
    net = PictureUNet(5, 3, (8, 16), 1, embedding=12)
    out = net(torch.randn(2, 5, height, width), torch.randn(2, 12))
    assert out.shape == (2, 3, height, width) and float(out.abs().max()) == 0


def test_one_pixel_is_told_from_its_neighbour():
    """The layers at full size see what the half-size ones fold together, and the gradient reaches every weight."""
    torch.manual_seed(0)
    net = PictureUNet(3, 3, (8, 16), 1)
    for last in (net.leave, net.fine[-1]):
        torch.nn.init.normal_(last.weight, std=0.2)
    plain = torch.zeros(1, 3, 16, 16)
    dot = plain.clone()
    dot[..., 8, 8] = 1
    change = (net(dot) - net(plain)).abs().sum(1)[0]
    assert float(change[8, 8]) > 0 and not torch.allclose(change[8, 8], change[8, 9])
    net(dot).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
