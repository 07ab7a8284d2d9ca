"""Crops: geometry against the convention, turning and mirroring, exposure shared by plate and light."""
from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.errors import ImageError
from dipir.image import latlong
from dipir.image.color import srgb_to_linear
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


def test_pairs_shapes_range_and_seed() -> None:
    panoramas = [crops.prepare(_smooth_map(64))]
    a = crops.random_pairs(np.random.default_rng(3), panoramas, 5)
    b = crops.random_pairs(np.random.default_rng(3), panoramas, 5)
    assert torch.equal(a.plate_disp, b.plate_disp) and torch.equal(a.env, b.env)
    height, width = a.plate_disp.shape[2:]
    assert a.directions.shape == (5, height, width, 3) and a.env.shape == (5, 16, 32, 3)
    assert 0.8 < height * width / 96**2 < 1.2
    steps = a.plate_disp * 255
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    for camera in a.cameras:
        ahead = camera.to_world[:3, 2]
        assert abs(ahead[0]) < 0.05 and ahead[2] > 0.8 and -30.1 < math.degrees(math.asin(ahead[1])) < 5.1


@pytest.mark.parametrize("saturation", [0.0, 0.5])
def test_plate_and_light_share_exposure_and_white(saturation: float) -> None:
    """In uniform surroundings the plate's colour, made linear, is the light, whatever the camera did."""
    panorama = crops.prepare(torch.tensor([0.2, 0.1, 0.05]).expand(64, 128, 3) * 37.0)
    compared = 0
    for seed in range(20):
        plate, _, env = crops.random_pair(np.random.default_rng(seed), panorama, replace(PLAIN, saturation=saturation))
        if plate.max() < 0.999:
            mean = srgb_to_linear(plate).mean((1, 2))
            torch.testing.assert_close(mean, env[8, 16], rtol=0.03, atol=2e-3)
            compared += 1
    assert compared > 5


def test_exposure_spreads_over_the_stops_asked_for() -> None:
    panorama = crops.prepare(_smooth_map(64))
    levels = [float(crops.random_pair(np.random.default_rng(s), panorama, PLAIN)[2].mean()) for s in range(60)]
    assert 2.0 < max(levels) / min(levels) < 40.0


def test_auto_exposure_ignores_the_unit_of_the_map() -> None:
    plate = torch.rand(3, 20, 30) + 0.1
    assert crops.auto_exposure(plate * 50) == pytest.approx(crops.auto_exposure(plate) / 50, rel=1e-5)
    bright = torch.full((3, 20, 30), 0.01)
    bright[:, :6] = 1.0
    assert crops.auto_exposure(bright) == pytest.approx(1.0, rel=1e-3)


def test_a_file_that_is_no_panorama(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"no")
    with pytest.raises(ImageError, match="a.hdr"):
        crops.load_panorama(tmp_path / "a.hdr")


@pytest.mark.data
def test_suns_are_kept() -> None:
    if not (DATA / "hdri").is_dir():
        pytest.skip("no shared data")
    envmap = crops.load_panorama(DATA / "hdri" / "kloppenheim_05_1k.hdr")
    assert envmap.shape == (512, 1024, 3) and envmap.max() > 1000
    light = crops.prepare(envmap).env
    full = (envmap * latlong.solid_angles(512, 1024)[..., None]).sum((0, 1))
    torch.testing.assert_close((light * latlong.solid_angles(64, 128)[..., None]).sum((0, 1)), full, rtol=1e-3, atol=0)
