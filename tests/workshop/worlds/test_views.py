"""Procedural views: light and plate of a pair belong together, sets are deterministic and resumable."""
from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.workshop.worlds import meshes, views
from dipir.workshop.worlds.cameras import View
from dipir.workshop.worlds.described import DescribedWorld
from tests.support.described import floor

TINY = views.ViewSettings(height=24, width=32, spp=2, env_height=16, env_spp=2, lights=2, cameras=2, shard=1)


# -------------------------------------------------------------------------------------------------------------- relight


# --------------------------------------------------------------------------------------------------------------- lights


# -------------------------------------------------------------------------------------------------------------- cameras


@pytest.mark.parametrize("pitch, roll", [(0, 0), (12, -2), (30, 3)])
def test_stored_angles_make_the_same_camera(pitch, roll):
    camera = Camera.looking(32, 24, 60, pitch_deg=pitch, roll_deg=roll)
    p, r = views._pitch_roll(camera)
    again = Camera.looking(32, 24, 60, pitch_deg=p, roll_deg=r)
    assert np.allclose(camera.to_world[:3, :3], again.to_world[:3, :3], atol=1e-6)


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
