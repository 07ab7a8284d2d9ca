import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms

from dipir.errors import ImageError
from dipir.image import files
from dipir.image.files import jpeg_bytes, read_envmap, read_image, write_exr, write_png
from tests.support.exr import read_exr
from tests.support.hdr import write_hdr

DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[2] / "../shared/data"))
data = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason="no test data")]


def _rgb(seed: int = 0, h: int = 12, w: int = 17, high: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (h, w, 3)).astype(dtype)


def _image(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32).transpose(2, 0, 1))[None]


def _saved(path: Path, picture: Pillow.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


# ---------------------------------------------------------------- PNG, JPEG

@pytest.mark.parametrize("bits, dtype", [(8, np.uint8), (16, np.uint16)])
def test_png_round_trip_is_exact(tmp_path, bits, dtype):
    pixels = _rgb(high=2**bits, dtype=dtype)
    write_png(tmp_path / "a.png", _image(pixels) / (2**bits - 1), bits)
    back, state, info = read_image(tmp_path / "a.png")
    assert state == "display" and info.bits == bits and (info.width, info.height) == (17, 12)
    assert back.dtype == torch.float32 and back.shape == (1, 3, 12, 17) and not info.notes
    np.testing.assert_array_equal(np.rint(back[0].permute(1, 2, 0).numpy().astype(float) * (2**bits - 1)), pixels)
    # An independent decoder sees the same colours in the same order.
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], pixels)


def test_png_clips_and_grey(tmp_path):
    write_png(tmp_path / "a.png", torch.tensor([-1.0, 0.5, 2.0]).view(1, 1, 1, 3))
    assert (read_image(tmp_path / "a.png").pixels[0, :, 0] * 255).tolist() == [[0.0, 128.0, 255.0]] * 3


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "RGB"])
def test_png_kinds(tmp_path, mode):
    source = Pillow.fromarray(_rgb())
    picture = source.convert("RGBA").convert(mode) if mode != "P" else source.quantize(16)
    pixels, _, info = read_image(_saved(tmp_path / "a.png", picture))
    np.testing.assert_array_equal((pixels * 255).round(), _image(np.asarray(picture.convert("RGB"))))
    assert ("alpha ignored" in info.notes) == ("A" in mode)


def test_alpha_is_dropped_not_multiplied(tmp_path):
    rgba = np.dstack([_rgb(), np.zeros((12, 17), np.uint8)])
    pixels = read_image(_saved(tmp_path / "a.png", Pillow.fromarray(rgba))).pixels
    assert torch.equal((pixels * 255).round(), _image(_rgb()))


