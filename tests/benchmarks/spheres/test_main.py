"""The three-sphere benchmark: figures by hand, renders against Mitsuba's, orientation, cases, output."""
from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.spheres import __main__ as spheres
from benchmarks.spheres import cases as spheres_cases
from benchmarks.spheres import render as spheres_render
from benchmarks.spheres.metrics import METRICS, figures, protocol_map, tone_map
from benchmarks.spheres.render import MATERIALS, Sphere, camera, render
from dipir.errors import ConfigError, ImageError
from dipir.image import latlong
from dipir.image.color import luminance
from dipir.scene import light
from tests.support.hdr import write_hdr

ROOT = Path(__file__).resolve().parents[3]
SMALL = Sphere.seen_by(camera(54, 96))


def lamp(direction, sharpness: float = 60.0, height: int = 32) -> torch.Tensor:
    """(H, 2 H, 3) one soft light on a dim grey surrounding."""
    towards = torch.tensor(direction, dtype=torch.float32)
    cosine = latlong.directions(height, 2 * height) @ (towards / towards.norm())
    return (0.05 + 20 * torch.exp(sharpness * (cosine - 1)))[..., None].expand(-1, -1, 3).contiguous()


def smooth_map(height: int = 64, seed: int = 3) -> torch.Tensor:
    """A few broad coloured lights."""
    g = torch.Generator().manual_seed(seed)
    d = latlong.directions(height, 2 * height)
    axes = torch.nn.functional.normalize(torch.randn(5, 3, generator=g), dim=-1)
    return 0.2 + torch.exp(8 * (d @ axes.T - 1)) @ (3 * torch.rand(5, 3, generator=g))


# -------------------------------------------------------------------------------------------------------------- tone
def test_tone_by_hand():
    """Above zero: 1, 32 and 243; to the power 1/2.4 the middle one is 32^(1/2.4), which becomes 0.5; black stays."""
    values = torch.tensor([0.0, 1.0, 32.0, 243.0, 0.0, 0.0]).reshape(1, 2, 3)
    expected = [0.0, 0.5 / 32 ** (1 / 2.4), 0.5, 0.5 * (243 / 32) ** (1 / 2.4), 0.0, 0.0]
    torch.testing.assert_close(tone_map(values).flatten(), torch.tensor(expected))


def test_tone_puts_the_median_at_one_half_whatever_the_exposure_and_clips_nothing():
    envmap = smooth_map(16) ** 3
    envmap[2, 3] = 1e5
    envmap[4] = 0.0
    toned = tone_map(envmap)
    assert np.median(toned[toned > 0].double().numpy()) == pytest.approx(0.5, abs=1e-7)
    assert toned.max() > 10
    torch.testing.assert_close(tone_map(37 * envmap), toned)
    assert torch.equal(tone_map(torch.zeros(2, 4, 3)), torch.zeros(2, 4, 3))


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
def test_tone_refuses_what_has_no_power(bad):
    envmap = torch.ones(2, 4, 3)
    envmap[0, 0, 0] = bad
    with pytest.raises(ImageError, match="negative, NaN or infinite"):
        tone_map(envmap)


@pytest.mark.parametrize("height", [16, 128, 256, 100])
def test_maps_of_any_size_become_128_x_256(height):
    assert torch.allclose(protocol_map(torch.full((height, 2 * height, 3), 7.0)), torch.full((128, 256, 3), 0.5))


def test_reduction_averages_light_before_it_is_toned():
    """Two rows of texels 0 and 2 x 3 become their mean 3: toned as the constant 3 is, hence 0.5 everywhere."""
    fine = torch.full((256, 512, 3), 0.0)
    fine[:, ::2] = 6.0
    torch.testing.assert_close(protocol_map(fine), torch.full((128, 256, 3), 0.5), atol=1e-5, rtol=0)


# ----------------------------------------------------------------------------------------------------------- figures
def frame(*pixels) -> torch.Tensor:
    """(1, 3, 2, 2) from four RGB pixels."""
    return torch.tensor(pixels, dtype=torch.float32).T.reshape(1, 3, 2, 2)


ALPHA = torch.tensor([1.0, 0.2, 0.0, 0.0]).reshape(1, 1, 2, 2)
BLACK = (0.0, 0.0, 0.0)


