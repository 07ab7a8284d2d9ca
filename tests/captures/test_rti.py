"""RTI captures: what is read, what is refused, and before what."""
from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.captures import rti
from dipir.captures.rti import Capture, read_capture, write_lp
from dipir.errors import ConfigError, ImageError

UNIT = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.8), (0.0, -0.6, 0.8), (0.0, 0.0, 1.0)]


def photo(path, value: int, size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), value, np.uint8)
    pixels[0, 0] = (255, 0, 10)
    Pillow.fromarray(pixels).save(path)


def folder(tmp_path, names=None, vectors=UNIT, count=None, ending="\n"):
    """An .lp file with its images; returns its path."""
    names = names or [f"a_{i}.png" for i in range(len(vectors))]
    for i, name in enumerate(names):
        photo(tmp_path / name.replace("\\", "/").strip('"'), 40 * i)
    lines = [str(len(names) if count is None else count)]
    lines += [f"{name} {' '.join(map(repr, v))}" for name, v in zip(names, vectors, strict=True)]
    (tmp_path / "dome.lp").write_text(ending.join(lines) + ending)
    return tmp_path / "dome.lp"


def test_an_lp_file_by_hand(tmp_path):
    capture = read_capture(folder(tmp_path))
    assert capture.images.shape == (5, 3, 20, 24) and capture.images.dtype == torch.float32
    assert capture.images[2, 1, 5, 5] == pytest.approx(80 / 255) and capture.images[2, 0, 0, 0] == 1
    torch.testing.assert_close(capture.directions, torch.tensor(UNIT))
    assert capture.names == tuple(f"a_{i}.png" for i in range(5)) and capture.notes == ()


def test_spaces_backslashes_quotes_and_blank_lines(tmp_path):
    names = ["my coin 1.png", "sub\\b.png", "sub\\deep er\\c.png", '"d e.png"', "e.jpg"]
    path = folder(tmp_path, names, ending="\r\n\r\n")
    capture = read_capture(path)
    assert capture.names == ("my coin 1.png", "sub/b.png", "sub/deep er/c.png", "d e.png", "e.jpg")


def test_a_byte_order_mark_and_old_encodings(tmp_path):
    path = folder(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_capture(path).images) == 5
    photo(tmp_path / "M\u00fcnze.png", 9)
    path.write_bytes(path.read_bytes()[3:].replace(b"a_0.png", "M\u00fcnze.png".encode("latin-1")))
    assert read_capture(path).names[0] == "M\u00fcnze.png"


def test_long_directions_are_normalised_with_a_note(tmp_path):
    vectors = [tuple(3 * v for v in UNIT[0]), *UNIT[1:4], (0.0, 0.0, -1.0)]
    capture = read_capture(folder(tmp_path, vectors=vectors))
    torch.testing.assert_close(capture.directions.norm(dim=1), torch.ones(5))
    assert any("1 of 5" in note for note in capture.notes) and any("behind" in note for note in capture.notes)


def test_shrinking_keeps_the_mean_light(tmp_path):
    path = folder(tmp_path)
    for i in range(5):
        pixels = np.zeros((40, 64, 3), np.uint8)
        pixels[::2] = 255
        Pillow.fromarray(pixels).save(tmp_path / f"a_{i}.png")
    capture = read_capture(path, longest=32)
    assert capture.images.shape == (5, 3, 20, 32)
    # Half of the light is 0.735 on the display.
    assert float(capture.images[0].mean()) == pytest.approx(0.7354, abs=1e-3)
    assert read_capture(path, longest=500).images.shape == (5, 3, 40, 64)


def test_what_is_written_is_read_back(tmp_path):
    torch.manual_seed(0)
    images = (torch.rand(6, 3, 16, 18) * 255).round() / 255
    d = torch.nn.functional.normalize(torch.randn(6, 3), dim=1)
    write_lp(tmp_path / "dome.lp", Capture(d, images, tuple("abcdef")))
    capture = read_capture(tmp_path / "dome.lp")
    assert torch.equal(capture.images, images)
    torch.testing.assert_close(capture.directions, d, atol=1e-6, rtol=0)
    with pytest.raises(ConfigError, match="accepted is .lp"):
        write_lp(tmp_path / "dome.txt", capture)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_npz(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3)).astype(np.uint8)
    stored = pixels if kind is np.uint8 else (pixels / 255).astype(kind)
    np.savez_compressed(tmp_path / "arrays.npz", light_directions=np.array(UNIT), target_images=stored)
    capture = read_capture(tmp_path / "arrays.npz")
    np.testing.assert_allclose(capture.images.permute(0, 2, 3, 1).numpy(), pixels / 255, atol=1e-6)
    assert capture.images.dtype == torch.float32 and len(capture.names) == 5


