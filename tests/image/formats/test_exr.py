"""Parts, layers and windows of EXR files, which OpenEXR's own library writes."""
import struct

import cv2
import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from dipir.errors import ImageError
from dipir.event import is_warning
from dipir.image.files import read_image
from dipir.image.formats.checks import AskedOf
from dipir.image.formats.ocio import BUILT_IN, find_space
from dipir.image.formats.primaries import to_bt709

RGB = np.random.default_rng(0).random((8, 12, 3)).astype(np.float32) * 4
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)


def _channels(rgb: np.ndarray, prefix: str = "", names: str = "RGB") -> dict[str, np.ndarray]:
    return {prefix + c: np.ascontiguousarray(rgb[..., k]) for k, c in enumerate(names)}


def _header(**more: object) -> dict:
    return {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **more}


def _window(left: int, top: int, width: int, height: int) -> tuple:
    return (np.array([left, top], np.int32), np.array([left + width - 1, top + height - 1], np.int32))


def _written(path, rgb: np.ndarray, **more: object):
    OpenEXR.File(_header(**more), _channels(rgb)).write(str(path))
    return read_image(path)


def _pixels(read) -> np.ndarray:
    return read.pixels[0].permute(1, 2, 0).numpy()


# ---- windows ---------------------------------------------------------------------------------------------------------

def test_a_data_window_within_the_display_window(tmp_path):
    read = _written(tmp_path / "a.exr", RGB, dataWindow=_window(5, 3, 12, 8), displayWindow=_window(0, 0, 20, 15))
    wanted = np.zeros((15, 20, 3), np.float32)
    wanted[3:11, 5:17] = RGB
    np.testing.assert_array_equal(_pixels(read), wanted)
    assert (read.info.width, read.info.height) == (20, 15) and "32.0% of the display window" in read.info.notes[0]


def test_overscan_is_dropped_and_said(tmp_path):
    read = _written(tmp_path / "a.exr", RGB, dataWindow=_window(-2, -1, 12, 8), displayWindow=_window(0, 0, 9, 6))
    np.testing.assert_array_equal(_pixels(read), RGB[1:7, 2:11])
    (note,) = read.info.notes
    assert "overscan dropped" in note and "12x8" in note and "9x6" in note


def test_windows_that_overlap_and_that_do_not(tmp_path):
    read = _written(tmp_path / "a.exr", RGB, dataWindow=_window(104, 47, 12, 8), displayWindow=_window(100, 50, 12, 8))
    wanted = np.zeros((8, 12, 3), np.float32)
    wanted[:5, 4:] = RGB[3:, :8]
    np.testing.assert_array_equal(_pixels(read), wanted)
    assert len(read.info.notes) == 2
    with pytest.raises(ImageError, match="outside of its display window"):
        _written(tmp_path / "b.exr", RGB, dataWindow=_window(50, 0, 12, 8), displayWindow=_window(0, 0, 12, 8))


def test_a_huge_display_window_round_few_pixels_is_refused(tmp_path):
    with pytest.raises(ImageError, match="900 megapixels"):
        _written(tmp_path / "a.exr", RGB, dataWindow=_window(0, 0, 12, 8), displayWindow=_window(0, 0, 30000, 30000))


# ---- parts and layers ------------------------------------------------------------------------------------------------

def _parts(path, *parts: tuple[str, dict[str, np.ndarray]]):
    made = [OpenEXR.Part(_header(name=name), channels, name) for name, channels in parts]
    OpenEXR.File(made).write(str(path))
    return read_image(path)


def test_the_first_part_with_colours_is_used_and_the_others_named(tmp_path):
    depth = {"Z": np.ascontiguousarray(RGB[..., 0])}
    read = _parts(tmp_path / "a.exr", ("depth", depth), ("left", _channels(RGB)), ("right", _channels(RGB + 1)))
    np.testing.assert_array_equal(_pixels(read), RGB)
    assert read.info.notes == ("part 'left' is used; left out: part 'right'",)


def test_limits_hold_for_every_part(tmp_path):
    shown, large = _window(0, 0, 12, 8), np.zeros((50, 50, 3), np.float32)
    OpenEXR.File([OpenEXR.Part(_header(name="a", displayWindow=shown), _channels(RGB), "a"),
                  OpenEXR.Part(_header(name="b", displayWindow=shown), _channels(large), "b")]
                 ).write(str(tmp_path / "a.exr"))
    with pytest.raises(ImageError, match="50x50"):
        read_image(tmp_path / "a.exr", max_pixels=2000)


