"""How estimated light is judged: closed forms, perfect and turned maps."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.image import latlong
from dipir.scene.light import dominant_direction
from dipir.workshop.light.measures import functionals, score
from tests.support.light_maps import sun_map


def test_functionals_of_a_known_map() -> None:
    rows = functionals()
    for matrix in (rows.diffuse, rows.glossy8, rows.glossy64):
        torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix)))
    # Irradiance under 1 + y is pi (1 + 2/3 n.y): divided by pi, the rows give 1 + 2/3 n_y.
    y = latlong.directions(16, 32)[..., 1].reshape(-1)
    k = torch.arange(64) + 0.5
    torch.testing.assert_close(rows.diffuse @ (1 + y), 1 + 2 / 3 * (1 - 2 * k / 64), atol=0.01, rtol=0)


@pytest.mark.parametrize("azimuth_deg", [0, 75, 180, -179])
def test_dominant_direction(azimuth_deg: float) -> None:
    a = math.radians(azimuth_deg)
    expected = torch.tensor([math.sin(a), 1.0, math.cos(a)]) / math.sqrt(2)
    assert math.degrees(math.acos(float(dominant_direction(sun_map(azimuth_deg, 45)) @ expected))) < 4
    assert dominant_direction(torch.ones(16, 32, 3)).tolist() == [0, 1, 0]


def test_scores() -> None:
    rows, true = functionals(), sun_map(30, 40)
    perfect = score(true, true, rows)
    assert all(abs(v) < 0.03 for v in perfect.values())
    double = score(true * 2, true, rows)
    assert double["diffuse"] == pytest.approx(1, abs=1e-4) and double["si"] == pytest.approx(0, abs=1e-4)
    assert double["exposure"] == pytest.approx(math.log(2), abs=1e-4)
    assert math.isnan(score(true, sun_map(30, 80), rows)["azimuth_deg"])
    turned = score(sun_map(100, 40), true, rows)
    assert turned["azimuth_deg"] == pytest.approx(70, abs=4) and turned["si"] > 0.2 and turned["exposure"] < 0.02
