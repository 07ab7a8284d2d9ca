"""Cameras in scenes: frames, rays, room."""
from __future__ import annotations

import numpy as np
import torch

from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.workshop.worlds import cameras as view_cameras
from dipir.workshop.worlds import meshes
from dipir.workshop.worlds.cameras import from_scene, into_scene
from dipir.workshop.worlds.described import DescribedWorld
from tests.support.described import floor


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


def test_a_camera_needs_room():
    box = meshes.box((2.0, 2.0, 2.0))
    solid = {**floor(), "name": "box", "vertices": box[0], "faces": box[1], "uv": box[2]}
    world = DescribedWorld({"parts": [floor(), solid], "sky": np.ones((8, 16, 3), np.float32), "sun": None})
    assert view_cameras.is_free(world, torch.tensor([4.0, 1.5, 0.0]))
    assert not view_cameras.is_free(world, torch.tensor([1.2, 1.5, 0.0]))
    assert not view_cameras.is_free(world, torch.tensor([4.0, -1.0, 0.0]))
