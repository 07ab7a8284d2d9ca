"""Cases of the insertion benchmark: files and names, exposure and truth, placement of odd meshes, the single light."""
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from benchmarks.insert import cases
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.scene.assets.asset import Asset, Part
from dipir.scene.assets.load import load_asset
from dipir.scene.framing import projected_box
from dipir.scene.light import EnvironmentMap
from tests.support.hdr import write_hdr


def smooth_panorama(height: int = 64) -> torch.Tensor:
    """Colours that vary slowly with the direction, and a strong lamp behind the ordinary."""
    d = latlong.directions(height, 2 * height)
    lamp = torch.exp((d @ torch.tensor([0.6, 0.64, 0.48]) - 1) / 0.02)[..., None] * 30
    return torch.stack([1 + 0.5 * d[..., 0], 1 + 0.4 * d[..., 1], 1 + 0.5 * d[..., 2]], -1) + lamp


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Two panoramas; a mesh beside a sub-folder with one and a sub-folder with two."""
    (tmp_path / "envs" / "inner").mkdir(parents=True)
    write_hdr(tmp_path / "envs" / "a b.hdr", smooth_panorama())
    write_hdr(tmp_path / "envs" / "inner" / "c.hdr", smooth_panorama(48))
    for name in ("m/box.obj", "m/box.glb", "m/chair/model.obj", "m/two/x.obj", "m/two/y.ply", "m/.old/z.obj"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box((1, 2, 1)).export(tmp_path / name)
    return tmp_path / "envs", tmp_path / "m"


def test_files_and_names(folders):
    envs, meshes = folders
    assert {k: v.name for k, v in cases.panorama_files(envs, "val").items()} == {"a_b": "a b.hdr", "inner_c": "c.hdr"}
    found = {k: v.name for k, v in cases.mesh_files(meshes, "val").items()}
    assert found == {"box": "box.glb", "chair": "model.obj", "two_x": "x.obj", "two_y": "y.ply"}
    assert list(cases.panorama_files(envs / "a b.hdr", "val")) == ["a_b"]


def test_links_to_folders_are_followed(folders, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "seat").symlink_to(folders[1] / "chair")
    assert list(cases.mesh_files(tmp_path / "linked", "val")) == ["seat"]


@pytest.mark.parametrize("content, match", [(None, "no such folder"), ("", "there are none in it")])
def test_nothing_there(tmp_path, content, match):
    if content is not None:
        (tmp_path / "d").mkdir()
    for find, option in ((cases.panorama_files, "--environments"), (cases.mesh_files, "--meshes")):
        with pytest.raises(ConfigError, match=match) as caught:
            find(tmp_path / "d", "val")
        assert option in str(caught.value)


def test_without_the_shared_data_the_option_is_named(tmp_path):
    with pytest.raises(ConfigError, match="DIPIR_DATA.*--environments"):
        cases.panorama_files(None, "val", tmp_path)
    (tmp_path / "splits.json").write_text('{"hdri": {"train": ["x.hdr"], "val": []}}')
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        cases.panorama_files(None, "trian", tmp_path)


def test_parts_of_the_splits_add_up(tmp_path):
    """Several parts with commas, each file once; meshes of ``meshes_more`` are single files."""
    for name in ("hdri/a.hdr", "hdri/b.exr", "meshes/cow/cow.obj", "meshes_more/jug.glb", "meshes_more/not.glb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    (tmp_path / "splits.json").write_text('{"hdri": {"val": ["a.hdr"], "val_more": ["b.exr"]}, '
                                          '"meshes": {"val": ["cow"], "val_more": ["jug.glb"]}}')
    assert list(cases.panorama_files(None, "val", tmp_path)) == ["a"]
    assert list(cases.panorama_files(None, "val, val_more,val", tmp_path)) == ["a", "b"]
    assert {k: f.name for k, f in cases.mesh_files(None, "val,val_more", tmp_path).items()} == {"cow": "cow.obj",
                                                                                                "jug": "jug.glb"}
    with pytest.raises(ConfigError, match="--mesh-split val,vla.*Did you mean 'val'"):
        cases.mesh_files(None, "val,vla", tmp_path)


def test_every_unusable_file_is_listed(folders):
    envs, meshes = folders
    (envs / "bad.hdr").write_bytes(b"#?RADIANCE\n nothing")
    write_hdr(envs / "square.hdr", torch.ones(8, 8, 3))
    write_hdr(envs / "black.hdr", torch.zeros(32, 64, 3))
    with pytest.raises(ConfigError) as caught:
        cases.checked_environments(cases.panorama_files(envs, "val"))
    assert all(name in str(caught.value) for name in ("bad.hdr", "square.hdr", "black.hdr", "3 problems"))
    (meshes / "broken.obj").write_text("v 0 0 0\nf 1 2 3\n")
    with pytest.raises(ConfigError, match="broken.obj"):
        cases.checked_meshes(cases.mesh_files(meshes, "val"))


def test_a_case_does_not_depend_on_the_others(folders):
    environments = cases.checked_environments(cases.panorama_files(folders[0], "val"))
    meshes = cases.checked_meshes(cases.mesh_files(folders[1], "val"))
    every = {c.name: c.yaw_deg for c in cases.cases(environments, meshes, 3, seed=0)}
    few = {c.name: c.yaw_deg for c in cases.cases(environments[1:], meshes[:1], 1, seed=0)}
    assert len(every) == 2 * 4 * 3 and few.items() <= every.items()
    assert every["a_b--box--0"] == every["a_b--chair--0"] != every["a_b--box--1"]
    assert few.items().isdisjoint({c.name: c.yaw_deg for c in cases.cases(environments, meshes, 3, seed=1)}.items())


# ------------------------------------------------------------------------------------------------- plate and truth
def test_the_plate_is_the_true_map_seen_through_the_camera(folders):
    """Unclipped plate pixels equal the true map in their direction, for any turn; the plate is 8-bit and clipped."""
    for yaw in (0.0, 237.5):
        scene, true = cases.scene_of(folders[0] / "a b.hdr", folders[1] / "box.glb", yaw, 48)
        assert scene.plate.size == (64, 48) and true.shape == (256, 512, 3)
        levels = scene.plate.disp * 255
        torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
        want = latlong.sample(true, torch.from_numpy(scene.camera.directions()).float()).permute(2, 0, 1)[None]
        error = (scene.plate.lin - want.clamp(0, 1)).abs()
        assert float(error.max()) < 0.06 and float(error.mean()) < 0.008
        assert 0.05 < float(scene.plate.lin.mean()) < 0.6


def test_turning_keeps_the_light(folders):
    """Whole texels: the mean and the peak relative to it are the same in every view."""
    means = []
    for yaw in (0.0, 77.0):
        _, true = cases.scene_of(folders[0] / "a b.hdr", folders[1] / "box.glb", yaw, 48)
        means.append(float(true.max() / (true * latlong.solid_angles(256, 512)[..., None]).sum()))
    assert means[0] == pytest.approx(means[1], rel=1e-4)


def test_horizon_and_foot():
    camera = cases.plate_camera(256)
    assert camera.fov_x_deg == pytest.approx(60) and camera.horizon_y(0) / 256 == pytest.approx(0.379, abs=0.002)


# --------------------------------------------------------------------------------------------------------- placement
def shapes() -> dict[str, trimesh.Trimesh]:
    rug = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 0, 3], [0, 0, 3]], [[0, 2, 1], [0, 3, 2]])
    return {"cube": trimesh.creation.box((1, 1, 1)), "pole": trimesh.creation.box((0.02, 3, 0.02)),
            "plank": trimesh.creation.box((0.1, 0.1, 40)), "rug": rug, "wall": trimesh.creation.box((2, 4, 0.01))}


@pytest.mark.parametrize("name", list(shapes()))
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_any_mesh_takes_the_same_room(tmp_path, name, scale):
    shapes()[name].apply_scale(scale).export(tmp_path / "m.glb")
    camera = cases.plate_camera(256)
    one = cases.placed(load_asset(tmp_path / "m.glb"), camera, name)
    box = projected_box((one,), camera)
    assert float((box[1] - box[0]).max()) == pytest.approx(0.4 * 256, rel=2e-3)
    assert (box[0] > 0).all() and (box[1] < [camera.width, camera.height]).all()
    lowest = min(float(p.vertices[:, 1].min()) for p in one.parts)
    assert lowest == pytest.approx(0.0, abs=1e-5)


def test_parts_count_together():
    """Two parts far apart: the box of both is what is scaled."""
    cube = Part("a", np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
                np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]], np.uint32))
    far = replace(cube, name="b", vertices=cube.vertices + np.float32([9, 0, 0]))
    camera = cases.plate_camera(128)
    both = projected_box((cases.placed(Asset((cube, far)), camera, "two"),), camera)
    assert float((both[1] - both[0]).max()) == pytest.approx(0.4 * 128, rel=2e-3)


# ------------------------------------------------------------------------------------------------------ single light
def test_share_of_the_dominant_light():
    """A lamp that sends a known part of all light into a uniform map; without one the share is that of the cone."""
    height = 128
    uniform = torch.ones(height, 2 * height, 3)
    cone = (1 - math.cos(math.radians(cases.CONE_DEG))) / 2
    assert cases.light_share(uniform) == pytest.approx(cone, rel=0.1)
    omega = latlong.solid_angles(height, 2 * height)
    for share in (0.1, 0.5, 0.9):
        lamp = uniform.clone()
        lamp[40, 60] += share / (1 - share) * 4 * math.pi / float(omega[40])
        assert cases.light_share(lamp) == pytest.approx(share + (1 - share) * cone, abs=0.003)
        assert cases.light_share(torch.roll(lamp, 40, 1) * 7) == pytest.approx(cases.light_share(lamp), rel=1e-3)


def test_criterion_is_where_the_lamp_equals_the_rest():
    """At the limit a surface that faces the lamp gets s from it and (1 - s) / 4 from a uniform rest."""
    s = cases.SINGLE_LIGHT
    assert s == pytest.approx((1 - s) / 4)

    def environment(share):
        return cases.Environment("e", Path("e.hdr"), "", share)

    assert environment(s).single_light and not environment(s - 0.01).single_light


def test_panoramas_of_any_height_keep_their_light():
    for height in (48, 100, 256, 512):
        panorama = smooth_panorama(height)

        def mean(e):
            return float((e * latlong.solid_angles(*e.shape[:2])[..., None]).sum())

        assert mean(EnvironmentMap(panorama).envmap(256, 512)) == pytest.approx(mean(panorama), rel=0.02)
