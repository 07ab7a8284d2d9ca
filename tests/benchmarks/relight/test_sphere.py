"""Opposite lights on a matt sphere."""
from __future__ import annotations

import pytest
import torch

from benchmarks.relight import sphere
from benchmarks.relight.methods import methods
from dipir.image.color import linear_to_srgb
from dipir.image.files import read_image
from dipir.scene.direction import LightDirection


def test_stops_by_hand():
    """The left half 0.4 and 0.1, the right half 0.05 and 0.2: two stops each, whatever the exposure of either."""
    left = torch.arange(8) < 4
    facing = torch.linspace(1, -1, 8).expand(1, 1, 8, 8)
    inside = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    first, second = (torch.where(left, a, b).expand(1, 3, 8, 8) for a, b in ((0.4, 0.05), (0.1, 0.2)))
    for gain in (1.0, 0.5):
        shown = linear_to_srgb(first * gain), linear_to_srgb(second)
        assert sphere.apart(*shown, facing, inside) == pytest.approx(2, abs=1e-3)
        assert sphere.apart(*shown[::-1], facing, inside) == pytest.approx(-2, abs=1e-3)
    assert sphere.apart(linear_to_srgb(first), linear_to_srgb(first), facing, inside) == 0
    inside[..., 6:] = False
    assert sphere.apart(linear_to_srgb(first), linear_to_srgb(second), facing, inside) > 0.9


@pytest.fixture(scope="module")
def ball() -> sphere.Ball:
    return sphere.rendered(size=48, spp=8)


def test_the_rendered_sphere_is_lit_from_where_it_says(ball):
    """Its left half is brighter in light from the left; what faces the camera is dark in light from behind."""
    for brighter in ("left", "right"):
        grey = ball.lit[brighter].mean(1, keepdim=True)
        halves = {name: float(grey[ball.inside & (side * ball.normal[:, :1] > 0.3)].mean())
                  for name, side in (("left", -1), ("right", 1))}
        assert max(halves, key=halves.get) == brighter and max(halves.values()) > 1.3 * min(halves.values())
    middle = ball.inside & (ball.normal[:, 2:] > 0.8)
    front, back = (float(ball.lit[word][:, :1][middle].mean()) for word in ("front left", "back right"))
    assert front > 1.2 * back
    # The picture's middle shows what faces the camera; the outline is left out.
    assert bool(middle[0, 0, 24, 24]) and 300 < int(ball.inside.sum()) < 700


def test_truth_and_identity(ball, tmp_path):
    data = sphere.measured(methods([]), tmp_path, ball)
    assert data["stops"]["identity"] == dict.fromkeys(sphere.PAIRS, 0)
    assert data["stops"]["truth"]["left, right"] > 1 and data["stops"]["truth"]["front left, back right"] > 0.3
    assert abs(data["stops"]["exposure"]["left, right"]) < 0.05 < data["stops"]["ramp"]["left, right"]
    text = sphere.text(data)
    assert "| left, right (stops) " in text and f"{data['stops']['truth']['left, right']:.2f}" in text
    # Each method a row: the input, and the picture in four lights.
    assert read_image(tmp_path / "sphere.png").pixels.shape[2:] == (5 * 48, 5 * 48)


def test_engines_are_asked_for_opposite_lights(ball, tmp_path):
    asked = []

    def method(case):
        asked.append(case.direction)
        return case.image

    sphere.measured({"x": method}, tmp_path, ball)
    for one, other in (asked[:2], asked[2:]):
        assert abs(one.azimuth_deg - other.azimuth_deg) == 180 and one.elevation_deg > 0 < other.elevation_deg
    assert asked[0] == LightDirection(-90, 15)
