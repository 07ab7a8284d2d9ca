"""Guided upsampling: exact cases, a naive implementation in loops, gradients, edges, bad input."""
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dipir.image.guided import EPS, RADIUS, box_mean, guided_upsample


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _naive(low: np.ndarray, guide_low: np.ndarray, guide: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """The papers' equations for one channel, pixel by pixel: low (h, w), guide_low (h, w, G), guide (H, W, G)."""
    h, w = low.shape
    g = guide.shape[-1]

    def window(i, j):
        return slice(max(i - radius, 0), i + radius + 1), slice(max(j - radius, 0), j + radius + 1)
    a, b = np.zeros((h, w, g)), np.zeros((h, w))
    for i in range(h):
        for j in range(w):
            x, y = guide_low[window(i, j)].reshape(-1, g), low[window(i, j)].reshape(-1)
            covariance = np.cov(x.T, bias=True).reshape(g, g)
            a[i, j] = np.linalg.inv(covariance + eps * np.eye(g)) @ ((x * y[:, None]).mean(0) - x.mean(0) * y.mean())
            b[i, j] = y.mean() - a[i, j] @ x.mean(0)
    mean = [np.stack([[plane[window(i, j)].mean((0, 1)) for j in range(w)] for i in range(h)]) for plane in (a, b)]
    a, b = _bilinear(mean[0], guide.shape[:2]), _bilinear(mean[1][..., None], guide.shape[:2])[..., 0]
    return (a * guide).sum(-1) + b


def _bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, C) -> (H, W, C); pixel centres at + 0.5, edges repeated."""
    out = np.zeros((*size, x.shape[2]))
    for i in range(size[0]):
        for j in range(size[1]):
            y, z = ((k + 0.5) * n / m - 0.5 for k, n, m in ((i, x.shape[0], size[0]), (j, x.shape[1], size[1])))
            for m, u in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
                for n, v in ((math.floor(z), 1 - z % 1), (math.floor(z) + 1, z % 1)):
                    out[i, j] += u * v * x[min(max(m, 0), x.shape[0] - 1), min(max(n, 0), x.shape[1] - 1)]
    return out


def test_box_mean_by_hand():
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]])[None, None]
    assert box_mean(x, 1)[0, 0].tolist() == [[3, 3.5, 4], [4.5, 5, 5.5], [7.5, 8, 8.5], [9, 9.5, 10]]
    assert torch.allclose(box_mean(x, 9), torch.full_like(x, 6.5))  # a window larger than the picture


@pytest.mark.parametrize("guides", [1, 3])
@pytest.mark.parametrize("radius, eps", [(1, 1e-2), (3, 1e-4)])
def test_against_loops(guides, radius, eps):
    low, guide_low, guide = _random(0, 2, 2, 7, 5), _random(1, 2, guides, 7, 5), _random(2, 2, guides, 17, 13)
    plain = guided_upsample(low, guide_low, guide, radius, eps, residual=False)
    whole = guided_upsample(low, guide_low, guide, radius, eps)
    for i in range(2):
        for c in range(2):
            g, full = (t[i].permute(1, 2, 0).numpy() for t in (guide_low, guide))
            naive = _naive(low[i, c].numpy(), g, full, radius, eps)
            np.testing.assert_allclose(plain[i, c].numpy(), naive, atol=1e-9)
            left = low[i, c].numpy() - _naive(low[i, c].numpy(), g, g, radius, eps)
            np.testing.assert_allclose(whole[i, c].numpy(), naive + _bilinear(left[..., None], (17, 13))[..., 0],
                                       atol=1e-9)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("guides", [1, 3])
def test_affine_and_constant(guides, residual):
    guide_low, guide = _random(3, 1, guides, 9, 8), _random(4, 1, guides, 40, 37)
    mix = _random(5, 2, guides) - 0.5

    def affine(x):
        return torch.einsum("cg,bghw->bchw", mix, x) + 0.3
    out = guided_upsample(affine(guide_low), guide_low, guide, 2, 1e-11, residual)
    assert torch.allclose(out, affine(guide), atol=1e-7)
    flat = torch.full((1, 2, 9, 8), 0.37)
    out = guided_upsample(flat, guide_low.float(), guide.float(), residual=residual)
    assert torch.allclose(out, torch.full_like(out, 0.37), atol=1e-5)


def test_equal_sizes_give_the_layer_back():
    low, guide = _random(6, 1, 1, 6, 7), _random(7, 1, 3, 6, 7)
    assert torch.allclose(guided_upsample(low, guide, guide), low, atol=1e-12)
    assert (guided_upsample(low, guide, guide, residual=False) - low).abs().max() > 0.05  # the plain filter smooths


def test_one_pixel_and_a_flat_grey_guide_in_colour():
    one = guided_upsample(torch.full((1, 1, 1, 1), 0.4), torch.rand(1, 3, 1, 1), torch.rand(1, 3, 5, 4))
    assert torch.allclose(one, torch.full_like(one, 0.4))
    grey = torch.full((1, 3, 8, 8), 0.5)  # a covariance of zeros
    out = guided_upsample(torch.rand(1, 1, 4, 4), grey[..., :4, :4], grey)
    assert bool(torch.isfinite(out).all())


def _edge_scene(factor: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A gain that jumps at a disc's edge and drifts elsewhere; a photo with that edge, texture and noise."""
    y, x = torch.meshgrid(torch.arange(96) / 96, torch.arange(96) / 96, indexing="ij")
    inside = ((x - 0.45) ** 2 + (y - 0.55) ** 2 < 0.09).float()
    gain = (0.5 * inside + 0.3 * torch.sin(4 * x) * torch.cos(3 * y))[None, None]
    g = torch.Generator().manual_seed(0)
    photo = torch.stack([0.3 + 0.45 * inside, 0.5 - 0.2 * inside, 0.4 + 0 * x])[None] + 0.02 * torch.randn(
        1, 3, 96, 96, generator=g)
    size = (96 // factor, 96 // factor)
    return gain, photo, interpolate(gain, size, mode="area"), interpolate(photo, size, mode="area")


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_an_edge_of_the_photo_is_kept_better_than_bilinear(factor):
    gain, photo, low, photo_low = _edge_scene(factor)

    def psnr(x):
        return -10 * math.log10(float((x - gain).square().mean()))
    bilinear = psnr(interpolate(low, (96, 96), mode="bilinear"))
    assert psnr(guided_upsample(low, photo_low, photo)) > bilinear + 2.0


def test_texture_that_the_layer_does_not_have_is_not_copied():
    g = torch.Generator().manual_seed(1)
    photo = 0.5 + 0.03 * torch.randn(1, 3, 64, 64, generator=g)
    low = torch.linspace(0, 1, 16)[None, None, None].expand(1, 1, 16, 16).contiguous()
    out = guided_upsample(low, interpolate(photo, (16, 16), mode="area"), photo)
    assert (out - interpolate(low, (64, 64), mode="bilinear")).abs().max() < 0.03


@pytest.mark.parametrize("guides", [1, 3])
def test_gradients(guides):
    args = [_random(8, 1, 2, 3, 4), _random(9, 1, guides, 3, 4), _random(10, 1, guides, 6, 7)]
    args = [t.requires_grad_() for t in args]
    assert torch.autograd.gradcheck(lambda *t: guided_upsample(*t, 1, 1e-2), args)


@pytest.mark.parametrize("shapes, radius, eps", [
    (((1, 1, 4, 4), (1, 3, 4, 5), (1, 3, 8, 8)), RADIUS, EPS), (((1, 1, 4, 4), (1, 2, 4, 4), (1, 2, 8, 8)), 1, EPS),
    (((1, 1, 4, 4), (1, 3, 4, 4), (1, 1, 8, 8)), 1, EPS), (((2, 1, 4, 4), (1, 3, 4, 4), (1, 3, 8, 8)), 1, EPS),
    (((1, 1, 4, 4), (1, 3, 4, 4), (1, 3, 3, 8)), 1, EPS), (((1, 4, 4), (1, 3, 4, 4), (1, 3, 8, 8)), 1, EPS),
    (((1, 0, 4, 4), (1, 3, 4, 4), (1, 3, 8, 8)), 1, EPS), (((1, 1, 4, 4), (1, 3, 4, 4), (1, 3, 8, 8)), 0, EPS),
    (((1, 1, 4, 4), (1, 3, 4, 4), (1, 3, 8, 8)), 1, 0.0), (((1, 1, 4, 4), (1, 3, 4, 4), (1, 3, 8, 8)), 1, math.nan)])
def test_wrong_arguments(shapes, radius, eps):
    with pytest.raises(ValueError, match="accepted"):
        guided_upsample(*(torch.rand(s) for s in shapes), radius, eps)