def test_a_picture_at_the_top_is_meant_before_its_layers(tmp_path):
    channels = {**_channels(RGB + 5, "aaa."), **_channels(RGB), "A": np.ones((8, 12), np.float32),
                **_channels(RGB + 7, "spec.")}
    OpenEXR.File(_header(), channels).write(str(tmp_path / "a.exr"))
    read = read_image(tmp_path / "a.exr")
    np.testing.assert_array_equal(_pixels(read), RGB)
    assert set(read.info.notes) == {
        "the top-level R, G, B is used; left out: layer 'aaa', layer 'spec'", "alpha ignored"}


def test_the_first_layer_where_there_is_no_picture_at_the_top(tmp_path):
    channels = {**_channels(RGB, "beauty.left."), **_channels(RGB + 7, "spec."), "Z": np.ascontiguousarray(RGB[..., 0])}
    OpenEXR.File(_header(), channels).write(str(tmp_path / "a.exr"))
    read = read_image(tmp_path / "a.exr")
    np.testing.assert_array_equal(_pixels(read), RGB)
    assert read.info.notes == ("layer 'beauty.left' is used; left out: layer 'spec'",)


def test_grey_at_the_top(tmp_path):
    OpenEXR.File(_header(), {"Y": np.ascontiguousarray(RGB[..., 0])}).write(str(tmp_path / "a.exr"))
    np.testing.assert_array_equal(_pixels(read_image(tmp_path / "a.exr")), np.repeat(RGB[..., :1], 3, 2))


def test_half_and_tiles(tmp_path):
    half = RGB.astype(np.float16)
    OpenEXR.File({"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.tiledimage,
                  "tiles": OpenEXR.TileDescription()}, _channels(half)).write(str(tmp_path / "a.exr"))
    read = read_image(tmp_path / "a.exr")
    np.testing.assert_array_equal(_pixels(read), half.astype(np.float32))
    assert read.info.bits == 16


def test_deep_and_subsampled_are_refused(tmp_path):
    out = oiio.ImageOutput.create("a.exr")
    spec = oiio.ImageSpec(4, 3, 4, "float")
    spec.channelnames, spec.deep = ("R", "G", "B", "A"), True
    assert out.open(str(tmp_path / "a.exr"), spec), out.geterror()
    deep = oiio.DeepData()
    deep.init(12, 4, oiio.TypeDesc("float"), spec.channelnames)
    out.write_deep_image(deep)
    out.close()
    with pytest.raises(ImageError, match="holds deep data"):
        read_image(tmp_path / "a.exr")
    flat = np.ones((8, 8), np.float32)
    OpenEXR.File(_header(), {"Y": flat, "RY": flat, "BY": flat}).write(str(tmp_path / "b.exr"))
    whole, plain = (tmp_path / "b.exr").read_bytes(), b"Y\0" + struct.pack("<iIii", 2, 0, 1, 1)
    assert whole.count(b"B" + plain) == 1  # The library writes none, so the header is made to say it.
    half = b"Y\0" + struct.pack("<iIii", 2, 0, 2, 2)
    (tmp_path / "b.exr").write_bytes(whole.replace(b"B" + plain, b"B" + half).replace(b"R" + plain, b"R" + half))
    with pytest.raises(ImageError, match="subsampled"):
        read_image(tmp_path / "b.exr")


# ---- colours ---------------------------------------------------------------------------------------------------------

def test_other_chromaticities_are_converted_and_said(tmp_path):
    read = _written(tmp_path / "a.exr", RGB, chromaticities=AP1)
    np.testing.assert_allclose(_pixels(read), RGB @ to_bt709(AP1).T, atol=1e-5)
    assert "converted from the chromaticities 0.713" in read.info.notes[0]


def test_whole_numbers_are_refused(tmp_path):
    OpenEXR.File(_header(), _channels((RGB * 50).astype(np.uint32))).write(str(tmp_path / "a.exr"))
    with pytest.raises(ImageError, match="whole numbers"):
        read_image(tmp_path / "a.exr")


def test_pixels_that_are_not_square_are_said(tmp_path):
    read = _written(tmp_path / "a.exr", RGB, pixelAspectRatio=2.0)
    assert len(read.info.notes) == 1 and "2 times as wide as high" in read.info.notes[0]