# ---------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("text, problem", [
    ("", "first line is nothing"),
    ("five\n", "first line is 'five'"),
    ("3\na.png 0 0 1\n", "says 3 images, 1 lines follow"),
    ("4\na.png 0 0 1\nb.png 0 1\nc.png 0 0 1\nd.png 0 0 1\n", "line 3 is 'b.png 0 1'"),
    ("4\na.png 0 0 1\nb.png 0,5 1 1\nc.png 0 0 1\nd.png 0 0 1\n", "decimal point"),
    ("4\na.png 0 0 1\na.png 0 1 0\nc.png 0 0 1\nd.png 0 0 1\n", "listed twice"),
    ("3\na.png 0 0 1\nb.png 0 1 0\nc.png 0 0 1\n", "at least 4"),
    ("4\na.png 0 0 1\nb.png 0 0 0\nc.png 0 0 1\nd.png 0 0 1\n", "light 2 has the direction"),
    ("4\na.png 0 0 1\nb.png nan 0 1\nc.png 0 0 1\nd.png 0 0 1\n", "light 2 has the direction"),
    ("4\na.png 0 0 1\nb.png 0 inf 1\nc.png 0 0 1\nd.png 0 0 1\n", "light 2 has the direction"),
])
def test_bad_lists(tmp_path, text, problem):
    (tmp_path / "dome.lp").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read_capture(tmp_path / "dome.lp")


@pytest.mark.parametrize("name", ["../out.png", "sub/../../out.png", "/etc/passwd", "C:\\photos\\a.png",
                                  "https://example.org/a.png", "..\\out.png"])
def test_paths_that_lead_away_are_refused(tmp_path, name):
    inner = tmp_path / "inner"
    inner.mkdir()
    photo(tmp_path / "out.png", 3)
    path = folder(inner)
    path.write_text(path.read_text().replace("a_2.png", name))
    with pytest.raises(ConfigError, match="not read"):
        read_capture(path)


def test_a_link_that_leads_away_is_refused(tmp_path):
    photo(tmp_path / "out.png", 3)
    (tmp_path / "inner").mkdir()
    path = folder(tmp_path / "inner")
    (tmp_path / "inner" / "a_1.png").unlink()
    (tmp_path / "inner" / "a_1.png").symlink_to(tmp_path / "out.png")
    with pytest.raises(ConfigError, match="leads outside"):
        read_capture(path)


def test_bad_images(tmp_path):
    path = folder(tmp_path)
    (tmp_path / "a_3.png").unlink()
    with pytest.raises(ImageError, match="'a_3.png' is missing"):
        read_capture(path)
    photo(tmp_path / "a_3.png", 3, (24, 21))
    with pytest.raises(ImageError, match="'a_3.png' has 24x21 pixels and 'a_0.png' 24x20"):
        read_capture(path)
    (tmp_path / "a_3.png").write_bytes(b"")
    with pytest.raises(ImageError, match="a_3.png is empty"):
        read_capture(path)
    photo(tmp_path / "a_3.png", 3)
    whole = (tmp_path / "a_3.png").read_bytes()
    (tmp_path / "a_3.png").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ImageError, match="a_3.png is damaged"):
        read_capture(path)


def test_linear_images_are_refused(tmp_path):
    from tests.support.hdr import write_hdr

    path = folder(tmp_path)
    write_hdr(tmp_path / "b.hdr", torch.rand(1, 3, 20, 24))
    path.write_text(path.read_text().replace("a_2.png", "b.hdr"))
    with pytest.raises(ImageError, match="PNG and JPEG"):
        read_capture(path)


def test_too_much_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = folder(tmp_path)
    monkeypatch.setattr(rti, "MAX_ALL_PIXELS", 5 * 24 * 20 - 1)
    monkeypatch.setattr(rti, "read_image", lambda *a: pytest.fail("decoded"))
    with pytest.raises(ConfigError, match="--longest 23"):
        read_capture(path)
    monkeypatch.undo()
    monkeypatch.setattr(rti, "MAX_ALL_PIXELS", 5 * 24 * 20 - 1)
    assert read_capture(path, longest=23).images.shape == (5, 3, 19, 23)