@pytest.mark.parametrize("channels", [1, 4])
def test_16_bit_png_grey_and_alpha(tmp_path, channels):
    pixels = np.random.default_rng(1).integers(0, 65536, (5, 6, channels)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    back, _, info = read_image(tmp_path / "a.png")
    wanted = np.repeat(pixels, 3, 2) if channels == 1 else pixels[..., 2::-1]
    assert info.bits == 16 and ("alpha ignored" in info.notes) == (channels == 4)
    np.testing.assert_array_equal((back.double() * 65535).round(), _image(wanted))


@pytest.mark.parametrize("profile, noted", [
    (ImageCms.createProfile("sRGB"), False), (ImageCms.createProfile("XYZ"), True), (None, False), (b"rubbish", True)])
def test_colour_profiles(tmp_path, profile, noted):
    icc = profile if isinstance(profile, bytes | None) else ImageCms.ImageCmsProfile(profile).tobytes()
    info = read_image(_saved(tmp_path / "a.jpg", Pillow.new("RGB", (8, 8)), icc_profile=icc)).info
    assert any("colour profile" in note for note in info.notes) == noted


def test_cmyk_and_grey_jpeg(tmp_path):
    for mode in ("CMYK", "L"):
        path = _saved(tmp_path / f"{mode}.jpg", Pillow.new("RGB", (20, 20), (200, 200, 200)).convert(mode), quality=95)
        assert (read_image(path).pixels * 255 - 200).abs().max() < 3


# ---------------------------------------------------------------- EXR, HDR

def test_exr_round_trip(tmp_path):
    rgb = np.random.default_rng(0).standard_normal((5, 7, 3)).astype(np.float32) * 1e5
    write_exr(tmp_path / "a.exr", {c: rgb[..., i] for i, c in enumerate("RGB")} | {"A": torch.ones(5, 7)})
    pixels, state, info = read_image(tmp_path / "a.exr")
    assert state == "linear" and info.notes == ("alpha ignored",) and info.bits == 32
    assert torch.equal(pixels, _image(rgb))
    header = OpenEXR.File(str(tmp_path / "a.exr"), header_only=True).header()
    np.testing.assert_allclose(header["chromaticities"], files.BT709_CHROMATICITIES, rtol=1e-6)


def test_exr_layers_and_types(tmp_path):
    half, single = np.ones((2, 3), np.float16), np.full((2, 3), 1e6, np.float32)
    ids = np.full((2, 3), 2**31, np.uint32)
    write_exr(tmp_path / "a.exr", {"R": half, "a.b.Z": single, "id.Y": ids, "d.Y": np.ones((2, 3))},
              {"comments": "hello"})
    layers, attributes = read_exr(tmp_path / "a.exr")
    assert set(layers) == {"", "a.b", "id", "d"} and attributes["comments"] == "hello"
    for array, wanted in ((layers[""]["R"], half), (layers["a.b"]["Z"], single), (layers["id"]["Y"], ids)):
        assert array.dtype == wanted.dtype and np.array_equal(array, wanted)
    assert layers["d"]["Y"].dtype == np.float32


def test_exr_grey_and_without_colour(tmp_path):
    y = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    write_exr(tmp_path / "y.exr", {"Y": y})
    assert torch.equal(read_image(tmp_path / "y.exr").pixels, torch.from_numpy(y).expand(1, 3, 4, 4))
    write_exr(tmp_path / "z.exr", {"depth.Z": y})
    with pytest.raises(ImageError, match="depth.Z"):
        read_image(tmp_path / "z.exr")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_light_is_refused_on_read(tmp_path, bad):
    pixels = np.ones((2, 2), np.float32)
    pixels[0, 1] = bad
    write_exr(tmp_path / "a.exr", {c: pixels for c in "RGB"})
    with pytest.raises(ImageError, match="1 pixels are NaN or infinite"):
        read_image(tmp_path / "a.exr")


def test_hdr_round_trip(tmp_path):
    rgb = np.exp(np.random.default_rng(0).normal(0, 6, (16, 32, 3))).astype(np.float32)
    rgb[0, 0], rgb[1, 1], rgb[2, 2] = 0, (3e6, 2e6, 1e6), (255.7, 1.0, 0.0)
    write_hdr(tmp_path / "a.hdr", torch.from_numpy(rgb))
    back = read_envmap(tmp_path / "a.hdr").numpy()
    assert back.shape == (16, 32, 3) and back.dtype == np.float32 and back.max() > 65504
    peak = rgb.max(-1, keepdims=True)
    # Half a step; the largest mantissa is at least 127.75 before it is rounded.
    assert (np.abs(back - rgb) <= peak / 255.5 + 1e-30).all() and (back[0, 0] == 0).all()
    bias = (back.sum(-1) / rgb.sum(-1).clip(1e-30))[1:].mean() - 1
    assert abs(bias) < 5e-4  # mantissas that are cut off would give -0.002
    write_hdr(tmp_path / "b.hdr", _image(rgb))
    assert torch.equal(read_image(tmp_path / "b.hdr").pixels, _image(back))
    assert read_image(tmp_path / "b.hdr").state == "linear"


def test_envmap_from_exr_keeps_strong_light_and_loses_negative(tmp_path):
    rgb = np.full((2, 4, 3), 7.0, np.float32)
    rgb[0, 0], rgb[1, 1] = 5e5, -0.01
    write_exr(tmp_path / "a.exr", {c: rgb[..., i] for i, c in enumerate("RGB")})
    np.testing.assert_array_equal(read_envmap(tmp_path / "a.exr"), rgb.clip(0))


def test_envmap_refuses_photos_and_other_shapes(tmp_path):
    write_png(tmp_path / "a.png", torch.zeros(1, 3, 2, 4))
    write_hdr(tmp_path / "a.hdr", torch.zeros(3, 4, 3))
    with pytest.raises(ImageError, match="linear light"):
        read_envmap(tmp_path / "a.png")
    with pytest.raises(ImageError, match="twice the height"):
        read_envmap(tmp_path / "a.hdr")


# ---------------------------------------------------------------- bad input

KINDS = ["a.png", "deep.png", "a.jpg", "a.hdr", "a.exr", "a.tif", "a.webp"]


def _samples(folder: Path) -> dict[str, Path]:
    write_png(folder / "a.png", _image(_rgb(1, 40, 40)) / 255)
    write_png(folder / "deep.png", _image(_rgb(1, 40, 40)) / 255, 16)
    _saved(folder / "a.jpg", Pillow.fromarray(_rgb(2, 40, 40)))
    write_hdr(folder / "a.hdr", _image(_rgb(3, 40, 40)))
    write_exr(folder / "a.exr", {c: _rgb(4, 40, 40)[..., i] / 255 for i, c in enumerate("RGB")})
    _saved(folder / "a.tif", Pillow.fromarray(_rgb(5, 40, 40)))
    _saved(folder / "a.webp", Pillow.fromarray(_rgb(6, 40, 40)), lossless=True)
    return {name: folder / name for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_truncated(tmp_path, name):
    path = _samples(tmp_path)[name]
    whole = path.read_bytes()
    for part in (0.9, 0.6, 0.3, 0.1):
        path.write_bytes(whole[:int(part * len(whole))])
        with pytest.raises(ImageError, match=name):
            read_image(path)
    path.write_bytes(whole[:4])
    with pytest.raises(ImageError):
        read_image(path)


@pytest.mark.parametrize("name", KINDS)
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_an_image_or_an_image_error(tmp_path, name, changes):
    path = _samples(tmp_path)[name]
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    try:
        assert read_image(path).pixels.isfinite().all()
    except ImageError as error:
        assert name in str(error)


def test_what_is_no_image(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.exr").write_text("hello, this is a text")
    (tmp_path / "text.hdr").write_text("#?RADIANCE\n\nnothing")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    _saved(tmp_path / "really_jpeg.png", Pillow.new("RGB", (4, 4)), format="JPEG")
    for name, text in {"empty.png": "0 bytes", "text.exr": "does not hold an EXR", "text.hdr": "damaged",
                       "folder.png": "is a folder", "missing.png": "does not exist", "pipe.png": "no regular file",
                       "really_jpeg.png": "Rename it to really_jpeg.jpeg", "nul\0.png": "nul"}.items():
        with pytest.raises(ImageError, match=text):
            read_image(tmp_path / name)


def test_size_is_checked_before_decoding(tmp_path):
    """The bodies are missing or broken: only a reader that stops at the header names the size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"
    (tmp_path / "a.png").write_bytes(png + struct.pack(">I", zlib.crc32(b"IDAT")))
    (tmp_path / "a.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 12000 +X 12000\n")
    jpeg = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(jpeg, "JPEG")
    size, absurd = struct.pack(">HH", 8, 8), struct.pack(">HH", 12000, 12000)
    (tmp_path / "a.jpg").write_bytes(jpeg.getvalue().replace(size, absurd, 1))
    for name in ("a.png", "a.hdr", "a.jpg"):
        with pytest.raises(ImageError, match="144 megapixels"):
            read_image(tmp_path / name)
    for name, path in _samples(tmp_path).items():
        with pytest.raises(ImageError, match="40x40"):
            read_image(path, max_pixels=1599)
        assert read_image(path, max_pixels=1600).info.width == 40, name


def test_a_size_that_pillow_itself_refuses(tmp_path):
    body = b"IHDR" + struct.pack(">IIBBBBB", 40000, 30000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"
    (tmp_path / "a.png").write_bytes(png + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(ImageError, match="too large"):
        read_image(tmp_path / "a.png")


def test_exr_of_absurd_size(tmp_path):
    path = _samples(tmp_path)["a.exr"]
    whole = path.read_bytes()
    window = struct.pack("<4i", 0, 0, 39, 39)
    assert whole.count(window) == 2
    path.write_bytes(whole.replace(window, struct.pack("<4i", 0, 0, 39999, 29999)))
    with pytest.raises(ImageError, match="1200 megapixels"):
        read_image(path)


# ---------------------------------------------------------------- writing

def test_nan_and_wrong_shapes_are_not_written(tmp_path):
    bad = torch.full((1, 3, 4, 4), float("nan"))
    for act in (lambda p: write_png(p, bad), lambda p: write_png(p, torch.zeros(2, 3, 4, 4)),
                lambda p: write_png(p, torch.zeros(1, 3, 4, 4), 12), lambda p: write_exr(p, {}),
                lambda p: write_exr(p, {"R": np.zeros((2, 2)), "G": np.zeros((2, 3))})):
        with pytest.raises(ImageError, match="cannot write"):
            act(tmp_path / "a")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- real files

@pytest.mark.parametrize("name", ["hdri/rooitou_park_1k.hdr", "hdri_synthetic/env_color_room_150.hdr"])
@pytest.mark.data
@data[1]
def test_real_environment(name):
    envmap = read_envmap(DATA / name)
    direct = cv2.imread(str(DATA / name), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(envmap, direct)


@pytest.mark.data
@data[1]
def test_real_photo():
    pixels, state, info = read_image(DATA / "plates/outdoor_avenue_dscn0012.jpg")
    assert state == "display" and pixels.shape == (1, 3, info.height, info.width) and 0.05 < pixels.mean() < 0.95


def test_a_jpeg_holds_the_picture_and_refuses_what_is_none():
    ramp = torch.linspace(0, 255, 64).round().to(torch.uint8)
    picture = torch.stack([ramp.expand(32, 64), ramp.flip(0).expand(32, 64), torch.full((32, 64), 90).byte()], -1)
    fine, coarse = jpeg_bytes(picture, 95), jpeg_bytes(picture, 20)
    back = np.asarray(Pillow.open(io.BytesIO(fine)).convert("RGB")).astype(int)
    assert np.abs(back - picture.numpy()).mean() < 3 and len(coarse) < len(fine)
    for bad in (picture.float(), picture[..., :1], picture[None]):
        with pytest.raises(ImageError, match="uint8"):
            jpeg_bytes(bad)
