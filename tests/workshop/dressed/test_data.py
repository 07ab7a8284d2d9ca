"""Dressed crops: shadows fall away from the sun, bare pixels stay, what is stored leads back to the truth; sets are
deterministic and go on."""
from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.image.files import write_exr
from dipir.scene.camera import Camera
from dipir.workshop import crops
from dipir.workshop.dressed import data, layout, things
from dipir.workshop.things.objects import simple_asset
from tests.support.asset_samples import gltf, write
from tests.support.hdr import write_hdr
from tests.support.scenes import MATERIALS, placed

TINY = data.DressedSettings(height=24, width=32, spp=4, depth=2, shots=2, pool=2, least=1, most=3, shard=2)


def _sun(azimuth_deg: float, elevation_deg: float, height: int = 64, peak: float = 3000.0) -> torch.Tensor:
    """Dim sky over brown ground, with a sun of about a texel; azimuth from +Z towards +X."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    axis = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    d = latlong.directions(height, 2 * height)
    base = torch.where(d[..., 1:2] > 0, torch.tensor([0.2, 0.25, 0.3]), torch.tensor([0.4, 0.3, 0.2]))
    return base + peak * ((d @ axis - 1) * 4000).exp()[..., None]


def _thing():
    asset = simple_asset("box", MATERIALS["diffuse"])
    return replace(asset, parts=tuple(map(things.plain, asset.parts)))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> data.Sources:
    folder = tmp_path_factory.mktemp("data")
    write_hdr(folder / "soft.hdr", _sun(0, 40, peak=0.0))
    write_hdr(folder / "sunny.hdr", _sun(50, 35))
    mesh = write(folder, gltf(), "box.gltf")
    return data.Sources((folder / "soft.hdr", folder / "sunny.hdr"), (0,), (1,), (mesh,))


# ------------------------------------------------------------------------------------------------------------- physics
@pytest.mark.parametrize("azimuth", [0.0, 75.0, -60.0])
def test_the_shadow_lies_on_the_side_away_from_the_sun(azimuth: float) -> None:
    camera, settings = Camera.looking(96, 72, 60, 1.5, 30), replace(TINY, spp=16)
    thing = placed(_thing(), z=2.4, height_m=0.5)
    plate = torch.full((1, 3, 72, 96), 0.5)
    dressed, alpha, ratio = data.dress(plate, camera, [thing], _sun(azimuth, 35), settings, 0)
    ground = alpha[0, 0] == 0
    # ---- where the darkest ground is, from above ----
    dark = (dressed[0].mean(0) < 0.35 * plate.mean()) & ground
    y, x = (v.double().numpy() + 0.5 for v in dark.nonzero(as_tuple=True))
    rays = camera.directions(np.stack([x, y], -1))
    points = camera.position - rays * (camera.position[1] / rays[:, 1])[:, None]
    away = points.mean(0) - thing.to_world[:3, 3]
    expected = np.array([-math.sin(math.radians(azimuth)), -math.cos(math.radians(azimuth))])
    assert dark.sum() > 30
    assert away[[0, 2]] @ expected / np.hypot(*away[[0, 2]]) > math.cos(math.radians(20))
    # ---- it touches the foot, and ends where a ray through the top meets the ground ----
    reach = (points - thing.to_world[:3, 3])[:, [0, 2]] @ expected
    assert reach.min() < 0.4 and reach.max() == pytest.approx(0.5 / math.tan(math.radians(35)) + 0.3, abs=0.2)
    # ---- what is neither thing nor shadow stays as it was ----
    torch.testing.assert_close(dressed[:, :, :4], plate[:, :, :4], atol=0.004, rtol=0)
    assert ratio.max() <= 1


def test_even_light_leaves_no_dark_ground_but_contact() -> None:
    camera = Camera.looking(48, 36, 60, 1.5, 30)
    thing = placed(_thing(), z=2.4, height_m=0.5)
    _, alpha, ratio = data.dress(torch.ones(1, 3, 36, 48), camera, [thing], torch.ones(16, 32, 3),
                                 replace(TINY, spp=64), 0)
    open_ground = ratio[0].mean(0)[alpha[0, 0] == 0]
    assert 0.2 < open_ground.min() < 0.97 and open_ground.median() > 0.95


def test_things_are_lit_by_the_map_in_their_unit() -> None:
    """A grey thing in an even light of 1 has the radiance of its albedo (and a little gloss), twice that in twice the
    light."""
    camera = Camera.looking(48, 36, 60, 1.5, 30)
    asset = _thing()
    grey = replace(asset, parts=tuple(replace(p, material=replace(
        p.material, base_color_texture=np.full((256, 256, 3), 0.5, np.float32))) for p in asset.parts))
    levels = []
    for light in (1.0, 2.0):
        dressed, alpha, _ = data.dress(torch.zeros(1, 3, 36, 48), camera, [placed(grey, z=2.0)],
                                       torch.full((16, 32, 3), light), replace(TINY, spp=64, depth=3), 0)
        levels.append(float(dressed[0].mean(0)[alpha[0, 0] > 0.999].mean()))
    assert 0.47 < levels[0] < 0.62 and levels[1] == pytest.approx(2 * levels[0], rel=0.02)


# ------------------------------------------------------------------------------------------------- what leads back
def test_no_things_leave_the_bare_crop(found) -> None:
    made = data.scene_plates(0, 3, replace(TINY, least=0, most=0), found)
    assert made["things"].tolist() == [0, 0] and not made["mask"].any() and (made["shadow"] == 255).all()
    for k in range(2):
        torch.testing.assert_close(made["plate"][k].float(), _bare(made, k, found), rtol=1e-3, atol=1e-3)


def _bare(made, k: int, found) -> torch.Tensor:
    panorama = data.read_panorama(found.panoramas[int(made["panorama"][k])])
    camera = layout.camera_of([*made["camera"][k], made["height"][k]], (32, 24))
    return data.bare_crop(panorama, camera, made["turn"][k], made["gain"][k])


def test_form_and_unit_of_the_plates(found) -> None:
    made = data.scene_plates(1, 3, TINY, found)
    assert made["plate"].shape == (2, 3, 24, 32) and made["plate"].dtype == torch.float16
    assert made["mask"].shape == made["shadow"].shape == (2, 24, 32) and made["mask"].dtype == torch.uint8
    assert (made["things"] >= 1).all() and made["mask"].float().mean() > 1
    for k in range(2):
        bare = _bare(made, k, found)
        assert float(bare.flatten().quantile(0.9)) == pytest.approx(1, rel=1e-3)
        untouched = (made["mask"][k] == 0) & (made["shadow"][k] == 255)
        assert (made["plate"][k].float() - bare)[:, untouched].abs().median() < 0.01
        darker = (made["mask"][k] == 0) & (made["shadow"][k] < 200)
        assert not darker.any() or (made["plate"][k].float() < bare)[:, darker].float().mean() > 0.9


def test_the_environment_is_turned_as_the_crop(found) -> None:
    """The brightest direction of the environment is where the crop shows the sun."""
    panorama = crops.prepare(_sun(0, 5, height=128))
    camera = Camera.looking(64, 48, 70, pitch_deg=0)
    for turn in (0, 8, 120):
        crop, env = data.bare_crop(panorama, camera, turn), data.environment(panorama, turn, 3.0)
        y, x = np.unravel_index(int(crop.mean(0).argmax()), (48, 64))
        row, column = np.unravel_index(int(env.mean(-1).argmax()), (64, 128))
        seen, held = camera.directions(np.array([x + 0.5, y + 0.5])), latlong.directions(64, 128)[row, column].numpy()
        assert seen @ held > math.cos(math.radians(4))
    assert float(env.sum()) == pytest.approx(3 * float(panorama.env.sum()), rel=1e-5)


def test_the_insertion_point_is_free_ground() -> None:
    camera = Camera.looking(64, 48, 60, 1.5, 30)
    alpha, shadow = torch.zeros(48, 64), torch.ones(48, 64)
    alpha[:, :32], shadow[:, 48:] = 1.0, 0.2
    for seed in range(10):
        point = data.insertion_point(np.random.default_rng(seed), camera, alpha, shadow)
        (pixel,), _ = camera.project(point[None])
        assert point[1] == 0 and 32 <= pixel[0] < 48
    up = Camera.looking(64, 48, 40, 1.5, pitch_deg=-50)
    assert data.insertion_point(np.random.default_rng(0), up, alpha, shadow).tolist() == [0, 0, 0]


# ------------------------------------------------------------------------------------------------------------- sources
@pytest.mark.parametrize("rows, kept", [(500, 512), (64, 64), (256, 256), (1000, 512)])
def test_maps_of_any_size_become_panoramas(rows: int, kept: int, tmp_path) -> None:
    """Their columns can be turned by whole 1/128, their light stays, and comes from where it did."""
    envmap = _sun(40, 30, rows, 300.0)
    write_exr(tmp_path / "a.exr", {c: envmap[..., k].half() for k, c in enumerate("RGB")})
    made = data.read_panorama(tmp_path / "a.exr")
    assert made.padded.shape == (3, kept, 2 * kept + 2) and made.env.shape == (64, 128, 3)
    before, after = ((m * latlong.solid_angles(*m.shape[:2])[..., None]).sum((0, 1)) for m in (envmap, made.env))
    torch.testing.assert_close(before, after, rtol=0.01, atol=0)
    brightest = latlong.directions(64, 128).reshape(-1, 3)[int(made.env.sum(-1).argmax())]
    expected = latlong.directions(rows, 2 * rows).reshape(-1, 3)[int(envmap.sum(-1).argmax())]
    assert float(brightest @ expected) > math.cos(math.radians(2.5))


def test_hard_lights_are_told_from_soft_ones() -> None:
    assert data.hardness(torch.ones(64, 128, 3)) < 0.01
    assert data.hardness(crops.prepare(_sun(50, 35)).env) > 0.8
    # What shines from below the ground does not light it.
    assert data.hardness(crops.prepare(_sun(50, -35)).env) < 0.01


def test_sources_leave_out_what_has_no_ground(found, tmp_path, monkeypatch) -> None:
    names = ["soft_1k.hdr", "sky_puresky_1k.hdr", "sunny_1k.hdr", "coarse_256.hdr"]
    for name in names:
        write_hdr(tmp_path / name, _sun(50, 35, peak=0.0 if name.startswith("soft") else 3000.0))
    monkeypatch.setattr(data, "panorama_files", lambda *splits: [tmp_path / n for n in names])
    made = data.sources(("train",), found.meshes)
    assert made.soft == (0,) and made.hard == (2,) and [f.name for f in made.panoramas] == names
    with pytest.raises(ConfigError, match="0 meshes"):
        data.sources(("train",), ())


# ---------------------------------------------------------------------------------------------------------------- sets
@pytest.mark.parametrize("changes", [{"shard": 3}, {"least": 4}, {"least": -1}])
def test_contradicting_settings(changes, found, tmp_path) -> None:
    with pytest.raises(ConfigError, match="multiple of shots"):
        data.generate(2, tmp_path / "set", found=found, settings=replace(TINY, **changes))
    assert not (tmp_path / "set").exists()


def test_a_set_is_the_same_again_and_goes_on(found, tmp_path) -> None:
    folder = data.generate(3, tmp_path / "set", 5, found=found, settings=TINY)
    whole = data.load(folder)
    expected = data.scene_plates(1, 5, TINY, found)
    assert len(whole["turn"]) == 3 and all(torch.equal(whole[k][2], expected[k][0]) for k in expected)
    # ---- a finished file is kept, one that is too short is made again ----
    first, second = sorted(folder.iterdir())
    before, age = second.read_bytes(), first.stat().st_mtime_ns
    data.generate(4, folder, 5, found=found, settings=TINY)
    longer = data.load(folder)
    assert first.stat().st_mtime_ns == age and second.read_bytes() != before and len(longer["turn"]) == 4
    assert all(torch.equal(longer[k][:3], whole[k]) for k in whole)
    assert len(data.load(folder, 1)["turn"]) == 2
    with safe_open(first, "pt") as shard:
        assert json.loads(shard.metadata()["panoramas"]) == ["soft.hdr", "sunny.hdr"]
    with pytest.raises(ConfigError, match="another set"):
        data.generate(4, folder, 6, found=found, settings=TINY)


def test_broken_files_and_empty_folders(tmp_path) -> None:
    with pytest.raises(ConfigError, match="dipir synth dressed"):
        data.load(tmp_path)
    (tmp_path / "dressed_000000.safetensors").write_bytes(b"short")
    with pytest.raises(ConfigError, match="not a readable shard"):
        data.load(tmp_path)


def test_folders_stand_beside_each_other() -> None:
    assert data.held_out_dir() == data.default_dir().parent / "v1_val"
