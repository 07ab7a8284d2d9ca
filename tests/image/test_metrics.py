import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.autograd import gradcheck

from dipir.image import metrics
from dipir.image.metrics import LossWeights, edge_loss, sobel, ssim, ssim_loss


def _pair(seed: int = 0, b: int = 2, h: int = 24, w: int = 20) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    a = torch.rand(b, 3, h, w, generator=g)
    return a, (a + 0.2 * torch.randn(b, 3, h, w, generator=g)).clamp(0, 1), torch.rand(b, 1, h, w, generator=g)


def _full(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def test_by_hand():
    a, b = _full(1.0, 0.0, 0.0), _full(0.0, 0.0, 0.0)
    assert metrics.rmse(a, b).item() == pytest.approx(math.sqrt(1 / 3))
    assert metrics.rmse(a, b, channel_sum=True).item() == pytest.approx(1)
    assert metrics.psnr(a, b).item() == pytest.approx(10 * math.log10(3), rel=1e-6)
    assert metrics.psnr(255 * a, b, peak=255).item() == pytest.approx(10 * math.log10(3), rel=1e-6)
    # scale = (1*2 + 1*0) / (1 + 1) = 1: the rest is (1-2)^2 + (1-0)^2 = 2
    si = metrics.si_rmse(_full(1.0, 1.0, 0.0), _full(2.0, 0.0, 0.0), channel_sum=True)
    assert si.item() == pytest.approx(math.sqrt(2))
    assert metrics.angular_error_deg(_full(1.0, 0.0, 0.0), _full(1.0, 1.0, 0.0)).item() == pytest.approx(45)
    assert metrics.angular_error_deg(_full(1.0, 0.0, 0.0), _full(-1.0, 0.0, 0.0)).item() == pytest.approx(90)


def test_equal_images():
    a, _, mask = _pair()
    assert torch.equal(metrics.rmse(a, a, mask), torch.zeros(2)) and torch.isinf(metrics.psnr(a, a)).all()
    torch.testing.assert_close(metrics.ssim(a, a, mask), torch.ones(2))
    assert metrics.si_rmse(7 * a, a).max() < 1e-6 and metrics.si_rmse(a, a * 0.1).max() < 1e-6
    assert metrics.angular_error_deg(a, 3 * a).max() < 1e-5
    black = torch.zeros_like(a)
    torch.testing.assert_close(metrics.si_rmse(black, a), metrics.rmse(black, a))


@pytest.mark.parametrize("masked", [False, True])
def test_numpy_oracle(masked):
    a, b, mask = _pair(3)
    mask = mask if masked else None
    for i in range(2):
        p, g = a[i].double().numpy(), b[i].double().numpy()
        w = mask[i, 0].double().numpy() if masked else np.ones(p.shape[1:])
        n = w.sum()
        rest = (w * g * g).sum() - (w * p * g).sum() ** 2 / (w * p * p).sum()  # methods 5.1, closed form
        with np.errstate(invalid="ignore"):  # Black pixels: NaN becomes angle 0 (methods 5.1).
            cos = (p * g).sum(0) / np.sqrt((p * p).sum(0) * (g * g).sum(0))
        angle = (w * np.nan_to_num(np.degrees(np.arccos(np.clip(cos, 0, 1))))).sum() / n
        rmse = np.sqrt((w * (p - g) ** 2).sum() / n)
        norm = [(x - np.percentile(x, 0.01)) / (np.percentile(x, 99.9) - np.percentile(x, 0.01)) for x in (p, g)]
        assert metrics.rmse(a, b, mask, channel_sum=True)[i].item() == pytest.approx(rmse, rel=1e-6)
        assert metrics.rmse(a, b, mask)[i].item() == pytest.approx(rmse / math.sqrt(3), rel=1e-6)
        assert metrics.psnr(a, b, mask)[i].item() == pytest.approx(-10 * np.log10(rmse**2 / 3), rel=1e-6)
        assert metrics.si_rmse(a, b, mask, channel_sum=True)[i].item() == pytest.approx(np.sqrt(rest / n), rel=1e-5)
        assert metrics.angular_error_deg(a, b, mask)[i].item() == pytest.approx(angle, rel=1e-5)
        n_rmse = np.sqrt((w * (norm[0] - norm[1]) ** 2).sum() / n)
        assert metrics.normalized_rmse(a, b, mask)[i].item() == pytest.approx(n_rmse, rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_ssim_oracle(masked):
    """scipy's Gaussian filter, cut at radius 5 as an 11x11 window is, away from the border."""
    a, b, mask = _pair(5)
    def blur(x):
        return gaussian_filter(x, 1.5, radius=5, axes=(1, 2))[:, 5:-5, 5:-5]
    got = metrics.ssim(a, b, mask if masked else None)
    for i in range(2):
        p, g = a[i].double().numpy(), b[i].double().numpy()
        mp, mg = blur(p), blur(g)
        vp, vg, cov = blur(p * p) - mp**2, blur(g * g) - mg**2, blur(p * g) - mp * mg
        index = (2 * mp * mg + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mg**2 + 1e-4) * (vp + vg + 9e-4))
        w = mask[i, 0, 5:-5, 5:-5].double().numpy() if masked else np.ones(index.shape[1:])
        assert got[i].item() == pytest.approx((index.mean(0) * w).sum() / w.sum(), rel=1e-6)


def test_ssim_of_constants():
    """Variances vanish: SSIM is the luminance term (2 ab + c1) / (a^2 + b^2 + c1)."""
    a, b = torch.full((1, 3, 12, 12), 0.2), torch.full((1, 3, 12, 12), 0.8)
    assert metrics.ssim(a, b).item() == pytest.approx((0.32 + 1e-4) / (0.68 + 1e-4), rel=1e-5)
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(a[..., :10], b[..., :10])


ALL = [metrics.rmse, metrics.si_rmse, metrics.psnr, metrics.ssim, metrics.angular_error_deg]


@pytest.mark.parametrize("metric", ALL)
def test_mask_hides_what_is_outside(metric):
    a, b, _ = _pair(6)
    mask = torch.zeros(1, 1, 24, 20)
    mask[..., 8:12, 7:11] = 1
    worse = b.clone()
    worse[..., -2:] = 99
    assert torch.equal(metric(a, b, mask), metric(a, worse, mask))
    assert not torch.equal(metric(a, b), metric(a, worse))
    assert metric(a, b, mask).shape == (2,) and metric(a, b, mask).dtype == a.dtype


@pytest.mark.parametrize("metric", ALL)
def test_items_are_independent_and_nan_is_seen(metric):
    a, b, _ = _pair(7)
    torch.testing.assert_close(metric(a, b)[1:], metric(a[1:], b[1:]))
    b[0, 1, 12, 9] = float("nan")
    assert metric(a, b).isnan().tolist() == [True, False]


@pytest.mark.parametrize("metric", ALL)
def test_bad_input(metric):
    a, b, mask = _pair()
    with pytest.raises(ValueError, match="no weight"):
        metric(a, b, mask * 0)
    with pytest.raises(ValueError, match="shape"):
        metric(a, b[:1])
    with pytest.raises(ValueError, match="mask"):
        metric(a, b, mask[..., 1:])


@pytest.mark.parametrize("metric", ALL)
def test_gradcheck(metric):
    a, b, mask = (t[:1, :, :12, :11].double() for t in _pair(9))
    assert torch.autograd.gradcheck(lambda x: metric(x, b, mask), (a + 0.01).requires_grad_())


def test_directions():
    def d(*v):
        return torch.tensor(v)
    assert metrics.direction_error_deg(d(1.0, 0, 0), d(0.0, 5, 0)).item() == pytest.approx(90)
    assert metrics.direction_error_deg(d(1.0, 0, 0), d(-2.0, 0, 0)).item() == pytest.approx(180)
    tiny = metrics.direction_error_deg(d(1.0, 0, 0), d(1.0, 1e-5, 0)).item()
    assert tiny == pytest.approx(math.degrees(1e-5), rel=1e-3)  # arccos in float32 gives 0 here
    assert metrics.azimuth_error_deg(d(0.0, 0.9, 1), d(1.0, -3, 0)).item() == pytest.approx(90)
    assert metrics.azimuth_error_deg(d(1.0, 2, -0.01), d(1.0, 0, 0.01)).item() == pytest.approx(2 * 0.57294, rel=1e-3)
    assert metrics.azimuth_error_deg(d(0.0, 1, 0), d(1.0, 0, 0)).isnan()
    assert metrics.direction_error_deg(d(0.0, 0, 0), d(1.0, 0, 0)).isnan()
    many = metrics.direction_error_deg(torch.randn(4, 5, 3), torch.randn(3))
    assert many.shape == (4, 5) and ((many >= 0) & (many <= 180)).all()


# ---- losses ----------------------------------------------------------------------------------------------------------

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
def test_gradients_of_losses(loss):
    a, b = pair((12, 12), 1)
    assert gradcheck(lambda x: loss(x, b), a[:, :1].expand(1, 3, 12, 12).clone().requires_grad_(), atol=1e-6)


def test_bad_input_of_losses():
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