def test_figures_by_hand():
    """Two pixels of the sphere, one of them partly covered: it counts fully; the background does not, however wrong.

    RMSE: squares 1 + 4 + 4 and 0, over 2 pixels: sqrt(9 / 2).
    si-RMSE: sum gg = 9 + 4 = 13, sum pg = 0 + 4, sum pp = 0 + 4: sqrt((13 - 16 / 4) / 2).
    Angle: the black pixel is undefined and counts 0; the other agrees: 0.
    """
    predicted = frame(BLACK, (0.0, 2.0, 0.0), (50.0, 0.0, 0.0), BLACK)
    true = frame((1.0, 2.0, 2.0), (0.0, 2.0, 0.0), BLACK, BLACK)
    got = figures(predicted, true, ALPHA)
    assert got["rmse"] == pytest.approx(math.sqrt(9 / 2))
    assert got["si_rmse"] == pytest.approx(math.sqrt((13 - 4) / 2))
    assert got["angular_deg"] == 0.0


def test_colour_angle_by_hand():
    """(1, 0, 0) against (1, 1, 0): 45 degrees; against (0, 0, 3): 90; mean 67.5."""
    got = figures(frame((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), BLACK, BLACK),
                  frame((1.0, 1.0, 0.0), (0.0, 0.0, 3.0), BLACK, BLACK), ALPHA)
    assert got["angular_deg"] == pytest.approx(67.5)


def test_normalised_rmse_by_hand():
    """Of the 12 values of a frame, sorted, percentile 0.01 lies at place 0.0011 and 99.9 at 10.989: here on equal
    neighbours, hence exactly 0 (background included) and the largest value, 4 and 2. Then p = (1, 1, .5), (0, 0, 0),
    g = (1, .5, 1), (0, 0, 0) and the squares are .25 + .25 over 2 pixels."""
    got = figures(frame((4.0, 4.0, 2.0), BLACK, BLACK, BLACK), frame((2.0, 1.0, 2.0), BLACK, BLACK, BLACK), ALPHA)
    assert got["normalized_rmse"] == pytest.approx(math.sqrt(0.5 / 2))


def test_normalised_rmse_interpolates_the_percentiles():
    """0, ..., 0, 1: percentile 99.9 is 0.989, so that the only value becomes 1 / 0.989; against 1 / (0.989 / 2 + .5)
    for 0, ..., 0.5, 1 (0.5 + 0.989 / 2 = 0.9945)."""
    got = figures(frame((1.0, 0.0, 0.0), BLACK, BLACK, BLACK), frame((1.0, 0.5, 0.0), BLACK, BLACK, BLACK), ALPHA)
    expected = math.sqrt(((1 / 0.989 - 1 / 0.9945) ** 2 + (0.5 / 0.9945) ** 2) / 2)
    assert got["normalized_rmse"] == pytest.approx(expected)


def test_equal_renders_have_no_error_and_a_factor_shows_in_the_rmse_alone():
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    alpha = (image[:, :1] > 0.3).float()
    assert figures(image, image, alpha) == {m: 0.0 for m in METRICS}
    brighter = figures(5 * image, image, alpha)
    assert brighter["rmse"] > 1 and max(v for k, v in brighter.items() if k != "rmse") < 1e-4


# ------------------------------------------------------------------------------------------------------ the rendering
def test_camera_and_silhouette():
    """85 mm on 36 mm and 960 columns; seen from afar d = sqrt(260) the silhouette has the radius f / sqrt(d^2 - 1)."""
    view = camera()
    assert (view.width, view.height) == (960, 540) and view.focal_px == pytest.approx(85 / 36 * 960)
    np.testing.assert_allclose(view.project(np.zeros(3))[0], (480, 270), atol=1e-9)
    sphere = Sphere.seen_by(view, rays=2)
    radius = view.focal_px / math.sqrt(259)
    assert float(sphere.alpha.sum()) == pytest.approx(math.pi * radius**2, rel=2e-4)
    columns = sphere.alpha[0, 0].amax(0).nonzero()
    assert columns.min() == 960 - 1 - columns.max() == math.floor(480 - radius)
    # +Y is up in the picture, +Z (the middle of a map) on its right.
    assert view.project(np.array([0.0, 1, 0]))[0][1] < 270 and view.project(np.array([0.0, 0, 1]))[0][0] > 480


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("direction, side", [((0, 0, 1), "right"), ((0, 0, -1), "left"), ((0, 1, 0), "top"),
                                             ((0, -1, 0), "bottom")])
def test_light_on_one_side_lights_that_side(material, direction, side):
    image = luminance(next(render([lamp(direction)], material, SMALL)))[0, 0]
    halves = {"left": image[:, :48], "right": image[:, 48:], "top": image[:27], "bottom": image[27:]}
    other = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[side]
    assert halves[side].sum() > 1.5 * halves[other].sum()


