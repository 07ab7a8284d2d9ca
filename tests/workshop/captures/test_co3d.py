"""CO3D sets that we make: read back through the reader, cameras and points against what was photographed."""
from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dipir.captures import co3d as files
from dipir.captures import co3d_pixels
from dipir.captures.ground import fit_ground
from dipir.captures.sequence import frame_plate, on_ground
from dipir.errors import ConfigError
from dipir.image.files import read_envmap, read_image
from dipir.workshop.captures import co3d
from dipir.workshop.captures.co3d import Co3dSettings
from dipir.workshop.captures.posed import PosedSettings

SMALL = PosedSettings(frames=12, width=48, height=36, spp=4, depth=2)


def sky() -> torch.Tensor:
    """A bright spot at +X, 45 degrees up, over grey."""
    env = torch.full((16, 32, 3), 0.3)
    env[4, 8] = 60.0
    return env


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    from tests.support.hdr import write_hdr

    folder = tmp_path_factory.mktemp("co3d")
    write_hdr(folder / "sky.hdr", sky())
    settings = Co3dSettings(("mug",), 4, SMALL, (str(folder / "sky.hdr"),))
    return co3d.generate(folder / "set", 3, settings, workers=2)


def test_what_is_written_is_read(root):
    assert files.categories(root) == ["mug"]
    category = files.read_category(root, "mug")
    assert len(category.frames) == 4
    sizes = set()
    for k, name in enumerate(category.frames):
        truth = json.loads((root / "truth" / "mug" / f"{name}.json").read_text())
        sequence = files.read_sequence(category, name)
        assert len(sequence.frames) == 11, "the frame without a camera is left out"
        assert [f.mask is None for f in sequence.frames] == [f.number % 7 == 0 for f in sequence.frames]
        assert any("from depth maps" in note for note in sequence.notes) == (truth["points"] is None)
        world = truth["similarity"]
        scale, rotation, shift = world["scale"], np.array(world["rotation"]), np.array(world["shift"])
        frame = sequence.frames[2]
        plate, camera = frame_plate(frame)
        sizes.add(plate.size)
        depth = co3d_pixels.read_depth(frame)
        assert depth.shape == (camera.height, camera.width) and 0.02 < (depth == 0).mean() < 0.9
        rays = camera.directions() / (camera.directions() @ camera.to_world[:3, 2])[..., None]
        seen = (camera.position + rays * depth[..., None])[depth > 0]
        ours = (seen - shift) @ rotation / scale
        assert ours[:, 1].min() > -0.01 and (np.abs(ours[:, 1]) < 0.005).mean() > 0.3, k
        points = (sequence.points - shift) @ rotation / scale
        assert 0.7 < (np.abs(points[:, 1]) < 0.5).mean() and (np.abs(points[:, 1]) < 0.03).mean() > 0.4
        light = read_envmap((root / "truth" / "mug" / f"{name}.json").with_suffix(".exr"))
        assert light.shape == (16, 32, 3) and float(light.max() / light.median()) == pytest.approx(200, rel=0.02)
    assert sizes == {(48, 36), (36, 48)}


def test_both_formats_of_intrinsics_and_unknown_keys_are_there(root):
    import gzip

    records = json.loads(gzip.decompress((root / "mug" / "frame_annotations.jgz").read_bytes()))
    formats = {r["viewpoint"].get("intrinsics_format") for r in records if r["viewpoint"]}
    assert formats == {"ndc_isotropic", None} and all("our_own_key" in r for r in records)
    assert sum(r["viewpoint"] is None for r in records) == 4 and sum(r["mask"] is None for r in records) == 4
    assert len({r["depth"]["scale_adjustment"] for r in records}) == 4


def test_set_lists_and_batches(root):
    assert files.subsets(root, "mug") == sorted(co3d.SUBSETS)
    train = files.read_set_lists(root, "mug", "fewview_train")
    assert len({s for s, _, _ in train["train"]}) == 3 and len(train["val"]) == len(train["test"]) == 6
    (first, *_) = json.loads((root / "mug" / "eval_batches" / "eval_batches_fewview_dev.json").read_text())
    assert len(first) == 4 and first[0][1] == 5 and all(s == first[0][0] for s, _, _ in first)
    for rows in train.values():
        assert all((root / image).is_file() for _, _, image in rows)


def test_the_ground_is_found(root):
    category = files.read_category(root, "mug")
    for name in category.frames:
        truth = json.loads((root / "truth" / "mug" / f"{name}.json").read_text())
        sequence = files.read_sequence(category, name)
        ground = fit_ground(sequence.points, np.stack([f.camera.to_world for f in sequence.frames]))
        up = np.array(truth["similarity"]["rotation"])[:, 1]
        assert np.degrees(np.arccos(np.clip(ground.normal @ up, -1, 1))) < 2 and ground.confidence > 0.3
        placed = on_ground(sequence, ground)
        assert np.median(placed.centres[:, 1]) == pytest.approx(1)


def test_masks_are_about_right_and_leak(root):
    category = files.read_category(root, "mug")
    frame = files.read_sequence(category, next(iter(category.frames))).frames[0]
    mask = co3d_pixels.read_mask(frame.mask)
    assert 0.02 < mask.mean() < 0.5 and ((mask > 0.05) & (mask < 0.95)).any()
    assert read_image(frame.image).pixels.shape[-2:] == mask.shape


def test_a_set_is_made_once_and_not_mixed(root):
    settings = Co3dSettings(("mug",), 4, SMALL, (str(root.parent / "sky.hdr"),))
    before = {p: p.stat().st_mtime_ns for p in (root / "truth").rglob("*.json")}
    co3d.generate(root, 3, settings)
    assert before == {p: p.stat().st_mtime_ns for p in (root / "truth").rglob("*.json")}
    with pytest.raises(ConfigError, match="another set"):
        co3d.generate(root, 4, settings)


@pytest.mark.parametrize("settings", [{"categories": ("mgu",)}, {"categories": ()}, {"sequences": 0}])
def test_bad_settings(settings):
    with pytest.raises(ConfigError):
        Co3dSettings(**settings)
