"""Pictures with alpha, and masks: kinds of file, turning, round trip, what is refused."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.image.cutout import carried_out, read_alpha, read_mask, solid, spread, unpremultiplied, write_cutout
from dipir.image.files import read_image, write_exr, write_png

ALPHA = np.array([[0, 64, 255], [128, 255, 32]], np.uint8)


def _rgba(alpha=ALPHA, top=255, kind=np.uint8):
    colour = np.random.default_rng(0).integers(0, top, (*alpha.shape, 3))
    return np.concatenate([colour, alpha[..., None].astype(np.int64) * top // 255], -1).astype(kind)


# ---- alpha -----------------------------------------------------------------------------------------------------------

def test_eight_bits(tmp_path):
    Pillow.fromarray(_rgba()).save(tmp_path / "a.png")
    alpha = read_alpha(tmp_path / "a.png")
    assert alpha.shape == (1, 1, 2, 3) and alpha.dtype == torch.float32
    assert np.array_equal(alpha[0, 0].numpy(), ALPHA.astype(np.float32) / 255)


def test_sixteen_bits(tmp_path):
    pixels = _rgba(top=65535, kind=np.uint16)
    pixels[0, 0, 3] = 1  # Eight bits could not hold it.
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert np.array_equal(read_alpha(tmp_path / "a.png")[0, 0].numpy(), pixels[..., 3].astype(np.float32) / 65535)


def test_grey_with_alpha(tmp_path):
    Pillow.merge("LA", [Pillow.fromarray(ALPHA // 2), Pillow.fromarray(ALPHA)]).save(tmp_path / "a.png")
    assert np.array_equal(read_alpha(tmp_path / "a.png")[0, 0].numpy(), ALPHA.astype(np.float32) / 255)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 100])])
def test_palette_with_transparency(tmp_path, transparency):
    picture = Pillow.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png", transparency=transparency)
    of_index = [255, 0, 100 if isinstance(transparency, bytes) else 255]
    expected = np.array([[of_index[k] for k in row] for row in ((0, 1, 2), (2, 1, 0))]) / 255
    assert read_alpha(tmp_path / "a.png")[0, 0].numpy() == pytest.approx(expected)


def test_a_transparent_colour(tmp_path):
    pixels = np.full((2, 3, 3), 200, np.uint8)
    pixels[1, 2] = (1, 2, 3)
    Pillow.fromarray(pixels).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert read_alpha(tmp_path / "a.png")[0, 0].tolist() == [[1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P", "I;16", "1"])
def test_opaque_pictures_have_none(tmp_path, mode):
    picture = (Pillow.fromarray(np.full((2, 3), 9, np.uint16)) if mode == "I;16"
               else Pillow.fromarray(_rgba(np.full_like(ALPHA, 255))).convert(mode))
    picture.save(tmp_path / "a.png")
    assert read_alpha(tmp_path / "a.png") is None


def test_other_files_have_none(tmp_path):
    Pillow.fromarray(_rgba()[..., :3]).save(tmp_path / "a.jpg")
    assert read_alpha(tmp_path / "a.jpg") is None


def test_the_content_counts_not_the_name(tmp_path):
    Pillow.fromarray(_rgba()).save(tmp_path / "upload", "PNG")
    assert read_image(tmp_path / "upload").info.width == 3 and read_alpha(tmp_path / "upload") is not None


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_alpha_is_turned_as_the_picture_is(tmp_path, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    pixels = _rgba()
    pixels[..., 0] = pixels[..., 3]  # Red shows where alpha belongs.
    Pillow.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_alpha(tmp_path / "a.png")[:, 0], read_image(tmp_path / "a.png").pixels[:, 0])


# ---- cut-outs --------------------------------------------------------------------------------------------------------

def test_round_trip(tmp_path):
    torch.manual_seed(0)
    disp, alpha = (torch.rand(1, c, 5, 4).mul(255).round() / 255 for c in (3, 1))
    write_cutout(tmp_path / "a.png", disp, alpha)
    assert torch.allclose(read_alpha(tmp_path / "a.png"), alpha) and Pillow.open(tmp_path / "a.png").mode == "RGBA"
    assert torch.allclose(read_image(tmp_path / "a.png").pixels, disp)


def test_values_are_clipped_and_rounded(tmp_path):
    write_cutout(tmp_path / "a.png", torch.tensor([-1.0, 0.501, 3.0]).reshape(1, 3, 1, 1), torch.ones(1, 1, 1, 1))
    assert np.asarray(Pillow.open(tmp_path / "a.png")).tolist() == [[[0, 128, 255, 255]]]


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent" / "a.png", tmp_path / "file" / "a.png", tmp_path):
        with pytest.raises(ImageError, match="cannot write"):
            write_cutout(path, torch.zeros(1, 3, 2, 2), torch.ones(1, 1, 2, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# ---- masks -----------------------------------------------------------------------------------------------------------

def test_mask_is_the_mean_of_the_channels(tmp_path):
    write_png(tmp_path / "m.png", torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[0.6, 1.0]]])[None])
    assert read_mask(tmp_path / "m.png", (2, 1)).flatten().tolist() == pytest.approx([0.2, 1.0])
    write_png(tmp_path / "grey.png", torch.tensor([0.4, 1.0]).reshape(1, 1, 2, 1))
    assert read_mask(tmp_path / "grey.png", (1, 2)).flatten().tolist() == pytest.approx([0.4, 1.0])


def test_masks_that_cannot_be_used(tmp_path):
    path = tmp_path / "m.png"
    with pytest.raises(ImageError, match="does not exist"):
        read_mask(path, (3, 2))
    write_png(path, torch.ones(1, 1, 2, 3))
    with pytest.raises(ImageError, match="3x2 pixels, the plate 2x3"):
        read_mask(path, (2, 3), "the plate")
    write_png(path, torch.zeros(1, 1, 2, 3))
    with pytest.raises(ImageError, match="black everywhere"):
        read_mask(path, (3, 2))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_mask(path, (3, 2))


# ---- premultiplied colours, and what lies next to an edge ------------------------------------------------------------

def test_alpha_of_an_exr(tmp_path):
    full = {c: np.full((2, 3), 0.25, np.float32) for c in "RGB"}
    coverage = np.array([[0, 0.5, 1.2], [-0.1, 1, 0.25]], np.float32)
    write_exr(tmp_path / "a.exr", {**full, "A": coverage})
    assert np.array_equal(read_alpha(tmp_path / "a.exr")[0, 0].numpy(), coverage.clip(0, 1))
    write_exr(tmp_path / "a.exr", full)
    assert read_alpha(tmp_path / "a.exr") is None
    write_exr(tmp_path / "a.exr", {**full, "A": np.ones((2, 3), np.float32)})
    assert read_alpha(tmp_path / "a.exr") is None
    # That of the layer that is read, which lies within a larger display window.
    names = {**{f"fg.{c}": full[c] for c in "RGB"}, "fg.A": coverage, "other.A": np.ones((2, 3), np.float32)}
    window = (np.array([-1, -1], np.int32), np.array([2, 1], np.int32))
    write_exr(tmp_path / "a.exr", names, {"displayWindow": window})
    alpha = read_alpha(tmp_path / "a.exr")[0, 0].numpy()
    assert alpha.shape == (3, 4) == tuple(read_image(tmp_path / "a.exr").pixels.shape[2:])
    assert np.array_equal(alpha[1:, 1:], coverage.clip(0, 1)) and not alpha[0].any() and not alpha[:, 0].any()


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (33, 20)])
def test_spread(size):
    torch.manual_seed(0)
    x, weight = torch.rand(1, 3, *size), torch.zeros(1, 1, *size)
    assert float(spread(x, weight).abs().max()) == 0
    assert torch.equal(spread(x, torch.ones_like(weight)), x)
    weight[..., :1, :1] = 1
    torch.testing.assert_close(spread(x, weight), x[..., :1, :1].expand_as(x))
    # Two halves: each side goes on, and what has no weight counts nowhere.
    if size[1] > 4:
        halves = torch.where(torch.arange(size[1]) < size[1] // 2, 0.2, 0.8).expand(1, 1, *size)
        kept = torch.zeros(1, 1, *size)
        kept[..., 0], kept[..., -1] = 1, 1
        made = spread(torch.where(kept > 0, halves, 9.0), kept)
        assert 0.2 - 1e-5 <= float(made.min()) and float(made.max()) <= 0.8 + 1e-5
        assert float(made[..., 1].max()) < 0.5 < float(made[..., -2].min())


def test_unpremultiplied():
    colour = torch.tensor([0.8, 0.4, 0.2])[:, None, None].expand(1, 3, 4, 6)
    alpha = torch.linspace(0, 1, 6).expand(1, 1, 4, 6)
    torch.testing.assert_close(unpremultiplied(colour * alpha, alpha), colour)
    under = torch.where(alpha > 0, colour, float("nan"))
    torch.testing.assert_close(carried_out(under, alpha), colour)
    assert solid(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 1e-3 / 256, 1])