def test_mirror_shows_lights_where_they_are_reflected():
    """A light behind the camera is seen in the middle; one at a right angle to the view where the normal stands at 45
    degrees: 0.707 of the radius away from the middle."""
    sphere, view = Sphere.seen_by(camera(216, 384), rays=2), camera(216, 384)

    def place(d):
        return divmod(int(luminance(next(render([lamp(d, 2000.0, 128)], "mirror", sphere))).argmax()), 384)

    row, column = place(view.position)
    assert abs(row - 108) <= 1 and abs(column - 192) <= 1
    row, column = place((0.0, 0.0, 1.0))
    radius = view.focal_px / math.sqrt(259)
    assert column - 192 == pytest.approx(radius * math.sqrt(0.5), abs=2.5) and abs(row - 108) <= 2


def test_constant_light_gives_the_reflectance():
    """Under radiance 1 all spheres are grey, alike at every azimuth around the view, about 0.8 in the middle (the base
    colour) and nowhere brighter than the light; the mirror is 0.8 + 0.2 (1 - cos)^5."""
    white = torch.ones(64, 128, 3)
    cosine = (SMALL.normal * SMALL.view).sum(-1)
    inside = SMALL.alpha.flatten()[SMALL.pixels] == 1
    for material in MATERIALS:
        image = next(render([white], material, SMALL)).reshape(3, -1)[:, SMALL.pixels].T
        assert torch.equal(image[:, 0], image[:, 1]) and image.max() <= 1.001
        for low in (0.5, 0.7, 0.9):
            ring = image[inside & (cosine > low) & (cosine < low + 0.03), 0]
            assert len(ring) > 9 and ring.std() < 0.01 * ring.mean()
        if material == "mirror":
            at = inside & (cosine > 0.5)
            torch.testing.assert_close(image[at, 0], 0.8 + 0.2 * (1 - cosine[at]) ** 5, atol=2e-3, rtol=0)
        assert 0.7 < float(image[inside & (cosine > 0.99), 0].mean()) < 0.85


def test_rendering_is_linear_and_in_the_order_of_the_maps():
    a, b = smooth_map(32), lamp((1.0, 2.0, 3.0))
    for material in MATERIALS:
        first, second, both = render([a, b, 2 * a + b], material, SMALL)
        torch.testing.assert_close(both, 2 * first + second, rtol=1e-4, atol=1e-5)
        assert first.shape == (1, 3, 54, 96) and not torch.allclose(first, second)
        assert float(first[:, :, SMALL.alpha[0, 0] == 0].abs().max()) == 0


@pytest.mark.parametrize("material", MATERIALS)
def test_against_mitsuba(material):
    """The same sphere, material and map in Mitsuba's path tracer."""
    from dipir.render.backend import mitsuba
    from dipir.render.bridge import padded_envmap, to_drjit
    from dipir.render.mitsuba_scene import sensor_dict

    mi = mitsuba()
    envmap = smooth_map(128)
    bsdf = {"type": "principled", "base_color": {"type": "rgb", "value": 0.8}, **MATERIALS[material]}
    scene = mi.load_dict({"type": "scene", "sphere": {"type": "sphere", "bsdf": bsdf}, "environment": {
        "type": "envmap", "bitmap": mi.Bitmap(np.ones((256, 512, 3), np.float32))}})
    params = mi.traverse(scene)
    params["environment.data"] = to_drjit(padded_envmap(envmap))
    params.update()
    integrator = mi.load_dict({"type": "path", "max_depth": 2, "hide_emitters": True})
    sensor = mi.load_dict(sensor_dict(camera(54, 96), 1024))
    expected = mi.render(scene, integrator=integrator, sensor=sensor, seed=1).torch()
    got = next(render([envmap], material, SMALL))[0].permute(1, 2, 0)
    torch.testing.assert_close(expected[..., 3], SMALL.alpha[0, 0], atol=0.15, rtol=0)
    inside = SMALL.alpha[0, 0] == 1
    error = (got - expected[..., :3])[inside]
    # The path tracer's noise is 1 to 2 % a pixel; the mean over the sphere shows a difference of half a percent.
    assert error.square().mean().sqrt() < 0.03 * expected[inside][:, :3].mean()
    assert error.mean().abs() < 0.005 * expected[inside][:, :3].mean()


def test_no_kernel_is_compiled_for_a_second_block():
    import drjit as dr

    towards = latlong.directions(16, 32).reshape(-1, 3)

    def block(i):
        return spheres_render.response(SMALL.normal[i:i + 9], SMALL.view[i:i + 9], towards, MATERIALS["matte"])

    block(0)
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        block(100)
        kernels = [k for k in dr.kernel_history() if k["type"] == dr.KernelType.JIT]
    assert kernels and all(k["cache_hit"] for k in kernels)


