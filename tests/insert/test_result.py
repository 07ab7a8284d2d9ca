"""Saving, loading and the report, on a small analytic picture (a ball on a plane) that needs no renderer."""
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError, DipirError
from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.composite import flatten_disp, flatten_lin, insert_layers
from dipir.image.files import HALF_MAX, read_envmap, read_image
from dipir.image.formats.png import chunks
from dipir.insert import page as report
from dipir.insert.result import (
    Result,
    SavedResult,
    exr_layers,
    load_light,
    load_result,
    save,
)
from dipir.render.renderer import GBuffers, Passes
from dipir.scene.light import SphericalGaussians
from dipir.scene.plate import PlateKind
from dipir.scene.rig import Rig
from dipir.settings.yaml import load_yaml
from tests.support.exr import read_layers
from tests.support.small_result import small_result

FILES = {"composite.png", "layers.exr", "light.exr", "light.png", "light.json", "tone.cube", "tone_shadow.cube",
         "config.yaml", "result.json", "history.csv", "report.html"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Result, Path]:
    result = small_result()
    return result, save(result, tmp_path_factory.mktemp("run") / "new" / "folder")


def test_all_files_and_nothing_else(saved):
    assert {f.name for f in saved[1].iterdir()} == FILES


def test_pictures_of_guesses_are_beside_it_and_old_ones_go(tmp_path):
    pictures = tuple(torch.full((1, 3, 12, 16), v) for v in (0.2, 0.5, 0.8))
    save(small_result(guess_pictures=pictures), tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == FILES | {"guess_1.jpg", "guess_2.jpg", "guess_3.jpg"}
    for number, picture in enumerate(pictures, 1):
        back = read_image(tmp_path / f"guess_{number}.jpg").pixels
        torch.testing.assert_close(back, picture, atol=0.01, rtol=0)
    save(small_result(guess_pictures=pictures[:1]), tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == FILES | {"guess_1.jpg"}


def test_the_report_knows_its_folder(tmp_path):
    pictures, told = (torch.zeros(1, 3, 8, 8),), {"azimuth_deg": 1.0, "elevation_deg": 2.0, "chance": 0.5}
    save(small_result(guess_pictures=pictures, provenance={"light_guesses": [told]}), tmp_path / "mine")
    assert f"dipir light {tmp_path / 'mine'} --guess 1" in (tmp_path / "mine" / "report.html").read_text()


def test_composite_comes_back_rounded_to_8_bits(saved):
    result, out = saved
    back = read_image(out / "composite.png").pixels
    assert torch.equal(back, (result.composite_disp * 255).round() / 255)


def _untouched(result: Result) -> torch.Tensor:
    """(H, W) where neither object nor shadow reaches."""
    layers = {layer.name: layer for layer in result.layers.layers}
    return ((layers["object"].alpha == 0) & (layers["shadow"].image == 1).all(1, keepdim=True))[0, 0]


def test_a_plate_of_16_bits_comes_back_in_16_bits_and_bit_for_bit(tmp_path):
    codes = torch.randint(0, 65536, (1, 3, 48, 64), generator=torch.Generator().manual_seed(0))
    plate = codes.float() / 65535
    base = small_result()
    layers = replace(base.layers, base_lin=srgb_to_linear(plate), base_disp=plate)
    result = small_result(layers=layers, composite_disp=flatten_disp(layers), plate_disp=plate,
                          plate_kind=PlateKind(16))
    save(result, tmp_path)
    back = read_image(tmp_path / "composite.png")
    assert back.info.bits == 16 and {f.name for f in tmp_path.iterdir()} == FILES
    kept = _untouched(result)
    assert kept.sum() > 500 and (~kept).sum() > 500
    assert torch.equal((back.pixels.double() * 65535).round().long()[:, :, kept], codes[:, :, kept])
    assert not torch.equal((back.pixels.double() * 65535).round().long()[:, :, ~kept], codes[:, :, ~kept])


@pytest.mark.parametrize("bits, dtype", [(16, torch.float16), (32, torch.float32)])
def test_a_linear_plate_comes_back_as_exr_too(tmp_path, bits, dtype):
    lin = (torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 8).to(dtype).float()
    layers = replace(small_result().layers, base_lin=lin, base_disp=linear_to_srgb(lin.clamp(0, 1)))
    result = small_result(layers=layers, composite_disp=flatten_disp(layers), plate_kind=PlateKind(bits, True))
    save(result, tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == FILES | {"composite.exr"}
    back, state, info = read_image(tmp_path / "composite.exr")
    kept = _untouched(result)
    assert state == "linear" and info.bits == bits and back.max() > 1
    assert torch.equal(back[:, :, kept], lin[:, :, kept])
    torch.testing.assert_close(back, flatten_lin(layers), rtol=1e-3, atol=1e-4)
    assert read_image(tmp_path / "composite.png").info.bits == 8


def test_half_floats_do_not_cut_what_is_brighter(tmp_path):
    lin = torch.full((1, 3, 48, 64), 9e4)
    layers = replace(small_result().layers, base_lin=lin, base_disp=None)
    save(small_result(layers=layers, plate_kind=PlateKind(16, True)), tmp_path)
    assert float(read_image(tmp_path / "composite.exr").pixels.max()) >= 9e4


def test_the_linear_composite_can_be_asked_for_and_left_out(tmp_path):
    save(small_result(), tmp_path, exr=True)
    assert (tmp_path / "composite.exr").is_file()
    back = linear_to_srgb(read_image(tmp_path / "composite.exr").pixels).clamp(0, 1)
    torch.testing.assert_close(back, small_result().composite_disp, atol=1e-5, rtol=0)
    save(small_result(plate_kind=PlateKind(16, True)), tmp_path, exr=False)
    assert {f.name for f in tmp_path.iterdir()} == FILES, "the old one would show another picture"


def test_the_composite_says_that_it_is_srgb(saved):
    assert chunks(saved[1] / "composite.png")["sRGB"] == b"\x01"


def test_layers_rebuild_the_composite_by_the_stated_formula(saved):
    result, out = saved
    layers = read_layers(out / "layers.exr")
    assert set(layers) == {"beauty", "alpha", "shadow_ratio", "shadow_full", "depth", "normal", "albedo",
                           "position", "id"}
    alpha, plate = layers["alpha"], srgb_to_linear(result.plate_disp)
    full = plate * layers["shadow_full"] * (1 - alpha) + layers["beauty"][:, :3]
    torch.testing.assert_close(linear_to_srgb(full).clamp(0, 1), result.composite_disp, atol=2e-3, rtol=0)
    torch.testing.assert_close(layers["beauty"][:, 3:], alpha)
    covered = (result.passes.alpha == 1)[0, 0]
    assert (layers["shadow_full"][0, :, covered] < 1).any() and (layers["shadow_ratio"][0, :, covered] == 1).all()
    torch.testing.assert_close(layers["position"], result.passes.gbuffers.position)
    assert torch.equal(layers["id"], result.passes.gbuffers.object_id.float())


def test_light_round_trip(saved):
    result, out = saved
    again, saved_light = load_light(out).joined(), result.light.joined()
    for name in ("mu", "amplitude", "sigma"):
        torch.testing.assert_close(getattr(again, name), getattr(saved_light, name), rtol=1e-4, atol=1e-5)
    assert torch.equal(read_envmap(out / "light.exr"), result.light.envmap(256, 512))
    assert json.loads((out / "light.json").read_text())["dominant"]["elevation_deg"] == pytest.approx(46, abs=2)


def test_a_light_beyond_half_is_saved_finite(tmp_path):
    sharp = SphericalGaussians.of(torch.tensor([[0.0, 1, 0.2]]), torch.full((1, 3), 3e6), torch.tensor([0.1]))
    save(small_result(light=Rig(sharp)), tmp_path)
    envmap = read_envmap(tmp_path / "light.exr")
    assert torch.isfinite(envmap.half()).all() and envmap.max() == 65504


def test_load_result_gives_everything_for_rendering_again(saved):
    result, out = saved
    loaded = load_result(out)
    assert isinstance(loaded, SavedResult) and loaded.config == result.config and loaded.provenance == result.provenance
    assert np.array_equal(loaded.camera.to_world, result.camera.to_world)
    assert loaded.camera.to_dict() == result.camera.to_dict()
    for name in ("tone_fg", "tone_shadow"):
        assert getattr(loaded, name).to_dict() == getattr(result, name).to_dict()
    assert load_yaml(out / "config.yaml") == result.config


def test_history_csv(tmp_path):
    history = [{"step": 0, "loss": 0.5}, {"step": 1, "loss": 0.25, "shadow": 2.0}]
    save(small_result(history=history), tmp_path)
    rows = list(csv.DictReader(open(tmp_path / "history.csv")))
    assert rows == [{"step": "0", "loss": "0.5", "shadow": ""}, {"step": "1", "loss": "0.25", "shadow": "2.0"}]


def test_without_object_and_history_it_still_saves(tmp_path):
    base = small_result()
    g = base.passes.gbuffers
    empty = GBuffers(*(torch.zeros_like(t) for t in (g.alpha, g.ground, g.depth, g.normal, g.albedo, g.roughness,
                                                    g.metallic, g.position, g.object_id)))
    zero = torch.zeros_like(base.plate_disp)
    layers = insert_layers(srgb_to_linear(base.plate_disp), base.plate_disp, zero, empty.alpha, torch.ones_like(zero))
    save(small_result(passes=Passes(zero, zero, zero, empty), layers=layers, composite_disp=flatten_disp(layers),
                      history=[]), tmp_path)
    assert torch.equal(exr_layers(small_result(layers=layers))["shadow_ratio"], torch.ones_like(zero))
    assert (tmp_path / "history.csv").read_text() == "step\n"


def test_a_sun_too_bright_for_half_floats_keeps_its_energy(tmp_path):
    """light.exr: wider, not weaker; light.json has it as sharp as it is."""
    sun = SphericalGaussians.of(torch.tensor([[0.48, 0.72, -0.5]]), torch.full((1, 3), 4e6), torch.tensor([0.0023]))
    light = SphericalGaussians.uniform(torch.full((3,), 0.4)).joined(sun)
    save(small_result(light=Rig(light)), tmp_path)
    envmap = read_envmap(tmp_path / "light.exr")
    assert float(light.envmap(256, 512).max()) > HALF_MAX >= float(envmap.max())
    total = (envmap * latlong.solid_angles(256, 512)[..., None]).sum((0, 1))
    torch.testing.assert_close(total, light.energy.sum(0), rtol=2e-3, atol=0)
    torch.testing.assert_close(load_light(tmp_path).lamps[0].source.irradiance, sun.energy[0], rtol=1e-3, atol=0)


# ---- bad folders and files ----------------------------------------------------------------------------------------

def test_disk_full_while_saving_changes_nothing(tmp_path, monkeypatch):
    save(small_result(), tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(*args):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(report, "report_html", full)
    with pytest.raises(DipirError, match="No space left"):
        save(small_result(config={"other": 1}), tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_nan_is_not_saved(tmp_path):
    broken = small_result()
    broken.composite_disp[0, 0, 3, 3] = float("nan")
    with pytest.raises(DipirError, match="composite.png"):
        save(broken, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["light.json", "result.json", "config.yaml"])
def test_missing_and_damaged_parts_are_named(saved, tmp_path, name):
    out = tmp_path / "copy"
    shutil.copytree(saved[1], out)
    (out / name).write_bytes((out / name).read_bytes()[:-20] + b"\x00\xff{")
    with pytest.raises(ConfigError, match=name):
        load_result(out)
    (out / name).unlink()
    with pytest.raises(ConfigError, match=f"there is no {name}.*dipir insert"):
        load_result(out)


@pytest.mark.parametrize("change", [{"camera": {}}, {"tone_fg": {"widths": 1}}, {"camera": None}, {"provenance": None}])
def test_incomplete_result_json(saved, tmp_path, change):
    out = tmp_path / "copy"
    shutil.copytree(saved[1], out)
    data = json.loads((out / "result.json").read_text())
    (out / "result.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(ConfigError, match="not a complete result"):
        load_result(out)
    (out / "result.json").write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        load_result(out)


def test_no_such_result(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        load_light(tmp_path / "none")
