"""The network that makes editing layers: even at first, sizes, what it sees, gradients."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from dipir.priors.nets.shading import WIDTHS, DoubleConv, LayerUNet


def _scrambled(layers: tuple[int, ...] = (1, 1)) -> LayerUNet:
    net = LayerUNet(layers)
    torch.manual_seed(1)
    for decoder in net.decoders:
        nn.init.normal_(decoder[2].weight, std=0.3)
    return net


@pytest.mark.parametrize("layers", [(1, 1), (3, 1), (1,)])
def test_every_layer_is_even_at_first(layers: tuple[int, ...]) -> None:
    out = LayerUNet(layers)(torch.rand(1, 3, 32, 48))
    assert [x.shape for x in out] == [(1, n, 32, 48) for n in layers] and not any(bool(x.any()) for x in out)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (45, 16), (64, 40)])
def test_any_size_from_sixteen_on(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    for made in _scrambled()(torch.rand(1, 3, *size)):
        assert made.shape == (1, 1, *size) and bool(torch.isfinite(made).all()) and float(made.detach().std()) > 1e-3


def test_block_by_hand() -> None:
    """Convolution, normalisation of every channel over the picture, ReLU, twice."""
    torch.manual_seed(0)
    block, x = DoubleConv(3, 4).double(), torch.randn(1, 3, 6, 7, dtype=torch.float64)
    h = x
    for conv in (block.body[0], block.body[3]):
        h = nn.functional.conv2d(h, conv.weight, padding=1)
        h = (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        h = h.clamp_min(0)
    torch.testing.assert_close(block(x), h)


def test_pictures_of_a_batch_do_not_mix() -> None:
    net, batch = _scrambled(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for together, alone in zip(net(batch), net(batch[:1]), strict=True):
        torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)


def test_detail_and_surroundings_reach_the_layers() -> None:
    """A layer at one pixel depends on that very pixel and, through the levels, on one far away."""
    net, image = _scrambled(), torch.rand(1, 3, 64, 64, requires_grad=True)
    net(image)[0][0, 0, 32, 32].backward()
    slope = image.grad.abs().sum(1)[0]
    assert slope[30:35, 30:35].mean() > 1.5 * slope.mean() and slope[2, 2] > 0


def test_gradient_reaches_every_parameter_and_layers_are_apart() -> None:
    net, image = _scrambled(), torch.rand(1, 3, 32, 32)
    sum((x * torch.randn_like(x)).sum() for x in net(image)).backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in net.parameters())
    net.zero_grad()
    net(image)[1].square().sum().backward()
    first, second = (sum(float(p.grad.abs().sum()) for p in d.parameters() if p.grad is not None) for d in net.decoders)
    assert first == 0 and second > 0


def test_widths_are_the_published_ones() -> None:
    assert WIDTHS == (16, 32, 64, 128)
    assert [block.body[3].out_channels for block in LayerUNet().down] == [16, 32, 64, 128]
    assert [d[k].body[3].out_channels for d in LayerUNet().decoders for k in (0, 1)] == [32, 16] * 2
