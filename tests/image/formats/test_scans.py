import cv2
import numpy as np
import OpenImageIO as oiio
import pytest
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.event import is_warning
from dipir.image.files import read_image
from dipir.image.formats.checks import AskedOf
from dipir.image.formats.ocio import BUILT_IN, find_space
from tests.support.icc import P3_COLORANTS, P3_TO_SRGB, curve, rgb_profile

CODES = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (8, 9, 3)).astype(np.uint16)


def _codes(path, top: int = 255) -> np.ndarray:
    return np.rint(read_image(path).pixels[0].permute(1, 2, 0).double().numpy() * top)


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
def test_tiff_of_8_bits(tmp_path, mode, options):
    picture = Pillow.fromarray(CODES)
    picture = picture.quantize(16) if mode == "P" else picture.convert("RGBA").convert(mode)
    picture.save(tmp_path / "a.tif", **options)
    np.testing.assert_array_equal(_codes(tmp_path / "a.tif"), np.asarray(picture.convert("RGB")))
    info = read_image(tmp_path / "a.tif").info
    assert ("alpha ignored" in info.notes) == ("A" in mode) and info.bits == (1 if mode == "1" else 8)


def test_colours_under_transparent_pixels_are_kept(tmp_path):
    Pillow.fromarray(np.dstack([CODES, np.full((8, 9), 40, np.uint8)])).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(_codes(tmp_path / "a.tif"), CODES)


def test_tiff_of_16_bits_and_of_float(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), DEEP[..., ::-1])
    np.testing.assert_array_equal(_codes(tmp_path / "a.tif", 65535), DEEP)
    assert read_image(tmp_path / "a.tif").info.bits == 16 and read_image(tmp_path / "a.tif").state == "display"
    light = (CODES / np.float32(50)).astype(np.float32)
    cv2.imwrite(str(tmp_path / "b.tif"), light[..., ::-1])
    pixels, state, info = read_image(tmp_path / "b.tif")
    assert state == "linear" and info.bits == 32
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), light)


def test_tiff_orientation_pages_and_odd_names(tmp_path):
    picture = Pillow.fromarray(CODES)
    picture.save(tmp_path / "a.tif", tiffinfo={274: 6})
    np.testing.assert_array_equal(_codes(tmp_path / "a.tif"), np.rot90(CODES, -1))
    picture.save(tmp_path / "what?now", "TIFF", save_all=True, append_images=[Pillow.fromarray(255 - CODES)])
    np.testing.assert_array_equal(_codes(tmp_path / "what?now"), CODES)
    assert "the first page is used; there are more" in read_image(tmp_path / "what?now").info.notes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_field_of_view_of_a_tiff(tmp_path, dtype):
    """What a camera's raw converter writes: 35 mm equivalent in the EXIF block."""
    out = oiio.ImageOutput.create("a.tif")
    spec = oiio.ImageSpec(36, 24, 3, str(np.dtype(dtype)))
    spec.attribute("Exif:FocalLengthIn35mmFilm", 18)
    out.open(str(tmp_path / "a.tif"), spec)
    out.write_image(np.zeros((24, 36, 3), dtype))
    out.close()
    assert read_image(tmp_path / "a.tif").info.fov_x_deg == pytest.approx(90, abs=0.1)


def test_profile_of_a_tiff_in_16_bits(tmp_path):
    from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
    icc = rgb_profile(P3_COLORANTS, "Wide", curve())
    out = oiio.ImageOutput.create("a.tif")
    spec = oiio.ImageSpec(9, 8, 3, "uint16")
    spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{len(icc)}]"), np.frombuffer(icc, np.uint8))
    out.open(str(tmp_path / "a.tif"), spec)
    out.write_image(DEEP)
    out.close()
    wanted = linear_to_srgb_array(srgb_to_linear_array(DEEP / 65535) @ P3_TO_SRGB.T).clip(0, 1)
    read = read_image(tmp_path / "a.tif")
    assert np.abs(read.pixels[0].permute(1, 2, 0).numpy() - wanted).max() < 4e-4
    assert any("'Wide'" in note for note in read.info.notes)


@pytest.mark.parametrize("picture, text", [
    (Pillow.fromarray(CODES[..., 0].astype(np.int32)), "holds int numbers"),
    (Pillow.fromarray(CODES).convert("LAB"), "CIE Lab")])
def test_tiff_that_is_refused_by_name(tmp_path, picture, text):
    picture.save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=text):
        read_image(tmp_path / "a.tif")


def _dpx(path, bits: int, space: str = ""):
    out = oiio.ImageOutput.create("a.dpx")
    spec = oiio.ImageSpec(9, 8, 3, "uint8" if bits == 8 else "uint16")
    spec.attribute("oiio:BitsPerSample", bits)
    if space:
        spec.attribute("oiio:ColorSpace", space)
        spec.attribute("dpx:Transfer", {"KodakLog": "Logarithmic"}.get(space, space))
    assert out.open(str(path), spec), out.geterror()
    out.write_image(CODES if bits == 8 else CODES.astype(np.uint16) * 257)
    out.close()
    return path


