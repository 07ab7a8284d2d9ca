"""Composites in the plate's own space and depth: untouched values bit for bit, the others by independent numbers."""
import io
import struct
import zlib

import cv2
import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest
import torch
from PIL import Image as Pillow

from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
from dipir.image.files import read_image, write_exr
from dipir.image.formats.checks import AskedOf
from dipir.image.formats.ocio import find_space
from dipir.image.formats.png import png_bytes, profile_chunk
from dipir.image.formats.primaries import KNOWN_CHROMATICITIES
from dipir.image.formats.spaces import PlateKind
from dipir.image.outputs import FinishedPicture, write_display, write_edited, write_linear, write_log
from dipir.scene.plate import PlateColours, read_plate
from tests.support.icc import P3_COLORANTS, P3_TO_SRGB, curve, rgb_profile

P3 = rgb_profile(P3_COLORANTS, "Display P3", curve())
AP1 = KNOWN_CHROMATICITIES["lin_ap1_scene"]
HEIGHT, WIDTH = 12, 16


@pytest.fixture(autouse=True)
def no_config_of_this_machine(monkeypatch):
    monkeypatch.delenv("OCIO", raising=False)


def _halved(plate, rows: int = 5) -> FinishedPicture:
    """The upper rows in half the light."""
    changed = torch.zeros((1, 1, *plate.lin.shape[2:]), dtype=torch.bool)
    changed[..., :rows, :] = True
    lin = torch.where(changed, 0.5 * plate.lin, plate.lin)
    return FinishedPicture(lin, plate.disp, changed)


