"""Every way in which a Radiance file may be stored gives the same picture."""
from pathlib import Path

import cv2
import numpy as np
import pytest

from dipir.errors import ImageError
from dipir.image.files import read_image

CODES = np.random.default_rng(0).integers(2, 256, (5, 9, 4)).astype(np.uint8)
CODES[..., 3] = 120 + CODES[..., 3] % 16
CODES[1, 2:7], CODES[2] = CODES[1, 2], (10, 20, 30, 130)
WANTED = (CODES[..., :3] * 2.0 ** (CODES[..., 3:].astype(float) - 136)).astype(np.float32)


def _file(path: Path, body: bytes, size: str = "-Y 5 +X 9", form: str = "32-bit_rle_rgbe", more: str = "") -> Path:
    path.write_bytes(f"#?RADIANCE\n{more}FORMAT={form}\n\n{size}\n".encode() + body)
    return path


def _pixels(path: Path) -> np.ndarray:
    return read_image(path).pixels[0].permute(1, 2, 0).numpy()


def _old(codes: np.ndarray) -> bytes:
    """Old run lengths: repeats of a pixel as 1, 1, 1, n."""
    out = b""
    for row in codes:
        k = 0
        while k < len(row):
            same = 1
            while k + same < len(row) and (row[k + same] == row[k]).all():
                same += 1
            out += row[k].tobytes() + (bytes([1, 1, 1, same - 1]) if same > 1 else b"")
            k += same
    return out


def _new(codes: np.ndarray) -> bytes:
    out = b""
    for row in codes:
        out += bytes([2, 2, 0, len(row)])
        for channel in row.T:
            out += bytes([128 + 3, channel[0]]) if (channel[:3] == channel[0]).all() else b"\3" + channel[:3].tobytes()
            out += bytes([len(row) - 3]) + channel[3:].tobytes()
    return out


@pytest.mark.parametrize("body", [CODES.tobytes(), _old(CODES), _new(CODES)], ids=["flat", "old", "new"])
def test_flat_old_and_new_run_lengths(tmp_path, body):
    np.testing.assert_array_equal(_pixels(_file(tmp_path / "a.hdr", body)), WANTED)


def test_an_old_run_longer_than_a_byte(tmp_path):
    body = bytes([9, 8, 7, 129]) + bytes([1, 1, 1, 43]) + bytes([1, 1, 1, 1])
    pixels = _pixels(_file(tmp_path / "a.hdr", body, "-Y 1 +X 300"))
    assert pixels.shape == (1, 300, 3) and (pixels == np.array([9, 8, 7]) / 128).all()


@pytest.mark.parametrize("size, stored", [
    ("-Y 5 +X 9", CODES), ("+Y 5 +X 9", CODES[::-1]), ("-Y 5 -X 9", CODES[:, ::-1]), ("+Y 5 -X 9", CODES[::-1, ::-1]),
    ("+X 9 -Y 5", CODES.swapaxes(0, 1)), ("-X 9 +Y 5", CODES[::-1, ::-1].swapaxes(0, 1))])
def test_every_orientation(tmp_path, size, stored):
    np.testing.assert_array_equal(_pixels(_file(tmp_path / "a.hdr", stored.tobytes(), size)), WANTED)


def test_xyze_and_primaries(tmp_path):
    grey = np.full((5, 9, 4), 128, np.uint8)
    path = _file(tmp_path / "a.hdr", grey.tobytes(), form="32-bit_rle_xyze")
    np.testing.assert_allclose(_pixels(path), 0.5, atol=1e-4)  # Equal energy is white.
    assert read_image(path).info.notes == ("XYZE converted to BT.709",)
    path = _file(tmp_path / "b.hdr", CODES.tobytes(), more="PRIMARIES= .68 .32 .265 .69 .15 .06 .3127 .329\n")
    np.testing.assert_allclose(_pixels(path)[..., 0], WANTED @ [1.2249402, -0.2249404, 0], rtol=1e-3, atol=1e-4)
    usual = "PRIMARIES= 0.640 0.330 0.290 0.600 0.150 0.060 0.333 0.333\n"
    np.testing.assert_array_equal(_pixels(_file(tmp_path / "c.hdr", CODES.tobytes(), more=usual)), WANTED)
    bad = _file(tmp_path / "d.hdr", CODES.tobytes(), more="PRIMARIES=1 2 e\nEXPOSURE=2\n")
    np.testing.assert_array_equal(_pixels(bad), WANTED)
    assert len(read_image(bad).info.notes) == 2


def test_no_light_has_no_exponent(tmp_path):
    codes = CODES.copy()
    codes[..., 3] = 0
    assert not _pixels(_file(tmp_path / "a.hdr", codes.tobytes())).any()


@pytest.mark.parametrize("body", [_new(CODES)[:-1], _old(CODES)[:-4], CODES.tobytes()[:-1], b"", _new(CODES)[:5],
                                  bytes([2, 2, 0, 9]) + b"\0" * 99, bytes([1, 1, 1, 9]) + CODES.tobytes()[4:],
                                  bytes([2, 2, 0, 9, 255, 7]) + b"\x80\7" * 99,
                                  bytes([5, 5, 5, 128]) + b"\1\1\1\3" * 40])
def test_damage_is_an_error_and_ends(tmp_path, body):
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(_file(tmp_path / "a.hdr", body))


def test_the_size_is_checked_first(tmp_path):
    for size in ("-Y 12000 +X 12000", "+X 12000 +Y 12000"):
        with pytest.raises(ImageError, match="144 megapixels"):
            read_image(_file(tmp_path / "a.hdr", b"", size))
    with pytest.raises(ImageError, match="resolution line"):
        read_image(_file(tmp_path / "a.hdr", b"", "-Y 5 +Y 9"))


def test_opencv_is_not_asked(tmp_path, monkeypatch):
    """It copies the file to one of a guessable name in the folder that all users of a machine share."""
    for name in ("imdecode", "imread"):
        monkeypatch.setattr(cv2, name, lambda *a: pytest.fail("asked"))
    np.testing.assert_array_equal(_pixels(_file(tmp_path / "a.hdr", _new(CODES))), WANTED)


def test_lines_of_the_header_that_are_not_honoured(tmp_path):
    more = "COLORCORR=1 2 1\nPIXASPECT=0.5\n"
    path = _file(tmp_path / "a.hdr", CODES.tobytes(), more=more)
    np.testing.assert_array_equal(_pixels(path), WANTED)
    assert ["COLORCORR" in n or "2 times as wide as high" in n for n in read_image(path).info.notes] == [True, True]
    with pytest.raises(ImageError, match="neither 32-bit_rle_rgbe"):
        read_image(_file(tmp_path / "b.hdr", CODES.tobytes(), form="16-bit"))
