"""Procedural views: light and plate of a pair belong together, sets are deterministic and resumable."""
from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError, RenderError
from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.workshop.worlds import cameras as view_cameras
from dipir.workshop.worlds import lights as view_lights
from dipir.workshop.worlds import meshes, views
from dipir.workshop.worlds.cameras import View, from_scene, into_scene
from dipir.workshop.worlds.described import BLACK, DescribedWorld

TINY = views.ViewSettings(height=24, width=32, spp=2, env_height=16, env_spp=2, lights=2, cameras=2, shard=1)


def floor(radiance=None, size: float = 20.0, albedo: float = 0.5) -> dict:
    vertices, faces, uv = meshes.quad([-size / 2, 0, -size / 2], [size, 0, 0], [0, 0, size])
    part = {"name": "floor", "vertices": vertices, "faces": faces, "uv": uv, "roughness": None,
            "texture": np.full((2, 2, 3), albedo, np.float32), "radiance": None}
    return part | ({"name": "lamp", "radiance": radiance} if radiance is not None else {})


def straight_down(count: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[0.0, 1.0, 0.0]]).expand(count, 3), torch.tensor([[0.0, -1.0, 0.0]]).expand(count, 3)


@pytest.fixture(scope="module")
def field():
    """A grey floor under an even sky of radiance 1, loaded with a sun."""
    sky = np.ones((8, 16, 3), np.float32)
    return DescribedWorld({"parts": [floor()], "sky": sky,
                           "sun": {"direction": np.array([0, 1.0, 0]), "irradiance": np.ones(3)}})


# -------------------------------------------------------------------------------------------------------------- relight
def test_floor_under_an_even_sky_reflects_albedo(field):
    field.relight()
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(0.5, rel=0.02)


def test_relight_replaces_sky_and_sun(field):
    field.relight(sky=np.full((8, 16, 3), 3.0, np.float32))
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(1.5, rel=0.02)
    # A sun at 30 degrees of elevation adds albedo / pi * E * sin(30 degrees).
    low = {"direction": np.array([math.cos(math.pi / 6), 0.5, 0.0]), "irradiance": np.full(3, 40.0)}
    field.relight(sky=np.full((8, 16, 3), 1.0, np.float32), sun=low)
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(0.5 + 0.5 / math.pi * 20, rel=0.02)
    field.relight(sky=np.full((8, 16, 3), 1.0, np.float32))
    assert field.radiance(*straight_down(), depth=2).mean().item() == pytest.approx(0.5, rel=0.02)


def test_gains_scale_what_emits_in_colour():
    world = DescribedWorld({"parts": [floor(np.array([1.0, 2.0, 4.0]))], "sky": None, "sun": None})
    below, up = (-x for x in straight_down(3))  # the side of the quad that emits
    world.relight({"lamp": np.array([2.0, 1.0, 0.0])})
    assert torch.allclose(world.radiance(below, up, depth=1)[0], torch.tensor([2.0, 2.0, BLACK]), atol=1e-5)
    world.relight()
    assert torch.allclose(world.radiance(below, up, depth=1)[0], torch.tensor([1.0, 2.0, 4.0]), atol=1e-5)


def test_relight_of_what_is_not_there(field):
    world = DescribedWorld({"parts": [floor(np.ones(3))], "sky": None, "sun": None})
    with pytest.raises(RenderError, match="without one"):
        world.relight(sky=np.ones((8, 16, 3), np.float32))
    with pytest.raises(RenderError, match="without one"):
        world.relight(sun={"direction": np.array([0, 1.0, 0]), "irradiance": np.ones(3)})
    with pytest.raises(RenderError, match="another size"):
        field.relight(sky=np.ones((16, 32, 3), np.float32))


