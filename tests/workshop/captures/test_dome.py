"""Rendered domes: lights where they should be, shading and shadows on the right side."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.scene.assets.asset import Material, Part
from dipir.workshop.captures import dome
from dipir.workshop.captures.dome import DomeSettings, dome_directions, light_map, render

SMALL = DomeSettings(size=32, lights=4, rings=(30.0,), spp=16, depth=1)


def test_rings_by_hand():
    d = dome_directions(60, (15.0, 32.0, 50.0, 70.0))
    assert d.shape == (60, 3)
    torch.testing.assert_close(d.norm(dim=1), torch.ones(60))
    elevations = torch.rad2deg(torch.asin(d[:, 2])).round().int().tolist()
    # In proportion to cos: 0.966, 0.848, 0.643, 0.342 of 2.799.
    assert [elevations.count(e) for e in (15, 32, 50, 70)] == [21, 18, 14, 7]
    torch.testing.assert_close(d[0], torch.tensor([math.cos(math.radians(15)), 0, math.sin(math.radians(15))]))
    apart = (d @ d.T).clamp(-1, 1).acos().rad2deg().fill_diagonal_(180)
    assert 10 < float(apart.min()) and float(apart.amin(1).max()) < 25


@pytest.mark.parametrize("direction", [(0.0, 0, 1), (0.8, 0.0, 0.6), (0.1, 0.97, 0.22)])
def test_the_light_is_where_it_is_asked_for_and_as_strong(direction):
    d = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    light = light_map(d, 2.5)[..., 0].double()
    weighted = (light * latlong.solid_angles(*light.shape, dtype=torch.float64))
    assert float(weighted.sum()) == pytest.approx(math.pi, rel=1e-5)
    mean = (weighted[..., None] * latlong.directions(*light.shape, dtype=torch.float64)).sum((0, 1)) / weighted.sum()
    # The world's x and z are the picture's, mirrored.
    torch.testing.assert_close(mean.float() * torch.tensor([-1.0, 1, -1]), d, atol=2e-3, rtol=0)
    cos = latlong.directions(*light.shape, dtype=torch.float64) @ (d.double() * torch.tensor([-1.0, 1, -1]))
    assert float(light[cos < math.cos(math.radians(3.5))].max()) == 0


def flat(rng) -> list[Part]:
    """A white matte ground that fills the view."""
    x, y = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8))
    return [dome._sheet(x, y, 0 * x, np.full((8, 8, 3), 0.6), Material("ground", roughness=1.0, specular=0.01),
                        flat=True)]


def post(rng) -> list[Part]:
    """A post in the middle of it."""
    return [*flat(rng), dome._standing("post", dome.shapes.box(), (0.0, 0.0), (0.16, 0.2), Material(roughness=1.0))]


@pytest.fixture(scope="module")
def lit_post():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dome.SCENES, "post", post)
        return render("post", SMALL)


def test_flat_ground_follows_lambert(monkeypatch):
    """Radiance = albedo x exposure x cos, up to the principled model's departure from Lambert."""
    monkeypatch.setitem(dome.SCENES, "flat", flat)
    capture = render("flat", DomeSettings(size=16, lights=5, rings=(40.0, 80.0), spp=16, depth=1))
    linear = srgb_to_linear(capture.images).mean((1, 2, 3))
    expected = 0.6 * 0.9 * capture.directions[:, 2]
    torch.testing.assert_close(linear, expected, atol=0.05, rtol=0.12)
    assert float(linear[-1]) > float(linear[0])


def test_shadows_fall_away_from_the_light(lit_post):
    """Lights from the right, the top, the left, the bottom: shadow on the left, below, on the right, above."""
    names = [tuple(round(v) for v in d[:2].tolist()) for d in lit_post.directions]
    assert names == [(1, 0), (0, 1), (-1, 0), (0, -1)]
    for image, (x, y) in zip(lit_post.images.mean(1), names, strict=True):
        centre = 16
        dark, bright = (image[centre + s * y * 6 - 1:centre + s * y * 6 + 1,
                              centre - s * x * 6 - 1:centre - s * x * 6 + 1].mean() for s in (1, -1))
        assert float(dark) < 0.1 < 0.4 < float(bright)


def test_a_capture_is_as_promised(lit_post):
    assert lit_post.images.shape == (4, 3, 32, 32) and len(lit_post.names) == 4
    assert torch.equal((lit_post.images * 255).round() / 255, lit_post.images)


def test_a_scene_renders_with_light_between_its_surfaces():
    seen = []
    capture = render("glossy", DomeSettings(size=24, lights=4, rings=(35.0,), spp=4, depth=2), seen.append)
    assert len(seen) == 4 and seen[-1].step == seen[-1].steps == 4
    assert 0.05 < float(capture.images.mean()) < 0.8 and float(capture.images.std()) > 0.05
    assert float((capture.images[0] - capture.images[2]).abs().mean()) > 0.02


@pytest.mark.parametrize("kind", list(dome.SCENES))
def test_scenes_are_whole_and_face_the_camera(kind):
    parts = dome.SCENES[kind](np.random.default_rng(1))
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
        assert np.isfinite(part.vertices).all() and part.faces.max() < len(part.vertices)
        np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-4)
        # The camera is at z = -2.35; what is drawn stands before the plane z = 0, apart from what is sunk into it.
        assert part.vertices[:, 2].min() > -0.5 and part.normals[:, 2].mean() < 0.05
    again = dome.SCENES[kind](np.random.default_rng(1))
    assert all(np.array_equal(a.vertices, b.vertices) for a, b in zip(parts, again, strict=True))


def test_bad_settings():
    with pytest.raises(ConfigError, match="Did you mean 'glossy'"):
        render("glosy")
    for bad in ({"size": 4}, {"lights": 2}, {"rings": ()}):
        with pytest.raises(ConfigError, match="or more"):
            DomeSettings(**bad)
