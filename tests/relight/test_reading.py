"""Pictures from files: straight and premultiplied cut-outs are the same picture, and what is done is said. Lights from
files, in the frame of the picture."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.errors import ConfigError, ImageError
from dipir.event import warnings_in
from dipir.image.color import srgb_to_linear
from dipir.image.files import read_image, write_exr, write_png
from dipir.image.formats.ocio import BUILT_IN
from dipir.insert.result import save
from dipir.relight.reading import read_light, read_picture
from dipir.scene.camera import Camera
from dipir.scene.plate import PlateColours
from tests.support.icc import P3_COLORANTS, curve, rgb_profile
from tests.support.small_result import small_result


def disc(size: int = 64, soft: float = 6.0) -> torch.Tensor:
    """(1, 1, size, size) coverage of a disc with a soft edge."""
    y, x = torch.meshgrid(torch.arange(size) - size / 2, torch.arange(size) - size / 2, indexing="ij")
    return ((size * 0.35 - (x**2 + y**2).sqrt()) / soft + 0.5).clamp(0, 1)[None, None]


def colours(size: int = 64) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4), (size, size), mode="bilinear") * 0.6 + 0.2


def write_rgba(path, disp, alpha):
    pixels = torch.cat([disp, alpha], 1)[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    Pillow.fromarray(pixels, "RGBA").save(path)


def write_premultiplied_exr(path, disp, alpha, extra: float = 0.0):
    linear = (srgb_to_linear(disp) * alpha + extra)[0].numpy()
    write_exr(path, {**dict(zip("RGB", linear, strict=True)), "A": alpha[0, 0].numpy()})


def test_an_exr_is_premultiplied(tmp_path):
    write_premultiplied_exr(tmp_path / "a.exr", colours(), disc())
    made = read_picture(tmp_path / "a.exr")
    torch.testing.assert_close(made.alpha, disc())
    seen = disc() > 0.01
    assert float(((made.image - colours()) * seen).abs().max()) < 1e-3
    assert "premultiplied as EXR files are" in " ".join(made.notes) and not warnings_in(made.notes)
    # What was 0 / 0 has the colours next to it, not black.
    assert float(made.image.amin()) > 0.15


def test_a_png_is_straight_or_what_the_option_says(tmp_path):
    write_rgba(tmp_path / "straight.png", colours(), disc())
    write_rgba(tmp_path / "multiplied.png", colours() * disc(), disc())
    straight = read_picture(tmp_path / "straight.png")
    multiplied = read_picture(tmp_path / "multiplied.png", None, True)
    assert float((straight.image - colours()).abs().max()) < 0.51 / 255
    assert float(((multiplied.image - straight.image) * disc()).abs().max()) < 1.6 / 255  # rounded three times
    assert "straight alpha" in straight.notes[0] and "divided by alpha" in multiplied.notes[0]
    assert "give --premultiplied" in read_picture(tmp_path / "multiplied.png").notes[0]
    wrong = read_picture(tmp_path / "straight.png", None, True)
    assert "leave --premultiplied out" in " ".join(warnings_in(wrong.notes))


def test_what_is_lost_is_said(tmp_path):
    write_premultiplied_exr(tmp_path / "glow.exr", colours(), disc(), extra=0.2)
    assert "have colour where alpha is 0" in " ".join(warnings_in(read_picture(tmp_path / "glow.exr").notes))
    bright = {c: np.full((40, 40), 2.0, np.float32) for c in "RGB"}
    write_exr(tmp_path / "bright.exr", bright)
    assert "light above 1" in " ".join(warnings_in(read_picture(tmp_path / "bright.exr").notes))
    # Divided by its alpha, light below 1 is above it; where nothing is covered it counts for nothing.
    alpha = np.where(np.arange(40) < 20, 0, 0.9).astype(np.float32) * np.ones((40, 1), np.float32)
    for level, clipped in ((0.95, True), (0.85, False)):
        pixels = np.where(alpha > 0, level, 3.0).astype(np.float32)
        write_exr(tmp_path / "cut.exr", {**dict.fromkeys("RGB", pixels), "A": alpha})
        said = " ".join(warnings_in(read_picture(tmp_path / "cut.exr").notes))
        assert ("light above 1" in said) == clipped and "have colour where alpha is 0" in said
    write_png(tmp_path / "opaque.png", colours())
    opaque = read_picture(tmp_path / "opaque.png", None, True)
    assert opaque.alpha is None and "no alpha that is read" in warnings_in(opaque.notes)[0]


@pytest.mark.parametrize("value, text", [(0.0, "alpha is 0 everywhere"), (float("nan"), "NaN")])
def test_alpha_that_is_none(tmp_path, value, text):
    full = {c: np.full((64, 64), 0.5, np.float32) for c in "RGB"}
    write_exr(tmp_path / "a.exr", {**full, "A": np.full((64, 64), value, np.float32)})
    with pytest.raises(ImageError, match=text):
        read_picture(tmp_path / "a.exr")


def test_colours_of_a_profile_are_converted(tmp_path):
    write_png(tmp_path / "photo.png", colours())
    with Pillow.open(tmp_path / "photo.png") as photo:
        photo.save(tmp_path / "wide.png", icc_profile=rgb_profile(P3_COLORANTS, "Wide", curve()))
    picture = read_picture(tmp_path / "wide.png")
    assert torch.equal(picture.image, read_image(tmp_path / "wide.png").pixels)
    assert float((picture.image - read_image(tmp_path / "photo.png").pixels).abs().max()) > 0.02


def test_a_named_space_of_the_picture(tmp_path):
    write_png(tmp_path / "photo.png", colours())
    picture = read_picture(tmp_path / "photo.png", colours=PlateColours("Display P3 - Display", ocio=BUILT_IN))
    assert picture.kind.own.space.name == "Display P3 - Display"


def test_alpha_of_the_layer_that_is_asked_for(tmp_path):
    """A cut-out in one layer of a file, whose top-level picture is opaque."""
    light = srgb_to_linear(colours()) * disc()
    layer = {f"car.{c}": x for c, x in zip("RGBA", [*light[0].numpy(), disc()[0, 0].numpy()], strict=True)}
    write_exr(tmp_path / "a.exr", {**dict.fromkeys("RGB", np.full((64, 64), 0.5, np.float32)), **layer})
    assert read_picture(tmp_path / "a.exr").alpha is None
    made = read_picture(tmp_path / "a.exr", colours=PlateColours(layer="car"))
    torch.testing.assert_close(made.alpha, disc())
    assert float(((made.image - colours()) * (disc() > 0.01)).abs().max()) < 1e-3


# ---- lights ----------------------------------------------------------------------------------------------------------

def test_every_way_to_give_a_light_is_the_same_light(tmp_path):
    """The folder of a result, its light.json, its map; the sun of it stands before the camera, on the left."""
    save(small_result(camera=Camera.looking(64, 48, 50, 1.2, 15)), tmp_path)
    folder, file, map_ = (read_light(p) for p in (tmp_path, tmp_path / "light.json", tmp_path / "light.exr"))
    assert folder.digest == file.digest and file.name == "light.json" and folder.name == tmp_path.name
    assert file.direction.azimuth_deg == pytest.approx(math.degrees(math.atan2(-0.48, 0.5)), abs=0.5)
    assert float(file.direction.vector @ map_.direction.vector) > 0.999
    assert map_.key_share == pytest.approx(file.key_share, abs=0.05)


def test_a_camera_that_is_turned_turns_the_light(tmp_path):
    """Beside the camera that saw it a light's directions are those of the picture, elsewhere those of the file."""
    for yaw in (0, 70):
        save(small_result(camera=Camera.looking(64, 48, 50, 1.2, 15, yaw_deg=yaw)), tmp_path / str(yaw))
    straight, turned = (read_light(tmp_path / str(yaw)).direction for yaw in (0, 70))
    assert (straight.azimuth_deg - turned.azimuth_deg) % 360 == pytest.approx(70, abs=0.01)
    assert turned.elevation_deg == pytest.approx(straight.elevation_deg, abs=0.01)
    (tmp_path / "light.json").write_bytes((tmp_path / "70" / "light.json").read_bytes())
    assert read_light(tmp_path / "light.json").direction == straight


@pytest.mark.parametrize("name, content, text", [
    ("light.json", "{}", "light.json: not a light of ours"), ("light.json", "[]", "light.json"),
    ("light.json", '{"dominant": {"azimuth_deg": 20, "elevation_deg": 30}}', "expected 'lobes'"),
    ("light.jpg", "", "accepted are light.json, the folder"), ("none.json", None, "no such file"),
    ("empty", "folder", "there is no light.json in it")])
def test_files_that_hold_no_light(tmp_path, name, content, text):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=text):
        read_light(path)


def test_a_camera_that_cannot_be_read(tmp_path):
    save(small_result(), tmp_path)
    (tmp_path / "result.json").write_text('{"camera": {"width": 3}}')
    with pytest.raises(ConfigError, match="its camera cannot be read"):
        read_light(tmp_path)