def test_first_hits_and_blocked(field):
    origin = torch.tensor([[0.0, 2.0, 0.0]]).expand(2, 3)
    rays = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    hits = field.first_hits(origin, rays)
    assert hits.distance[0].item() == pytest.approx(2.0) and math.isinf(hits.distance[1])
    assert torch.allclose(hits.normal[0].abs(), torch.tensor([0.0, 1.0, 0.0])) and hits.light.tolist() == [False, True]
    assert torch.allclose(hits.albedo[0], torch.full((3,), 0.5), atol=1e-4)
    assert field.blocked(origin, rays).tolist() == [True, False]


# --------------------------------------------------------------------------------------------------------------- lights
def test_a_turned_sky_takes_its_sun_along():
    radiance = np.zeros((8, 16, 3), np.float32)
    sun = np.array([0.6, 0.5, -0.62])
    sun /= np.linalg.norm(sun)
    u, v = latlong.uv(torch.tensor(sun, dtype=torch.float32))
    radiance[int(v * 8), int(u * 16)] = 1
    for columns in (0, 1, 5, 13):
        light = view_lights.turned_sky(radiance, {"direction": sun, "irradiance": np.ones(3)}, columns)
        u, v = latlong.uv(torch.tensor(light["sun"]["direction"], dtype=torch.float32))
        assert light["sky"][int(v * 8), int(u * 16)].tolist() == [1, 1, 1]
    assert view_lights.turned_sky(radiance, None, 3)["sun"] is None


@pytest.mark.parametrize("kind", views.KINDS)
def test_every_light_of_a_scene_lights_it(kind):
    for seed in range(6):
        scene, _, lights = view_lights.scene_lights(np.random.default_rng(seed), kind, 4)
        emitting = {part["name"] for part in scene["parts"] if part.get("radiance") is not None}
        for light in lights:
            gains = light.get("gains", {})
            assert set(gains) <= emitting
            lit = any(np.any(np.asarray(gains.get(name, 1.0)) > 0) for name in emitting)
            assert lit or light.get("sky") is not None or scene["sky"] is not None


# -------------------------------------------------------------------------------------------------------------- cameras
def test_frames_are_inverse_to_each_other():
    direction = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert torch.allclose(from_scene(into_scene(direction, 0.7).numpy(), 0.7), direction, atol=1e-6)


def test_rays_pass_through_their_pixels_and_texels():
    rng, camera = np.random.default_rng(0), Camera.looking(16, 12, 60, pitch_deg=10)
    rays = view_cameras.pixel_rays(rng, camera, 8).reshape(12, 16, 8, 3)
    middle = torch.from_numpy(camera.directions()).float()
    assert torch.allclose(torch.nn.functional.normalize(rays.mean(2), dim=-1), middle, atol=0.02)
    texels = view_cameras.texel_rays(rng, 8, 4)
    u, v = latlong.uv(texels)
    index = torch.arange(8 * 16 * 4) // 4
    assert torch.equal((v * 8).long() * 16 + (u * 16).long(), index)


@pytest.mark.parametrize("pitch, roll", [(0, 0), (12, -2), (30, 3)])
def test_stored_angles_make_the_same_camera(pitch, roll):
    camera = Camera.looking(32, 24, 60, pitch_deg=pitch, roll_deg=roll)
    p, r = views._pitch_roll(camera)
    again = Camera.looking(32, 24, 60, pitch_deg=p, roll_deg=r)
    assert np.allclose(camera.to_world[:3, :3], again.to_world[:3, :3], atol=1e-6)


def test_a_camera_needs_room():
    box = meshes.box((2.0, 2.0, 2.0))
    solid = {**floor(), "name": "box", "vertices": box[0], "faces": box[1], "uv": box[2]}
    world = DescribedWorld({"parts": [floor(), solid], "sky": np.ones((8, 16, 3), np.float32), "sun": None})
    assert view_cameras.is_free(world, torch.tensor([4.0, 1.5, 0.0]))
    assert not view_cameras.is_free(world, torch.tensor([1.2, 1.5, 0.0]))
    assert not view_cameras.is_free(world, torch.tensor([4.0, -1.0, 0.0]))


