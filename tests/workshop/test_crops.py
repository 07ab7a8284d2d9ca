"""Crops: geometry against the convention, turning and mirroring, exposure shared by plate and light."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.image.files import read_envmap
from dipir.scene.camera import Camera
from dipir.workshop import crops

PLAIN = crops.CropConfig(balance=0.0, response=0.0, noise=0.0, saturation=0.0)
DATA = Path(os.environ.get("DIPIR_DATA") or Path(__file__).resolve().parents[2] / ".." / "shared" / "data")


def _smooth_map(height: int = 128) -> torch.Tensor:
    """A map that is a known smooth function of direction: 0.5 + 0.3 (x, y, z)."""
    return 0.5 + 0.3 * latlong.directions(height, 2 * height)


@pytest.mark.parametrize("camera", [Camera.looking(40, 30, 60, pitch_deg=20), Camera.looking(30, 40, 45, yaw_deg=170),
                                    Camera.looking(8, 8, 90, roll_deg=10, yaw_deg=-60)])
def test_crop_is_the_map_in_the_direction_of_each_pixel(camera: Camera) -> None:
    crop = crops.perspective_crop(_smooth_map(), camera)
    expected = 0.5 + 0.3 * torch.from_numpy(camera.directions().astype(np.float32)).permute(2, 0, 1)
    assert crop.shape == (3, camera.height, camera.width)
    # Eight pixels of 90 degrees are wide: the mean over a pixel differs a little from the value at its centre.
    torch.testing.assert_close(crop, expected, atol=4e-3, rtol=0)


def test_crop_averages_detail_finer_than_a_pixel() -> None:
    checker = (torch.arange(512)[None] + torch.arange(256)[:, None]) % 2
    crop = crops.perspective_crop(checker[..., None].expand(-1, -1, 3).float(), Camera.looking(12, 9, 60))
    assert (crop - 0.5).abs().max() < 0.1


def _seen_equals_light(mirrored: bool, turn: int) -> None:
    """The turned crop must show what the turned light has in the direction of each pixel."""
    torch.manual_seed(0)
    envmap = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 8), (64, 128), mode="bilinear")[0].permute(1, 2, 0)
    panorama = crops.prepare(envmap)
    camera = Camera.looking(24, 18, 60, pitch_deg=10)
    plate, directions = crops.turned_crop(panorama, camera, turn / 128, mirrored, rays=1)
    env = torch.roll(panorama.env, turn, 1)
    env = env.flip(1) if mirrored else env
    torch.testing.assert_close(plate, latlong.sample(env, directions).permute(2, 0, 1), atol=2e-3, rtol=0)
    torch.testing.assert_close(directions, torch.from_numpy(camera.directions().astype(np.float32)))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turn", [0, 37, 90])
def test_plate_and_light_are_turned_and_mirrored_together(mirrored: bool, turn: int) -> None:
    _seen_equals_light(mirrored, turn)


@pytest.mark.parametrize("seed", range(8))
def test_a_photo_shows_the_exposed_light_whatever_the_camera_did(seed: int) -> None:
    rng, plate = np.random.default_rng(seed), torch.tensor([7.4, 3.7, 1.9])[:, None, None].expand(3, 48, 64)
    gains = crops.random_gains(rng, plate, PLAIN)
    photo = crops.develop(rng, plate * gains[:, None, None], PLAIN)
    torch.testing.assert_close(photo * 255, (photo * 255).round(), atol=1e-3, rtol=0)
    expected = (plate[:, 0, 0] * gains).clamp(0, 1)
    torch.testing.assert_close(srgb_to_linear(photo).mean((1, 2)), expected, rtol=0.03, atol=2e-3)


def test_exposure_spreads_over_the_stops_asked_for() -> None:
    plate = _smooth_map(64).permute(2, 0, 1)
    levels = [float(crops.random_gains(np.random.default_rng(s), plate, PLAIN).mean()) for s in range(60)]
    assert 2.0 < max(levels) / min(levels) < 40.0


def test_auto_exposure_ignores_the_unit_of_the_map() -> None:
    plate = torch.rand(3, 20, 30) + 0.1
    assert crops.auto_exposure(plate * 50) == pytest.approx(crops.auto_exposure(plate) / 50, rel=1e-5)
    bright = torch.full((3, 20, 30), 0.01)
    bright[:, :6] = 1.0
    assert crops.auto_exposure(bright) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.data
def test_suns_are_kept() -> None:
    if not (DATA / "hdri").is_dir():
        pytest.skip("no shared data")
    envmap = read_envmap(DATA / "hdri" / "kloppenheim_05_1k.hdr")
    assert envmap.shape == (512, 1024, 3) and envmap.max() > 1000
    light = crops.prepare(envmap).env
    full = (envmap * latlong.solid_angles(512, 1024)[..., None]).sum((0, 1))
    torch.testing.assert_close((light * latlong.solid_angles(64, 128)[..., None]).sum((0, 1)), full, rtol=1e-3, atol=0)
