"""Training losses against the measures, values worked out by hand, and numerical gradients."""
from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from dipir.image.losses import edge_loss, sobel, ssim_loss
from dipir.image.metrics import ssim


def pair(size: tuple[int, int] = (14, 17), batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(batch, 3, *size, dtype=torch.float64), torch.rand(batch, 3, *size, dtype=torch.float64)


@pytest.mark.parametrize("loss", [ssim_loss, edge_loss])
def test_equal_images_cost_nothing(loss):
    a, _ = pair()
    assert float(loss(a, a.clone())) == pytest.approx(0, abs=1e-12)


def test_ssim_loss_is_one_minus_the_measure():
    a, b = pair()
    for other in (b, (a + 0.05 * b).clamp(0, 1), 1 - a):
        assert float(ssim_loss(a, other)) == pytest.approx(1 - float(ssim(a, other).mean()), abs=1e-10)


def test_ssim_loss_of_even_images_by_hand():
    """Without variance SSIM is (2 ab + C1) / (a^2 + b^2 + C1)."""
    a, b = torch.full((1, 3, 12, 12), 0.2), torch.full((1, 3, 12, 12), 0.6)
    assert float(ssim_loss(a, b)) == pytest.approx(1 - (0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-4)


def test_single_precision_is_good_enough():
    a, b = pair((64, 64))
    near = (a + 0.02 * b) / 1.02
    assert float(ssim_loss(a.float(), near.float())) == pytest.approx(float(ssim_loss(a, near)), abs=1e-4)


def test_sobel_of_a_ramp_by_hand():
    """A ramp of 0.1 a pixel to the right and 0.02 downwards has just these changes everywhere."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    change = sobel((0.1 * x + 0.02 * y)[None, None])
    assert change.shape == (1, 2, 4, 6)
    torch.testing.assert_close(change[0, 0], torch.full((4, 6), 0.1), atol=1e-6, rtol=0)
    torch.testing.assert_close(change[0, 1], torch.full((4, 6), 0.02), atol=1e-6, rtol=0)


def test_edge_loss_of_one_bright_pixel_by_hand():
    """Sobel weights are 1/8, 2/8 beside the pixel; of 3 x 3 windows in 5 x 5 all nine see it: (2 + 4 + 2) / 8 for x and
    for y, over 18 values."""
    a = torch.zeros(1, 1, 5, 5)
    b = a.clone()
    b[0, 0, 2, 2] = 1
    assert float(edge_loss(a, b)) == pytest.approx(2 * (4 * 1 / 8 + 2 * 2 / 8) / 18, abs=1e-7)


def test_edge_loss_is_blind_to_an_offset():
    a, _ = pair()
    assert float(edge_loss(a, a + 0.3)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", [ssim_loss, edge_loss])
def test_gradients(loss):
    a, b = pair((12, 12), 1)
    assert gradcheck(lambda x: loss(x, b), a[:, :1].expand(1, 3, 12, 12).clone().requires_grad_(), atol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim_loss(torch.rand(1, 3, 10, 20), torch.rand(1, 3, 10, 20))
    for loss in (ssim_loss, edge_loss):
        with pytest.raises(ValueError, match="of one shape"):
            loss(torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 13))
