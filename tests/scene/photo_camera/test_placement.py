"""dipir.scene.photo_camera.placement: real sizes are kept, others are guessed and said, and options win."""
from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from dipir.errors import SceneError
from dipir.scene.assets.asset import Asset, Part
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.placement import Placement, PlacementOptions, suggest_placement
from dipir.scene.proxy import place

CAMERA = Camera.looking(320, 240, 55, 1.6, 14)


def box(width: float, height: float, depth: float, name: str = "box.glb") -> Asset:
    """A box of metres that stands on the ground."""
    ends = np.array([[-width / 2, 0, -depth / 2], [width / 2, height, depth / 2]])
    vertices = np.array([[ends[k >> a & 1, a] for a in range(3)] for k in range(8)], np.float32)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
                      [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.uint32)
    return Asset((Part("box", vertices, faces),), Path(name))


def size_of(asset: Asset, found: Placement, camera: Camera = CAMERA) -> float:
    """Height in metres of the object as it is placed."""
    placed = place(asset, camera, found.at, height_m=found.height_m, scale=found.scale)
    return float(np.ptp(placed.parts[0].vertices[:, 1]))


@pytest.mark.parametrize("height", [0.05, 0.3, 0.9, 1.9, 6.0])
def test_gltf_keeps_its_size_where_it_can_be_seen(height):
    asset = box(0.5 * height, height, 0.5 * height)
    found = suggest_placement(asset, CAMERA)
    assert size_of(asset, found) == pytest.approx(height, rel=1e-3)
    assert "keeps the height of its file" in found.note and "glTF is in metres" in found.note


@pytest.mark.parametrize("height, now, unit", [(80.0, 0.8, "centimetres"), (180.0, 1.8, "centimetres"),
                                               (1200.0, 1.2, "millimetres")])
def test_gltf_in_other_units_is_said_and_guessed(height, now, unit):
    asset = box(0.5 * height, height, 0.5 * height)
    found = suggest_placement(asset, CAMERA)
    assert size_of(asset, found) == pytest.approx(now, rel=1e-3)
    assert "is a guess" in found.note and "not plausible" in found.note and unit in found.note
    assert "--scale 1" in found.note and "--height" in found.note


def test_gltf_too_small_to_see_is_guessed():
    """1.2 cm seen from 60 m is under a pixel; 1 mm is not plausible at all."""
    far = Camera.looking(320, 240, 55, 60.0, 60)
    asset = box(0.012, 0.012, 0.012)
    found = suggest_placement(asset, far)
    assert size_of(asset, found, far) == pytest.approx(1.0) and "cannot be seen here" in found.note
    assert "not plausible" in suggest_placement(box(0.001, 0.001, 0.001), CAMERA).note


@pytest.mark.parametrize("name", ["box.obj", "box.stl", "box.ply"])
def test_formats_without_unit_say_so(name):
    found = suggest_placement(box(0.5, 0.9, 0.5, name), CAMERA)
    assert found.height_m == pytest.approx(0.9, rel=1e-3)
    assert f"{name[-3:].upper()} states no unit" in found.note and "glTF" not in found.note
    # Six metres is believed of glTF alone.
    guess = suggest_placement(box(3.0, 6.0, 3.0, name), CAMERA)
    assert guess.height_m < 2.5 and "is a guess" in guess.note and "--scale 1" in guess.note


@pytest.mark.parametrize("height", [0.0, 0.01])
def test_a_rug_keeps_its_width(height):
    """A flat thing has no height to be sized by."""
    rug = box(2.0, height, 1.4)
    found = suggest_placement(rug, CAMERA)
    assert (found.height_m, found.scale) == (None, 1.0) and "width of its file, 2 m" in found.note
    giant = suggest_placement(box(200.0, height, 140.0), CAMERA)
    assert giant.height_m is None and giant.scale == pytest.approx(0.01) and "is a guess" in giant.note
    with pytest.raises(SceneError, match="--scale"):
        suggest_placement(box(2.0, 0.0, 1.4), CAMERA, PlacementOptions(height_m=0.5))


def test_what_is_given_is_kept():
    asset = box(0.5, 0.9, 0.5)
    given = suggest_placement(asset, CAMERA, PlacementOptions((100.0, 200.0), height_m=0.4, yaw_deg=-30.0))
    assert dataclasses.astuple(given)[:4] == ((100.0, 200.0), 0.4, None, -30.0) and "as given" in given.note
    scaled = suggest_placement(asset, CAMERA, PlacementOptions(scale=0.5))
    assert (scaled.height_m, scaled.scale) == (None, 0.5) and "0.45 m, as given" in scaled.note
    at = suggest_placement(asset, CAMERA, PlacementOptions((100.0, 200.0)))
    assert at.at == (100.0, 200.0) and at.height_m == pytest.approx(0.9, rel=1e-3)


@pytest.mark.parametrize("options, text", [
    (PlacementOptions((100.0, 5.0)), "above the horizon"), (PlacementOptions((500.0, 5.0)), "outside the plate"),
    (PlacementOptions((160.0, 200.0), height_m=0.001), "pixels large"),
    (PlacementOptions(height_m=0.001), "of that size"), (PlacementOptions(height_m=900.0), "of that size")])
def test_what_cannot_be_says_why(options, text):
    with pytest.raises(SceneError, match=text):
        suggest_placement(box(0.5, 0.9, 0.5), CAMERA, options)


def test_no_ground_is_an_error():
    with pytest.raises(SceneError, match="shows no ground"):
        suggest_placement(box(0.5, 0.9, 0.5), Camera.looking(320, 240, 50, 1.6, -60))


def test_every_option_that_is_named_is_one_of_init():
    """Whatever an error or a remark of these modules tells to give must be accepted by the command."""
    from dipir.cli.main import build_parser
    from dipir.scene import proxy
    from dipir.scene.photo_camera import estimate, files, placement, starter

    parser = build_parser()
    known = parser._subparsers._group_actions[0].choices["init"]._option_string_actions
    named = {}
    for module in (proxy, estimate, files, placement, starter):
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", Path(module.__file__).read_text()):
            named.setdefault(option, module.__name__)
    assert {"--at", "--pitch", "--fov", "--roll", "--camera-height", "--height", "--scale"} <= set(named)
    assert {option: where for option, where in named.items() if option not in known} == {}