@pytest.mark.parametrize("stated", [np.array([1, 2, 3], np.float32), np.eye(3, dtype=np.float32), "BT.709"])
def test_chromaticities_of_another_type_are_ignored_and_said(tmp_path, stated):
    _written(tmp_path / "a.exr", RGB, chromaticitieZ=stated)
    (tmp_path / "a.exr").write_bytes((tmp_path / "a.exr").read_bytes().replace(b"chromaticitieZ", b"chromaticities"))
    read = read_image(tmp_path / "a.exr")
    np.testing.assert_array_equal(_pixels(read), RGB)
    assert read.info.notes == ("chromaticities are not eight numbers: ignored, read as BT.709",)


# ---- what a person says ----------------------------------------------------------------------------------------------

def _layered(path):
    channels = {**_channels(RGB), **_channels(RGB + 1, "spec."), **_channels(RGB + 2, "light.key.")}
    OpenEXR.File(_header(), channels).write(str(path))
    return path


@pytest.mark.parametrize("layer, more", [("RGB", 0), ("spec", 1), ("SPEC", 1), ("light.key", 2)])
def test_a_layer_by_its_name(tmp_path, layer, more):
    read = read_image(_layered(tmp_path / "a.exr"), asked=AskedOf(layer=layer))
    np.testing.assert_array_equal(_pixels(read), RGB + more)
    assert read.info.notes == ()


def test_parts_by_their_names(tmp_path):
    path = tmp_path / "a.exr"
    _parts(path, ("left", _channels(RGB)), ("right", {**_channels(RGB + 1), **_channels(RGB + 2, "spec.")}),
           ("fog", _channels(RGB + 3, "spec.")))
    for layer, more in (("left", 0), ("right", 1), ("right.spec", 2), ("fog", 3), ("fog.spec", 3), ("left.RGB", 0)):
        np.testing.assert_array_equal(_pixels(read_image(path, asked=AskedOf(layer=layer))), RGB + more)
    with pytest.raises(ImageError, match=r"'spec' names several; accepted are right.spec, fog.spec"):
        read_image(path, asked=AskedOf(layer="spec"))


def test_an_unknown_layer_is_answered_with_those_that_are_there(tmp_path):
    with pytest.raises(ImageError, match=r"'beauty' is not in it; accepted are RGB, light.key, spec. .*--layer"):
        read_image(_layered(tmp_path / "a.exr"), asked=AskedOf(layer="beauty"))
    many = {name: channel for k in range(30) for name, channel in _channels(RGB, f"l{k}.").items()}
    OpenEXR.File(_header(), many).write(str(tmp_path / "b.exr"))
    with pytest.raises(ImageError, match="and 20 more"):
        read_image(tmp_path / "b.exr", asked=AskedOf(layer="\x1b[31m"))
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ImageError, match="PNG data, which has no layers"):
        read_image(tmp_path / "c.png", asked=AskedOf(layer="beauty"))


def test_a_named_space_counts_more_than_chromaticities(tmp_path):
    _written(tmp_path / "a.exr", RGB, chromaticities=AP1)
    read = read_image(tmp_path / "a.exr", asked=AskedOf(find_space("lin_rec709", BUILT_IN)))
    np.testing.assert_array_equal(_pixels(read), RGB)
    assert "is not used: --colourspace says" in read.info.notes[0] and read.info.own is None
    read = read_image(tmp_path / "a.exr", asked=AskedOf(find_space("ARRI LogC4", BUILT_IN)))
    np.testing.assert_allclose(_pixels(read), find_space("ARRI LogC4", BUILT_IN).to_light(RGB), rtol=1e-6)


def test_own_values_are_those_of_the_display_window(tmp_path):
    read = _written(tmp_path / "a.exr", RGB.astype(np.float16), chromaticities=AP1, dataWindow=_window(2, 1, 12, 8),
                    displayWindow=_window(0, 0, 12, 8))
    own = read.info.own.codes
    assert own.dtype == np.float16 and own.shape == (8, 12, 3)
    np.testing.assert_array_equal(own[1:, 2:], RGB.astype(np.float16)[:7, :10])
    assert not own[0].any() and is_warning(next(n for n in read.info.notes if "overscan" in n))


@pytest.mark.parametrize("least, warned", [(1.0, False), (0.5, True)])
def test_alpha_is_a_warning_where_it_is_not_opaque(tmp_path, least, warned):
    alpha = np.linspace(least, 1, 96, dtype=np.float32).reshape(8, 12)
    OpenEXR.File(_header(), {**_channels(RGB), "A": alpha}).write(str(tmp_path / "a.exr"))
    (note,) = read_image(tmp_path / "a.exr").info.notes
    assert note == "alpha ignored" and is_warning(note) == warned
