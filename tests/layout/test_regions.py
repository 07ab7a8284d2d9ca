"""Boxes, masks and layout files: what they cover, and every way in which they can be wrong."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dipir.errors import ConfigError, ImageError, SceneError
from dipir.layout import regions
from dipir.layout.regions import Region, parse_box, parse_mask

BOX = (0.1, 0.5, 0.4, 0.9)


# ------------------------------------------------------------------------------------------------------------ geometry
def test_a_box_covers_the_pixels_whose_centre_is_in_it():
    mask = regions.box_mask((0.25, 0.0, 0.5, 0.75), 4, 8)
    assert mask.shape == (1, 1, 4, 8) and mask[0, 0].nonzero().tolist() == [[y, x] for y in range(3) for x in (2, 3)]
    assert bool(regions.box_mask((0, 0, 1, 1), 5, 3).all())


def test_boxes_side_by_side_neither_overlap_nor_leave_a_gap():
    for size in (7, 8, 64):
        left, right = (regions.box_mask(box, size, size) for box in ((0, 0, 0.5, 1), (0.5, 0, 1, 1)))
        assert torch.equal(left + right, torch.ones(1, 1, size, size))


def test_a_mask_is_reduced_by_half_coverage_and_keeps_its_place():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:4, 4:7] = 1
    assert regions.reduce_mask(mask, 4, 4)[0, 0].nonzero().tolist() == [[1, 2], [1, 3]]
    assert torch.equal(regions.reduce_mask(mask, 8, 8), mask)
    assert Region("x", mask=mask).bounds() == (0.5, 0.25, 0.875, 0.5) and Region("x", BOX).bounds() == BOX


def test_words_and_file_names():
    assert Region("A red  cube", BOX).words == "red  cube" and Region("An orange mug.", BOX).slug == "orange_mug"
    assert Region("theatre", BOX).words == "theatre" and Region("数", BOX).slug == "region"


# ---------------------------------------------------------------------------------------------------------------- typed
def test_typed_boxes():
    got = parse_box("a red cube: 0.1,0.5,0.4,0.9")
    assert got.caption == "a red cube" and got.box == BOX
    assert parse_box("ratio 1:2 poster:0, 0,1,1").caption == "ratio 1:2 poster"


@pytest.mark.parametrize("text, error", [
    ("a cube: -0.1,0.5,0.4,0.9", "outside of the picture"), ("a cube: 0.1,0.5,0.4,1.2", "outside of the picture"),
    ("a cube: 0,0,64,64", "divide them by"), ("a cube: nan,0,1,1", "outside of the picture"),
    ("a cube: 0.4,0.5,0.4,0.9", "is empty"), ("a cube: 0.6,0.5,0.4,0.9", "is empty"), (": 0,0,1,1", "no caption"),
    ("a cube: 0,0,1", "four numbers"), ("a cube", "four numbers"), ("a cube: here", "four numbers"),
    ("0.1,0.5,0.4,0.9", "a colon")])
def test_boxes_that_are_none(text, error):
    with pytest.raises(SceneError, match=error):
        parse_box(text)


@pytest.fixture
def folder(tmp_path):
    """dog.png 32 x 16 with a white rectangle, black.png, text.png."""
    pixels = np.zeros((16, 32), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "black.png")
    pixels[4:12, 8:24] = 255
    Image.fromarray(pixels).save(tmp_path / "dog.png")
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def test_typed_masks(folder):
    got = parse_mask(f"a dog: {folder / 'dog.png'}")
    assert got.caption == "a dog" and got.mask.shape == (1, 1, 16, 32) and got.bounds() == (0.25, 0.25, 0.75, 0.75)


@pytest.mark.parametrize("text, kind, error", [
    ("a dog: {}/none.png", ImageError, "does not exist"), ("a dog: {}/text.png", ImageError, "does not hold"),
    ("a dog: {}/black.png", SceneError, "black everywhere"), ("a dog", SceneError, "a colon"),
    (": {}/dog.png", SceneError, "no caption")])
def test_masks_that_are_none(folder, text, kind, error):
    with pytest.raises(kind, match=error):
        parse_mask(text.format(folder))


def test_regions_need_one_place_and_a_known_colour():
    with pytest.raises(SceneError, match="a box or a mask"):
        Region("a cube")
    with pytest.raises(SceneError, match="a box or a mask"):
        Region("a cube", BOX, torch.ones(1, 1, 4, 4))
    with pytest.raises(ConfigError, match="mauve"):
        Region("a cube", BOX, colour="mauve")
    with pytest.raises(ConfigError, match="accepted is one"):
        Region("a cube", BOX, colour="red and blue")


# ---------------------------------------------------------------------------------------------------------------- files
def test_layout_files(folder):
    (folder / "two.yaml").write_text(
        "caption: a dog and a cat\nbackground: a lawn\nedit: dog.png\nsource: a lawn\nregions:\n"
        "  - {caption: a dog, mask: dog.png, negative: a wolf, colour: brown}\n"
        "  - {caption: a cat, box: [0.1, 0.5, 0.4, 0.9]}\n")
    got = regions.load_layout(folder / "two.yaml")
    assert (got.name, got.caption, got.background, got.source) == ("two", "a dog and a cat", "a lawn", "a lawn")
    assert got.edit == folder / "dog.png"
    dog, cat = (spec.region() for spec in got.regions)
    assert (dog.negative, dog.colour, cat.box) == ("a wolf", "brown", BOX) and dog.mask.shape == (1, 1, 16, 32)


@pytest.mark.parametrize("text, kind, error", [
    ("captoin: a dog", SceneError, "caption"), ("regions: [{caption: a cube}]", SceneError, "a box or a mask"),
    ("regions: [{caption: a cube, box: [0, 0, 2, 1]}]", SceneError, "outside of the picture"),
    ("regions: [{caption: a cube, box: [0, 0, 1]}]", SceneError, "box"),
    ("regions: [{caption: a cube, mask: none.png}]", ImageError, "no such file"),
    ("edit: none.png", ImageError, "no such file"), ("- a", ConfigError, "mapping"), ("a: [", ConfigError, "YAML")])
def test_layout_files_that_are_wrong(tmp_path, text, kind, error):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(kind, match=error):
        regions.load_layout(tmp_path / "wrong.yaml")


def test_the_example_that_ships():
    from pathlib import Path

    got = regions.load_layout(Path(__file__).resolve().parents[2] / "scenes" / "layout.yaml")
    assert len(got.regions) >= 2 and all(spec.region().box for spec in got.regions)