@pytest.mark.parametrize("bits, tolerance", [(8, 0), (10, 1 / 1023), (16, 0)])
def test_dpx_of_video_codes(tmp_path, bits, tolerance):
    pixels, state, info = read_image(_dpx(tmp_path / "a.dpx", bits))
    assert state == "display" and info.bits == bits
    assert np.abs(pixels[0].permute(1, 2, 0).numpy() - CODES / 255).max() <= tolerance + 1e-6


def test_dpx_linear_and_of_film(tmp_path):
    pixels, state, _ = read_image(_dpx(tmp_path / "a.dpx", 16, "Linear"))
    assert state == "linear" and np.abs(pixels[0].permute(1, 2, 0).numpy() - CODES / 255).max() < 1e-6
    with pytest.raises(ImageError, match="film densities"):
        read_image(_dpx(tmp_path / "b.dpx", 10, "KodakLog"))


@pytest.mark.parametrize("kind", ["tif", "dpx"])
def test_limits_and_damage(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        Pillow.fromarray(CODES).save(path, compression="tiff_lzw")
    else:
        _dpx(path, 8)
    with pytest.raises(ImageError, match="9x8"):
        read_image(path, max_pixels=71)
    whole = path.read_bytes()
    for part in (0.6, 0.3, 0.1):
        path.write_bytes(whole[:int(part * len(whole))])
        with pytest.raises(ImageError, match=f"a.{kind}"):
            read_image(path)
    (tmp_path / f"b.{kind}").write_text("hello, this is a text")
    with pytest.raises(ImageError, match="does not hold a"):
        read_image(tmp_path / f"b.{kind}")


@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_tiff_of_luma_and_chroma(tmp_path, compression):
    ramp = np.stack([np.tile(np.linspace(20, 235, 32), (24, 1))] * 3, -1) * (1, 0.5, 0.2)
    Pillow.fromarray(ramp.astype(np.uint8)).convert("YCbCr").save(tmp_path / "a.tif", compression=compression,
                                                                  quality=95)
    np.testing.assert_allclose(_codes(tmp_path / "a.tif"), ramp, atol=12)


@pytest.mark.parametrize("name, tags", [("a.dng", {50706: b"\1\4\0\0"}), ("a.tif", {50706: b"\1\4\0\0"}),
                                        ("a.tif", {262: 32803}), ("a.tif", {254: 1}), ("a.NEF", {})])
def test_camera_raw_is_refused_by_name(tmp_path, name, tags):
    """Its first picture is a thumbnail, or has one colour a pixel."""
    Pillow.fromarray(CODES[..., 0]).save(tmp_path / name, "TIFF", tiffinfo=tags)
    with pytest.raises(ImageError, match="camera raw.*[Dd]evelop"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", ["tif", "dpx"])
def test_pixels_that_are_not_square_are_said(tmp_path, suffix):
    picture = oiio.ImageBuf(CODES)
    picture.specmod().attribute("PixelAspectRatio", 2.0)
    picture.write(str(tmp_path / f"a.{suffix}"))
    (note,) = read_image(tmp_path / f"a.{suffix}").info.notes
    assert "2 times as wide as high" in note and is_warning(note)


def test_dpx_of_film_in_a_named_space(tmp_path):
    space = find_space("ADX10", BUILT_IN)
    read = read_image(_dpx(tmp_path / "b.dpx", 10, "KodakLog"), asked=AskedOf(space))
    assert read.state == "linear" and read.info.own.codes.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels[0].permute(1, 2, 0).numpy(), space.to_light(
        (read.info.own.codes / np.float32(65535)).astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tiff_in_a_named_space(tmp_path, dtype):
    space = find_space("ACEScct", BUILT_IN)
    codes = DEEP if dtype == np.uint16 else (DEEP / np.float32(65535)).astype(np.float32)
    cv2.imwrite(str(tmp_path / "a.tif"), codes[..., ::-1])
    read = read_image(tmp_path / "a.tif", asked=AskedOf(space))
    assert read.state == "linear"
    wanted = space.to_light((DEEP / np.float32(65535)).astype(np.float32))
    np.testing.assert_allclose(read.pixels[0].permute(1, 2, 0).numpy(), wanted, rtol=1e-5)
    np.testing.assert_array_equal(read.info.own.codes, codes)


def test_a_profile_of_a_float_tiff_is_a_warning(tmp_path):
    icc = np.frombuffer(rgb_profile(P3_COLORANTS, "Wide", curve()), np.uint8)
    spec = oiio.ImageSpec(9, 8, 3, "float")
    spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{len(icc)}]"), icc)
    out = oiio.ImageOutput.create("a.tif")
    out.open(str(tmp_path / "a.tif"), spec)
    out.write_image(np.zeros((8, 9, 3), np.float32))
    out.close()
    (note,) = read_image(tmp_path / "a.tif").info.notes
    assert is_warning(note) and "--colourspace" in note


@pytest.mark.parametrize("alpha, warned", [(255, False), (40, True)])
def test_alpha_of_a_tiff(tmp_path, alpha, warned):
    Pillow.fromarray(np.dstack([CODES, np.full((8, 9), alpha, np.uint8)])).save(tmp_path / "a.tif")
    (note,) = read_image(tmp_path / "a.tif").info.notes
    assert note == "alpha ignored" and is_warning(note) == warned