# ----------------------------------------------------------------------------------------------------------------- sets
@pytest.fixture(scope="module")
def pairs():
    return {index: views.scene_pairs(index, 3, TINY) for index in range(3)}


def test_pairs_have_their_form_and_come_again(pairs):
    for index, made in pairs.items():
        count = len(made["plate"])
        assert 0 < count <= 4 and made["plate"].shape == (count, 3, 24, 32) and made["env"].shape == (count, 16, 32, 3)
        assert made["plate"].dtype == torch.float16 and torch.isfinite(made["env"]).all() and (made["env"] >= 0).all()
        assert made["plate"].float().flatten(1).quantile(0.9, dim=1).tolist() == pytest.approx([1.0] * count, rel=2e-3)
        assert (made["scene"] == index).all()
    again = views.scene_pairs(1, 3, TINY)
    assert all(torch.equal(again[key], pairs[1][key]) for key in again)


def test_plate_and_environment_show_the_same_place():
    """What the plate sees is what the environment holds in those directions (light at the camera), and is not what it
    holds on the other side."""
    settings = views.ViewSettings(24, 32, spp=4, env_height=32, env_spp=4, lights=1, cameras=2, at_object=0.0)
    same, mirrored = [], []
    for index in (0, 1, 5, 7):
        made = views.scene_pairs(index, 0, settings)
        for plate, env, (fov, pitch, roll) in zip(made["plate"], made["env"], made["camera"].tolist(), strict=True):
            rays = torch.from_numpy(Camera.looking(32, 24, fov, pitch_deg=pitch, roll_deg=roll).directions()).float()
            shown = plate.float().mean(0).clamp_max(3).flatten()
            for found, turn in ((same, 1.0), (mirrored, -1.0)):
                seen = latlong.sample(env, rays * torch.tensor([turn, 1, 1])).mean(-1).clamp_max(3).flatten()
                found.append(float(torch.corrcoef(torch.stack([seen, shown]))[0, 1]))
    assert np.mean(same) > 0.5 and np.mean(same) > np.mean(mirrored) + 0.2


def test_generate_resumes_and_refuses_another_set(tmp_path):
    events = []
    folder = views.generate(2, tmp_path, seed=5, on_event=events.append, settings=TINY)
    files = sorted(p.name for p in folder.iterdir())
    assert files == ["views_000000.safetensors", "views_000001.safetensors"] and [e.step for e in events] == [1, 2]
    first = views.load(folder)
    kept = (folder / files[0]).stat().st_mtime_ns
    (folder / files[1]).write_bytes((folder / files[1]).read_bytes()[:1000])
    views.generate(2, tmp_path, seed=5, settings=TINY)
    assert (folder / files[0]).stat().st_mtime_ns == kept
    second = views.load(folder)
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(ConfigError, match="another set"):
        views.generate(2, tmp_path, seed=6, settings=TINY)
    assert sorted(os.listdir(folder)) == files


def test_bad_numbers_and_folders(tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        views.generate(0, tmp_path)
    with pytest.raises(ConfigError, match="dipir synth views"):
        views.load(tmp_path)


def test_window_panes_let_the_sun_in():
    """A point behind a pane sees the sun through it, one beside it does not."""
    pane = {**floor(np.ones(3)), "name": "pane0"}
    quad = meshes.quad([-1, 1, 0], [2, 0, 0], [0, 1, 0])
    pane |= {"vertices": quad[0], "faces": quad[1], "uv": quad[2]}
    world = DescribedWorld({"parts": [floor(), pane], "sky": None, "sun": None})
    panes = views.window_panes([pane])
    camera, sun = Camera.looking(8, 6, 60), np.array([0.0, 0.5, 0.8])
    share = [views._sun_share(world, View(camera, place, place, 0.0), sun / np.linalg.norm(sun), panes).mean().item()
             for place in (torch.tensor([0.0, 0.6, -1.5]), torch.tensor([3.0, 0.6, -1.5]))]
    assert share == [1.0, 0.0]
