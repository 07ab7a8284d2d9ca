"""Views and folders that the three spheres compare."""
from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from benchmarks.insert import methods
from benchmarks.spheres import __main__ as spheres
from benchmarks.spheres import cases as spheres_cases
from benchmarks.spheres.metrics import METRICS
from benchmarks.spheres.render import MATERIALS
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.color import luminance
from dipir.scene.light import dominant_direction
from tests.support.spheres import SMALL, smooth_map


def test_splits(folder):
    def names(split):
        return [p.name for p in spheres_cases.panorama_files(folder, split)]

    assert names("all") == ["one.hdr", "two.hdr"] and names("val") == ["two.hdr"] and names("train") == ["one.hdr"]
    assert names("train, val") == ["one.hdr", "two.hdr"]
    with pytest.raises(ConfigError, match="Did you mean 'val'"):
        names("train,vla")
    (folder.parent / "splits.json").unlink()
    with pytest.raises(ConfigError, match="splits.json"):
        names("val")
    with pytest.raises(ConfigError, match="no panoramas"):
        spheres_cases.panorama_files(folder.parent / "none", "all")


def test_plate_is_a_level_photo_of_the_turned_surroundings():
    envmap = smooth_map(64)
    scene, true = spheres_cases.make_scene(envmap, 77.0)
    assert scene.plate.size == (720, 480) and scene.camera.fov_x_deg == pytest.approx(60)
    assert scene.camera.horizon_y(360) == pytest.approx(240) and not scene.objects
    # The median of the luminance is shown as 0.5, and plate and map have one unit.
    from dipir.image.color import linear_to_srgb, srgb_to_linear

    shown = float(linear_to_srgb(luminance(scene.plate.lin)).median())
    assert shown == pytest.approx(0.5, abs=3 / 255)
    ahead = latlong.sample(true, torch.tensor([[0.0, 0.0, 1.0]]))[0]
    middle = scene.plate.disp[0, :, 239:241, 359:361].mean((1, 2))
    torch.testing.assert_close(srgb_to_linear(middle), ahead, atol=0.01, rtol=0.02)
    # Turned by 77 degrees about +Y: what was 77 degrees short of +Z is ahead now.
    a = math.radians(77)
    was = latlong.sample(envmap, torch.tensor([[-math.sin(a), 0.0, math.cos(a)]]))[0]
    torch.testing.assert_close(ahead / ahead.sum(), was / was.sum(), atol=0.01, rtol=0)


def test_views_are_seeded(folder, monkeypatch):
    monkeypatch.setattr(spheres_cases, "PLATE", (72, 48))
    files = spheres_cases.panorama_files(folder, "all")

    def run(seed, which=files):
        return list(spheres_cases.view_cases(which, 2, ["ambient"], seed))

    cases, again, other = run(5), run(5), run(6)
    assert [(c.environment, c.view) for c in cases] == [("one", 0), ("one", 1), ("two", 0), ("two", 1)]
    assert [c.yaw_deg for c in cases] == [c.yaw_deg for c in again] != [c.yaw_deg for c in other]
    assert all(torch.equal(c.maps[m], d.maps[m]) for c, d in zip(cases, again, strict=True) for m in c.maps)
    # A view does not depend on which other environments take part.
    assert [c.yaw_deg for c in run(5, files[1:])] == [c.yaw_deg for c in cases[2:]]
    assert set(cases[0].maps) == {"ambient", "truth"}
    ambient = cases[0].maps["ambient"]
    assert torch.allclose(ambient, ambient[:1, :1].expand_as(ambient))


def test_methods_rank_as_they_must(folder, monkeypatch):
    """The truth has no error, and fitted lobes (here hastily) are closer to it than the plate's mean colour."""
    monkeypatch.setattr(spheres_cases, "PLATE", (72, 48))
    monkeypatch.setattr(methods, "fit_gaussians", partial(methods.fit_gaussians, steps=20))
    (case,) = spheres_cases.view_cases([folder / "two.hdr"], 1, ["ambient", "projected", "oracle-sg", "truth"], 0)
    case.maps.update({m: latlong.resize(e, 32, 64) for m, e in case.maps.items()})
    spheres.judge([case], ["ambient", "projected", "oracle-sg", "truth"], SMALL)
    for material in MATERIALS:
        assert case.rows["truth"][material] == {m: 0.0 for m in METRICS}
        assert case.rows["oracle-sg"][material]["si_rmse"] < 0.5 * case.rows["ambient"][material]["si_rmse"]
    assert not case.maps and case.balls["truth", "mirror"].shape == (96, 96, 3)


def test_a_committed_light_keeps_its_energy_and_its_place():
    """Rest and source of a light together; soft light is the start itself."""
    from dipir.priors.plate_light import PlateLight
    from dipir.scene.source import Source

    grey = torch.full((16, 32, 3), 0.5)
    sun = Source(torch.tensor([0.0, 0.6, 0.8]), torch.tensor([2.0, 2.0, 2.0]))
    light = PlateLight(grey, grey, around=grey, source=sun)
    got = spheres_cases.whole(light)
    omega = latlong.solid_angles(*got.shape[:2])[..., None]
    assert float((got * omega).sum()) / 3 == pytest.approx(0.5 * 4 * math.pi + 2, rel=0.01)
    assert float(dominant_direction(got) @ sun.direction) > math.cos(math.radians(1.5))
    assert spheres_cases.whole(PlateLight(grey, grey)) is grey