def _codes(path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def _chunk(path, kind: bytes) -> bytes | None:
    data = path.read_bytes()
    at = data.find(kind)
    return None if at < 0 else data[at + 4:at + 4 + struct.unpack(">I", data[at - 4:at])[0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_display_p3_in_and_out(tmp_path, dtype):
    """Wide colours too, which sRGB would clip; the profile's bytes are the same."""
    top = np.iinfo(dtype).max
    codes = np.random.default_rng(0).integers(0, top + 1, (HEIGHT, WIDTH, 3)).astype(dtype)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    plate = read_plate(tmp_path / "in.png")
    write_display(tmp_path / "out.png", _halved(plate), plate.kind)
    out = _codes(tmp_path / "out.png")
    assert out.dtype == dtype and Pillow.open(tmp_path / "out.png").info["icc_profile"] == P3
    np.testing.assert_array_equal(out[5:], codes[5:])
    wanted = linear_to_srgb_array(0.5 * srgb_to_linear_array(codes[:5] / top)) * top
    assert np.abs(out[:5] - wanted).max() < max(0.51, 5e-4 * top)  # The profile's own numbers have 16 bits.


def test_wide_colours_stay_in_the_light_of_a_plate(tmp_path):
    codes = np.full((HEIGHT, WIDTH, 3), (0, 65535, 0), np.uint16)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    plate = read_plate(tmp_path / "in.png")
    np.testing.assert_allclose(plate.lin[0, :, 0, 0], P3_TO_SRGB[:, 1], atol=5e-3)
    assert float(plate.disp.min()) == 0 and float(plate.disp.max()) == 1


@pytest.mark.parametrize("named", [False, True])
def test_acescg_in_and_out_in_half_floats(tmp_path, named):
    light = (np.random.default_rng(1).random((HEIGHT, WIDTH, 3)) ** 3 * 20).astype(np.float16)
    write_exr(tmp_path / "in.exr", {c: light[..., k] for k, c in enumerate("RGB")},
              {"chromaticities": None if named else AP1})
    plate = read_plate(tmp_path / "in.exr", PlateColours("ACEScg" if named else None))
    write_linear(tmp_path / "out.exr", _halved(plate), plate.kind)
    file = OpenEXR.File(str(tmp_path / "out.exr"), separate_channels=True)
    out = np.stack([file.channels()[c].pixels for c in "RGB"], -1)
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out[5:], light[5:])
    np.testing.assert_allclose(out[:5].astype(float), 0.5 * light[:5], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(file.header()["chromaticities"], AP1, atol=1e-6)
    assert file.header()["colorInteropID"] == "lin_ap1_scene"
    # The picture for a screen stays one.
    write_display(tmp_path / "out.png", _halved(plate), plate.kind)
    assert _codes(tmp_path / "out.png").dtype == np.uint8 and _chunk(tmp_path / "out.png", b"sRGB") == b"\x01"


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_logc4_dpx_in_and_out(tmp_path, bits):
    random = np.random.default_rng(2)
    share = random.uniform(0.2, 0.7, (HEIGHT, WIDTH, 1)) + random.uniform(-0.02, 0.02, (HEIGHT, WIDTH, 3))
    codes = np.rint(share * (2**bits - 1)).astype(np.uint16)
    spread = codes << (16 - bits) | codes >> (2 * bits - 16) if bits in (10, 12) else codes
    spec = oiio.ImageSpec(WIDTH, HEIGHT, 3, "uint8" if bits == 8 else "uint16")
    spec.attribute("oiio:BitsPerSample", bits)
    spec.attribute("dpx:Transfer", "Logarithmic")
    file = oiio.ImageOutput.create("dpx")
    assert file.open(str(tmp_path / "in.dpx"), spec)
    assert file.write_image(spread.astype(np.uint8 if bits == 8 else np.uint16)) and file.close()
    plate = read_plate(tmp_path / "in.dpx", PlateColours("ARRI LogC4"))
    wanted = find_space("ARRI LogC4").to_light((codes / (2**bits - 1)).astype(np.float32))
    np.testing.assert_allclose(plate.lin[0].permute(1, 2, 0), wanted, rtol=2e-3, atol=1e-3)
    write_log(tmp_path / "out.dpx", _halved(plate), plate.kind)
    again = read_plate(tmp_path / "out.dpx", PlateColours("ARRI LogC4"))
    assert again.kind.bits == bits
    np.testing.assert_array_equal(again.kind.own.codes[5:], plate.kind.own.codes[5:])
    darker = find_space("ARRI LogC4").from_light(0.5 * wanted[:5]) * np.iinfo(again.kind.own.codes.dtype).max
    assert np.abs(again.kind.own.codes[:5] - darker).max() <= (1 if bits == 8 else 2 ** (16 - bits) + 30)
    # Linear light is float then: half would spoil the codes.
    write_linear(tmp_path / "out.exr", _halved(plate), plate.kind)
    np.testing.assert_array_equal(read_image(tmp_path / "out.exr").pixels[:, :, 5:], plate.lin[:, :, 5:])


def test_no_log_file_of_a_plate_that_is_none():
    plate = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="no logarithmic space"):
        write_log(None, FinishedPicture(plate, plate, torch.zeros(1, 1, 2, 2, dtype=torch.bool)), PlateKind())


def test_another_space_is_asked_for(tmp_path):
    """A plate in sRGB: Display P3 by cICP, ACEScg with its chromaticities, Adobe RGB by gAMA and cHRM."""
    codes = np.random.default_rng(3).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    (tmp_path / "in.png").write_bytes(png_bytes(codes))
    light = srgb_to_linear_array(codes / 65535)
    for name in ("Display P3 - Display", "g22_adobergb_scene"):
        plate = read_plate(tmp_path / "in.png", PlateColours(output_colourspace=name))
        write_display(tmp_path / "out.png", _halved(plate, 0), plate.kind)
        assert np.abs(read_image(tmp_path / "out.png").pixels[0].permute(1, 2, 0).numpy() - codes / 65535).max() < 1e-3
        assert np.abs(_codes(tmp_path / "out.png").astype(float) - codes).max() > 1000
    plate = read_plate(tmp_path / "in.png", PlateColours(output_colourspace="ACEScg"))
    write_linear(tmp_path / "out.exr", _halved(plate, 0), plate.kind)
    out = np.stack([OpenEXR.File(str(tmp_path / "out.exr"), separate_channels=True).channels()[c].pixels
                    for c in "RGB"], -1)
    np.testing.assert_allclose(out, find_space("ACEScg").from_light(light.astype(np.float32)), atol=1e-5)


def test_the_plates_own_space_asked_for_by_name_gives_its_own_values(tmp_path):
    codes = np.random.default_rng(4).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    plate = read_plate(tmp_path / "in.png", PlateColours(output_colourspace="Display P3 - Display"))
    assert plate.kind.output is plate.kind.own.space
    write_display(tmp_path / "out.png", _halved(plate), plate.kind)
    np.testing.assert_array_equal(_codes(tmp_path / "out.png")[5:], codes[5:])
    assert zlib.decompress(_chunk(tmp_path / "out.png", b"iCCP")[9:]) == P3


def test_tags_of_a_png_come_back(tmp_path):
    codes = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for chunks in (((b"cICP", bytes((12, 13, 0, 1))),), ((b"gAMA", struct.pack(">I", 100_000)),)):
        (tmp_path / "in.png").write_bytes(png_bytes(codes, chunks))
        plate = read_plate(tmp_path / "in.png")
        write_display(tmp_path / "out.png", _halved(plate, 0), plate.kind)
        assert _chunk(tmp_path / "out.png", chunks[0][0]) == chunks[0][1]
        assert _chunk(tmp_path / "out.png", b"sRGB") is None
        np.testing.assert_array_equal(_codes(tmp_path / "out.png"), codes)


def test_a_person_counts_more_than_the_file(tmp_path):
    codes = np.random.default_rng(6).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    read = read_image(tmp_path / "in.png", asked=AskedOf(find_space("sRGB - Texture")))
    np.testing.assert_array_equal((read.pixels[0].permute(1, 2, 0) * 255).round().numpy(), codes)
    assert read.info.own is None and "is not used: --colourspace says" in read.info.notes[0]


@pytest.mark.parametrize("size", [None, (8, 6)])
def test_a_scaled_plate_is_converted_as_a_whole(tmp_path, size):
    codes = np.full((HEIGHT, WIDTH, 3), (9000, 65535, 30000), np.uint16)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    plate = read_plate(tmp_path / "in.png").resized(*(size or (WIDTH, HEIGHT)))
    write_display(tmp_path / "out.png", _halved(plate, 0), plate.kind)
    out = _codes(tmp_path / "out.png").astype(float)
    assert out.shape[:2] == plate.disp.shape[2:] and np.abs(out - codes[0, 0]).max() <= (60 if size else 0)


def test_an_edited_picture_keeps_what_was_not_edited(tmp_path):
    codes = np.random.default_rng(7).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    plate = read_plate(tmp_path / "in.png", shown=True)
    made = plate.disp.clone()
    made[..., :5, :] = 0.5
    write_edited(tmp_path / "out.png", made, plate.disp, plate.kind)
    np.testing.assert_array_equal(_codes(tmp_path / "out.png")[5:], codes[5:])
    assert np.abs(_codes(tmp_path / "out.png")[:5] - 32767.5).max() < 200
    write_edited(tmp_path / "new.png", made, None, PlateKind())
    assert np.asarray(Pillow.open(io.BytesIO((tmp_path / "new.png").read_bytes()))).dtype == np.uint8


def test_a_name_that_says_what_the_file_says_changes_nothing(tmp_path):
    codes = np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    (tmp_path / "in.png").write_bytes(png_bytes(codes, (profile_chunk(P3),)))
    named = read_plate(tmp_path / "in.png", PlateColours("Display P3 - Display"))
    assert named.kind.own.space.chunks == (profile_chunk(P3),)
    assert named.notes == read_plate(tmp_path / "in.png").notes
    write_exr(tmp_path / "in.exr", {c: codes[..., k].astype(np.float16) for k, c in enumerate("RGB")},
              {"chromaticities": AP1})
    named = read_plate(tmp_path / "in.exr", PlateColours("ACEScg"))
    assert named.notes == read_plate(tmp_path / "in.exr").notes and "chromaticities" in named.kind.own.space.name
