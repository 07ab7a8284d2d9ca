"""Training losses against the measures, values worked out by hand, and numerical gradients."""
from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from dipir.image.losses import LossWeights, edge_loss, sobel, ssim_loss
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


# ---- the weighted sum ------------------------------------------------------------------------------------------------

def test_loss_by_hand() -> None:
    """A ramp of slope 0.02 in x against an even picture of its mean."""
    ramp = (0.3 + 0.02 * torch.arange(16.0)).expand(1, 3, 16, 16)
    even = torch.full_like(ramp, float(ramp.mean()))
    off = 0.02 * torch.tensor([abs(k - 7.5) for k in range(16)])
    parts = [LossWeights(*row)(ramp, even) for row in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))]
    assert float(parts[0]) == pytest.approx(float(off.mean()), rel=1e-4)
    assert float(parts[1]) == pytest.approx(float(off.square().mean()), rel=1e-4)
    assert float(parts[2]) == pytest.approx(float(ssim_loss(ramp, even))) and 0 < float(parts[2]) < 2
    assert float(parts[3]) == pytest.approx(0.01, rel=1e-4)  # 0.02 along x, 0 along y.
    assert float(parts[3]) == pytest.approx(float(edge_loss(ramp, even)))
    total = LossWeights()(ramp, even)
    assert float(total) == pytest.approx(float(0.5 * parts[0] + 10 * parts[1] + 0.1 * parts[2] + 0.25 * parts[3]))
    assert float(LossWeights()(ramp, ramp)) == pytest.approx(0, abs=1e-6)


def test_loss_gradient_leads_down_and_half_floats_do_not_hurt() -> None:
    torch.manual_seed(0)
    image, target = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16)
    loss = LossWeights()(image, target)
    loss.backward()
    step = 1e-3 / float(image.grad.norm())
    lower = LossWeights()((image - step * image.grad).detach(), target)
    assert float(loss.detach() - lower) == pytest.approx(step * float(image.grad.square().sum()), rel=0.05)
    half = (0.5 + 0.01 * target).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert float(LossWeights()(half, half)) == pytest.approx(0, abs=1e-5)