def test_files_that_are_no_capture(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_capture(tmp_path / "none.lp")
    with pytest.raises(ConfigError, match="is a folder"):
        (tmp_path / "x.lp").mkdir()
        read_capture(tmp_path / "x.lp")
    with pytest.raises(ConfigError, match="extension '.txt'"):
        read_capture(tmp_path / "dome.txt")
    with pytest.raises(ConfigError, match="longest side 4"):
        read_capture(tmp_path / "dome.lp", longest=4)


def test_bad_npz(tmp_path):
    path, good = tmp_path / "arrays.npz", np.zeros((5, 20, 24, 3), np.uint8)

    def refused(problem, kind=ConfigError, **arrays):
        np.savez(path, **arrays)
        with pytest.raises(kind, match=problem):
            read_capture(path)
    refused("lacks light_directions", target_images=good)
    refused(r"expected \(5, 3\)", light_directions=np.array(UNIT)[:4], target_images=good)
    refused("accepted is \\(n, 3\\)", light_directions=np.array(UNIT)[:, :2], target_images=good)
    refused("int64", light_directions=np.array(UNIT), target_images=good.astype(np.int64))
    refused(r"\(n, h, w, 3\)", light_directions=np.array(UNIT), target_images=good[..., :1])
    refused("in \\[0, 1\\]", ImageError, light_directions=np.array(UNIT), target_images=good + 1.5)
    refused("in \\[0, 1\\]", ImageError, light_directions=np.array(UNIT), target_images=good + np.nan)
    refused("not a readable .npz", light_directions=np.full((5, 3), None), target_images=good)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ConfigError, match="not a readable .npz"):
        read_capture(path)


def test_a_huge_npz_is_refused_by_its_header(tmp_path):
    """80 million pixels are claimed; hardly anything is there."""
    import io
    import zipfile

    with zipfile.ZipFile(tmp_path / "arrays.npz", "w") as archive:
        for name, shape, kind in (("light_directions", (5, 3), "<f8"), ("target_images", (5, 9000, 9000, 3), "|u1")):
            file = io.BytesIO()
            np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", file.getvalue())
    with pytest.raises(ConfigError, match="405 megapixels"):
        read_capture(tmp_path / "arrays.npz")


def _npz(path, member=None, **change) -> None:
    """A good capture with one thing of the archive changed: ``member`` = bytes of target_images.npy, ``change`` =
    fields of its entry in the directory."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros((5, 20, 24, 3), np.uint8))
    lights = io.BytesIO()
    np.lib.format.write_array(lights, np.array(UNIT))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("light_directions.npy", lights.getvalue())
        archive.writestr("target_images.npy", buffer.getvalue() if member is None else member(buffer.getvalue()))
        for name, value in change.items():
            setattr(archive.infolist()[1], name, value)


@pytest.mark.parametrize("change", [
    {"flag_bits": 1}, {"compress_type": 99}, {"compress_type": 8}, {"compress_type": 12}, {"compress_type": 14},
    {"file_size": 10}, {"CRC": 1}, {"header_offset": 10**9},
    {"member": lambda d: d.replace(b"(5, 20, 24, 3)", b"(5, 20, 24, 9)")},
    {"member": lambda d: d.replace(b"(5, 20, 24, 3)", b"(-5,-20, 24,3)")},
    {"member": lambda d: d.replace(b"|u1", b"|O1")}, {"member": lambda d: d.replace(b"{", b"(")},
    {"member": lambda d: d[:6] + b"\2\0" + b"\xff" * 4 + d[12:]},
    {"member": lambda d: d[:6] + b"\1\0" + b"\xff" * 2 + d[10:]},
    {"member": lambda d: d[:50]}, {"member": lambda d: b""}, {"member": lambda d: d[:6] + b"\x09\0" + d[8:]}])
def test_archives_that_lie(tmp_path, change):
    _npz(tmp_path / "good.npz")
    assert len(read_capture(tmp_path / "good.npz").images) == 5
    _npz(tmp_path / "a.npz", **change)
    with pytest.raises(ConfigError) as error:
        read_capture(tmp_path / "a.npz")
    assert len(str(error.value)) < 700
