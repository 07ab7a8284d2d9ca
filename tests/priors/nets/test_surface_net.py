"""The body of the surfaces' network: sizes, zero at first, what reaches what."""
from __future__ import annotations

import pytest
import torch

from dipir.priors.nets.efficientnet import CHANNELS, FINE_CHANNELS
from dipir.priors.nets.surface_net import OUTPUTS, WHOLE, SurfaceNet, SurfaceNetConfig

SMALL = SurfaceNetConfig(widths=(16, 16, 16, 8, 8, 8), heads=2)


def _net(seed: int = 0, started: bool = True) -> SurfaceNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SurfaceNet(SMALL)
        if started:
            # Untrained depthwise convolutions would let nothing through.
            for parameter in net.parameters():
                if parameter.ndim > 1:
                    torch.nn.init.kaiming_normal_(parameter)
    return net.eval()


def _photo(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_one_answer_for_each_pixel_and_one_for_the_picture(size):
    with torch.no_grad():
        maps, whole, fine = _net()(_photo(*size))
    assert maps.shape == (2, OUTPUTS, *size) and whole.shape == (2, WHOLE)
    assert fine.shape == (2, SMALL.widths[-1], *size)
    assert float(maps.std()) > 1e-3 and float((whole[0] - whole[1]).abs().max()) > 1e-5


def test_zero_at_first():
    maps, whole, _ = _net(started=False)(_photo(32, 32))
    assert not maps.any() and not whole.any()


def test_pictures_of_a_batch_do_not_meet():
    net, photo = _net(), _photo(32, 64)
    with torch.no_grad():
        together, alone = net(photo), net(photo[1:])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:], b, atol=1e-5, rtol=1e-4)


def test_the_pyramid_goes_on_from_fine_to_coarse():
    """Strides 2, 4, 8, 16, 32; the last three are what the backbone gave before."""
    backbone, photo = _net().backbone, _photo(64, 96)
    with torch.no_grad():
        pyramid, coarse = backbone.pyramid(photo), backbone(photo)
    assert [tuple(x.shape[1:]) for x in pyramid] == [
        (c, 64 // s, 96 // s) for c, s in zip((*FINE_CHANNELS, *CHANNELS), (2, 4, 8, 16, 32), strict=True)]
    assert len(coarse) == 3 and all(torch.equal(a, b) for a, b in zip(pyramid[2:], coarse, strict=True))


def test_every_weight_learns():
    net = _net()
    maps, whole, _ = net(_photo(64, 64)[:1])
    (maps.square().mean() + whole.square().mean()).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_a_pixel_is_seen_at_its_own_place():
    """With the deep features switched off, the fine ones reach no farther than their kernels."""
    net, photo = _net(), _photo(64, 64)[:1]
    with torch.no_grad():
        first = net.fine[0]
        for layer in first.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight[:, :-3] = 0
    other = photo.clone()
    other[0, :, 40, 23] = 1 - other[0, :, 40, 23]
    with torch.no_grad():
        apart = (net(photo)[0] - net(other)[0]).abs().sum(1)[0]
    rows, columns = (apart > 1e-6).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (38, 42, 21, 25)
