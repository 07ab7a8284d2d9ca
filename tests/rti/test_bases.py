"""PTM and HSH: exact on images of their own kind, orthonormal, sensible with few lights."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from dipir.errors import ConfigError
from dipir.rti.bases import Coefficients, design, fit, relight


def lights(count: int = 30, seed: int = 0) -> torch.Tensor:
    d = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    d[:, 2] = d[:, 2].abs() + 0.05
    return d / d.norm(dim=1, keepdim=True)


def test_ptm_terms_by_hand():
    row = design(torch.tensor([[0.6, -0.3, math.sqrt(0.55)]]), "ptm")[0]
    torch.testing.assert_close(row, torch.tensor([0.36, 0.09, -0.18, 0.6, -0.3, 1], dtype=torch.float64),
                               atol=1e-6, rtol=0)


def test_a_quadratic_image_set_is_recovered_exactly():
    """The polynomial is written out here, and new lights are foretold without error."""
    coefficients = 0.1 * torch.rand(6, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def photos(d: torch.Tensor) -> torch.Tensor:
        u, v = d[:, 0, None, None, None].double(), d[:, 1, None, None, None].double()
        a = coefficients[:, None]
        return (a[0] * u**2 + a[1] * v**2 + a[2] * u * v + a[3] * u + a[4] * v + a[5] + 0.3).float()
    fitted = fit(lights(), photos(lights()))
    torch.testing.assert_close(relight(fitted, lights(9, 1)), photos(lights(9, 1)), atol=1e-5, rtol=0)
    assert float((relight(fitted, lights(9, 1)) - photos(lights(9, 2))).abs().max()) > 0.01


@pytest.mark.parametrize("basis, count", [("hsh9", 9), ("hsh16", 16)])
def test_harmonics_are_orthonormal_over_the_hemisphere(basis, count):
    """Gauss-Legendre in cos theta times even steps in phi integrates their products exactly."""
    z, weight = np.polynomial.legendre.leggauss(24)
    z, weight = (z + 1) / 2, weight / 2
    phi = np.arange(32) / 32 * 2 * np.pi
    sin = np.sqrt(1 - z**2)[:, None]
    d = np.stack([sin * np.cos(phi), sin * np.sin(phi), np.broadcast_to(z[:, None], (24, 32))], -1).reshape(-1, 3)
    values = design(torch.from_numpy(d), basis)
    area = torch.from_numpy(np.repeat(weight * 2 * np.pi / 32, 32))
    gram = values.T @ (area[:, None] * values)
    torch.testing.assert_close(gram, torch.eye(count, dtype=torch.float64), atol=1e-9, rtol=0)


def test_harmonics_against_scipy():
    """sqrt(2) times the spherical harmonics at the stretched angle, up to sign."""
    d = lights(20)
    theta = np.arccos(2 * d[:, 2].double().numpy() - 1)
    phi = np.arctan2(d[:, 1].double().numpy(), d[:, 0].double().numpy())
    ours = design(d, "hsh16").numpy()
    for order, m, column in ((0, 0, 0), (1, 0, 2), (2, 1, 7), (3, 2, 14), (3, 3, 15)):
        theirs = sph_harm_y(order, m, theta, phi).real * math.sqrt(2) * (math.sqrt(2) if m else 1)
        np.testing.assert_allclose(np.abs(ours[:, column]), np.abs(theirs), atol=1e-6)


def test_harmonics_recover_their_own():
    truth = Coefficients("hsh16", 0.02 * torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(5)))
    truth.values[0] += 1.2
    photos = relight(truth, lights(40))
    assert 0 < float(photos.min()) and float(photos.max()) < 1
    again = fit(lights(40), photos, "hsh16")
    torch.testing.assert_close(again.values, truth.values, atol=1e-4, rtol=0)


def test_more_functions_fit_the_photos_better():
    photos = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    errors = [float((relight(fit(lights(40), photos, b), lights(40)) - photos).square().mean())
              for b in ("ptm", "hsh9", "hsh16")]
    assert errors[0] > errors[2] and errors[1] > errors[2] > 0.01


def test_fewer_lights_than_functions():
    photos = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    fitted = fit(lights(4), photos, "hsh16")
    torch.testing.assert_close(relight(fitted, lights(4)), photos, atol=1e-4, rtol=0)
    assert bool(torch.isfinite(relight(fitted, lights(9, 1))).all())


def test_results_are_display_values():
    fitted = Coefficients("ptm", torch.full((6, 3, 2, 2), 2.0))
    assert float(relight(fitted, torch.tensor([[1.0, 0, 0]])).max()) == 1
    assert float(relight(Coefficients("ptm", -fitted.values), torch.tensor([[1.0, 0, 0]])).min()) == 0


def test_lights_behind_the_plane_are_finite():
    rows = design(torch.tensor([[0.6, 0.0, -0.8], [0.0, 0.0, -1.0]]), "hsh16")
    assert bool(torch.isfinite(rows).all())


def test_unknown_basis():
    with pytest.raises(ConfigError, match="Did you mean 'hsh16'"):
        design(lights(), "hsh-16")