# ------------------------------------------------------------------------------------------------------------- cases
@pytest.fixture
def folder(tmp_path) -> Path:
    """Two panoramas, 64 x 128, with a splits.json beside their folder."""
    (tmp_path / "hdri").mkdir()
    for k, name in enumerate(("one", "two")):
        write_hdr(tmp_path / "hdri" / f"{name}.hdr", smooth_map(64, seed=k).permute(2, 0, 1)[None])
    (tmp_path / "splits.json").write_text(json.dumps({"hdri": {"train": ["one.hdr"], "val": ["two.hdr"]}}))
    return tmp_path / "hdri"


def test_splits(folder):
    def names(split):
        return [p.name for p in spheres_cases.panorama_files(folder, split)]

    assert names("all") == ["one.hdr", "two.hdr"] and names("val") == ["two.hdr"] and names("train") == ["one.hdr"]
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
    monkeypatch.setattr(light, "fit_gaussians", partial(light.fit_gaussians, steps=20))
    (case,) = spheres_cases.view_cases([folder / "two.hdr"], 1, ["ambient", "projected", "oracle-sg", "truth"], 0)
    case.maps.update({m: latlong.resize(e, 32, 64) for m, e in case.maps.items()})
    spheres.judge([case], ["ambient", "projected", "oracle-sg", "truth"], SMALL)
    for material in MATERIALS:
        assert case.rows["truth"][material] == {m: 0.0 for m in METRICS}
        assert case.rows["oracle-sg"][material]["si_rmse"] < 0.5 * case.rows["ambient"][material]["si_rmse"]
    assert not case.maps and case.balls["truth", "mirror"].shape == (96, 96, 3)


# ------------------------------------------------------------------------------------------------------------ output
def _record(environment: str, value: float) -> dict:
    return {"environment": environment, "rows": {"m": {k: {f: value for f in METRICS} for k in MATERIALS}}}


def test_intervals_are_over_environments():
    """Views of one environment do not make its mean any surer."""
    one = spheres.summary([_record("a", v) for v in (1.0, 2.0, 3.0)], ["m"])["m"]["matte"]["rmse"]
    assert one["value"] == one["low"] == one["high"] == pytest.approx(2)
    cases = [_record(str(e), float(e)) for e in range(10)]
    few = spheres.summary(cases, ["m"])["m"]["matte"]["rmse"]
    many = spheres.summary([c for c in cases for _ in range(4)], ["m"])["m"]["matte"]["rmse"]
    assert few == many and few["value"] == pytest.approx(4.5)
    # Standard error of the mean: sqrt(8.25 / 10) = 0.908; 1.96 of it on each side.
    assert few["low"] == pytest.approx(4.5 - 1.78, abs=0.2) and few["high"] == pytest.approx(4.5 + 1.78, abs=0.2)


def test_folders_are_compared_by_name(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(spheres, "camera", lambda: camera(27, 48))
    predicted, out = tmp_path / "predicted", tmp_path / "out"
    predicted.mkdir()
    (predicted / "one.hdr").write_bytes((folder / "one.hdr").read_bytes())
    (predicted / "two.hdr").write_bytes((folder / "one.hdr").read_bytes())
    assert spheres.main(["--predicted", str(predicted), "--true", str(folder), "--out", str(out)]) == 0
    result = json.loads((out / "results.json").read_text())
    rows = {c["environment"]: c["rows"]["predicted"] for c in result["cases"]}
    assert set(rows) == {"one", "two"} and rows["two"]["mirror"]["si_rmse"] > 0.05
    assert all(v == 0 for m in rows["one"].values() for v in m.values())
    text = (out / "table.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert "*LuxDiT, published* | *0.077* | *0.196* | *0.442*" in " ".join(text.split())
    assert "theirs, on other scenes" in text
    assert (out / "sheet.png").read_bytes()[:4] == b"\x89PNG"

    (predicted / "three.hdr").write_bytes((folder / "one.hdr").read_bytes())
    with pytest.raises(ConfigError, match="three.hdr"):
        spheres.main(["--predicted", str(predicted), "--true", str(folder), "--out", str(out)])


@pytest.mark.parametrize("options, text", [(["--predicted", "x"], "belong together"), (["--views", "0"], "at least 1"),
                                           (["--methods", "ambient,orcale-sg"], "Did you mean 'oracle-sg'"),
                                           (["--environments", "/nowhere"], "--environments")])
def test_bad_options(options, text):
    with pytest.raises(ConfigError, match=text):
        spheres.main(options)


def test_the_command_prints_one_message_and_exits_with_2():
    run = subprocess.run([sys.executable, "-m", "benchmarks.spheres", "--views", "0"], cwd=ROOT, capture_output=True,
                         text=True)
    assert run.returncode == 2 and run.stderr.startswith("benchmarks: error: --views 0")
    assert "Traceback" not in run.stderr
