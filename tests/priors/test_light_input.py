"""What the light prior's network reads: the plate on the sphere, the ground from above, the camera's frame."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from dipir import device
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.priors.light_input import (
    GROUND,
    PLATE,
    REACHES,
    _inverse,
    _project,
    facing,
    features,
    fill,
    from_above,
    turn_to_front,
    usual_place,
    windows,
)
from dipir.scene.camera import Camera
from tests.support.far import KIND, far_device

CPU = torch.device("cpu")


def rays_of(camera: Camera) -> torch.Tensor:
    return torch.from_numpy(camera.directions().astype(np.float32))


# -------------------------------------------------------------------------------------------------------- on the sphere
def test_projection_puts_each_colour_in_its_direction() -> None:
    camera = Camera.looking(160, 120, 75, pitch_deg=25)
    rays = rays_of(camera).permute(2, 0, 1)[None]
    colour, visible = _project(0.5 + 0.5 * rays, rays)
    expected = 0.5 + 0.5 * latlong.directions(32, 64).permute(2, 0, 1)
    seen = visible[0, 0] > 0
    assert 0.04 < float((latlong.solid_angles(32, 64) * seen).sum()) / 12.566 < 0.12
    assert ((colour[0] - expected)[:, seen]).abs().max() < 0.06
    assert (visible[0, 0, :, :16].sum(), visible[0, 0, :, 48:].sum()) == (0, 0)  # nothing behind the camera


def test_fill_keeps_what_is_known_and_invents_no_colour() -> None:
    torch.manual_seed(0)
    colour, weight = torch.rand(2, 3, 32, 64), (torch.rand(2, 1, 32, 64) > 0.9).float()
    out = fill(colour * weight, weight)
    torch.testing.assert_close(out * weight, colour * weight)
    assert out.min() >= colour.min() - 1e-6 and out.max() <= colour.max() + 1e-6
    turned = fill(torch.roll(colour * weight, 16, -1), torch.roll(weight, 16, -1))
    torch.testing.assert_close(turned, torch.roll(out, 16, -1))


def test_base_of_a_uniform_plate_is_its_colour() -> None:
    colour = torch.tensor([0.5, 0.2, 0.1])
    plate = linear_to_srgb(colour)[None, :, None, None].expand(1, 3, 60, 80)
    inputs = features(plate, rays_of(Camera.looking(80, 60, 60))[None])
    torch.testing.assert_close(inputs.base, colour[None, :, None, None].expand(1, 3, 16, 32), atol=1e-4, rtol=1e-3)
    assert inputs.sphere.shape == (1, 13, 32, 64) and inputs.photo.shape == (1, 3, *PLATE)
    assert inputs.coarse.shape == (1, 5, 12, 16) and inputs.ground.shape == (1, 2, 4, GROUND, GROUND)
    assert all(bool(torch.isfinite(x).all()) for x in vars(inputs).values())


def test_base_is_mirrored_behind_the_camera() -> None:
    """A plate red on its left (+X) and blue on its right: behind, red is still on the side of +X."""
    plate = torch.zeros(1, 3, 60, 80)
    plate[:, 0, :, :40], plate[:, 2, :, 40:] = 0.8, 0.8
    base = features(plate, rays_of(Camera.looking(80, 60, 80))[None]).base[0]
    for column, channel in ((14, 0), (17, 2), (1, 0), (30, 2)):  # u < 0.5 is the side of +X
        assert base[channel, 8, column] > 3 * base[2 - channel, 8, column]


def test_resolution_and_clipping_reach_the_features_alike() -> None:
    torch.manual_seed(0)
    small = functional.interpolate(0.9 * torch.rand(1, 3, 6, 8), (120, 160), mode="bilinear")
    large = functional.interpolate(small, (480, 640), mode="bilinear")
    a = features(small, rays_of(Camera.looking(160, 120, 60))[None])
    b = features(large, rays_of(Camera.looking(640, 480, 60))[None])
    assert (a.photo - b.photo).abs().mean() < 0.01 and (a.base - b.base).abs().mean() < 0.01
    white = features(torch.ones(1, 3, 60, 80), rays_of(Camera.looking(80, 60, 60))[None])
    assert white.coarse[:, 0].min() == 1 and a.coarse[:, 0].max() == 0


def test_the_place_is_marked_on_sphere_and_plate() -> None:
    camera = Camera.looking(256, 192, 60, pitch_deg=10)
    rays = rays_of(camera)[None]
    plate = torch.full((1, 3, 192, 256), 0.5)
    assert torch.equal(usual_place(rays)[0], rays[0, 144, 128])
    default = features(plate, rays)
    place = rays[:, 40, 200]
    told = features(plate, rays, place)
    for inputs, row, column in ((default, 144, 128), (told, 40, 200)):
        spot = inputs.coarse[0, 4]
        assert abs(int(spot.argmax()) // 16 - row / 16) <= 1 and abs(int(spot.argmax()) % 16 - column / 16) <= 1
    brightest = latlong.directions(32, 64).reshape(-1, 3)[int(told.sphere[0, -1].argmax())]
    assert float(brightest @ place[0]) > math.cos(math.radians(5))
    assert torch.equal(default.base, told.base)


# ----------------------------------------------------------------------------------------------------- the ground above
def checkerboard(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Squares with sides of half the camera's height."""
    return ((torch.floor(2 * x) + torch.floor(2 * z)) % 2).float()


def ground_photo(camera: Camera, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Photo (1, 3, H, W) of a checkerboard that has a corner at the place, and rays (1, 3, H, W)."""
    rays = rays_of(camera).permute(2, 0, 1)[None]
    at, spot = rays / (-rays[:, 1:2]).clamp_min(1e-4), place / -place[1]
    photo = checkerboard(at[:, 0] - spot[0], at[:, 2] - spot[2]) * (rays[:, 1] < 0)
    return photo[:, None].expand(-1, 3, -1, -1).contiguous(), rays


@pytest.mark.parametrize("roll_deg", [0.0, 6.0])
def test_a_checkerboard_on_the_ground_becomes_upright_squares(roll_deg: float) -> None:
    """Seen by a tilted camera, from above each square is a square of 16 pixels in the view of 4 camera heights, and the
    corner at the place is in the middle."""
    camera = Camera.looking(1024, 768, 75, pitch_deg=35, roll_deg=roll_deg)
    place = rays_of(camera)[500, 450]
    photo, rays = ground_photo(camera, place)
    reach = 4.0
    assert reach in REACHES
    view = from_above(photo, rays, place[None], reach)[0]
    step = (torch.arange(GROUND) + 0.5) / GROUND * 2 - 1
    # Rows go from far to near, columns from +X to -X.
    z, x = torch.meshgrid(-step * reach, -step * reach, indexing="ij")
    seen = view[3] > 0
    near = seen & (x.abs() < 2) & (z < 1.5)
    wrong = (view[0] + 0.5 - checkerboard(x, z)).abs()[near]
    assert near.sum() > 1000 and wrong.mean() < 0.05 and (wrong > 0.5).float().mean() < 0.01
    assert bool(seen[GROUND // 2, GROUND // 2]) and view[:, ~seen].abs().max() == 0
    # What is not in the picture is not seen: just the camera's trapezium.
    points = torch.stack([x + place[0] / -place[1], torch.full_like(x, -1.0), z + place[2] / -place[1]], -1)
    uv, depth = camera.project(camera.position + points.double().numpy())
    inside = torch.from_numpy((uv[..., 0] > 0) & (uv[..., 0] < 1024) & (uv[..., 1] > 0) & (uv[..., 1] < 768)
                              & (depth > 0))
    assert (inside != seen).float().mean() < 0.002


def test_the_mirrored_plate_has_the_mirrored_ground() -> None:
    camera = Camera.looking(512, 384, 70, pitch_deg=25, roll_deg=4)
    place = rays_of(camera)[260, 150]
    photo, rays = ground_photo(camera, place)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = from_above(photo.flip(-1), rays.flip(-1) * flip[:, None, None], (place * flip)[None], 4.0)
    torch.testing.assert_close(mirrored, from_above(photo, rays, place[None], 4.0).flip(-1), atol=1e-3, rtol=0)


def test_the_inverse_is_that_of_the_library() -> None:
    m = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(3)
    torch.testing.assert_close(_inverse(m), torch.linalg.inv(m), rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------------------------------------ camera's frame
def test_facing() -> None:
    camera = Camera.looking(80, 60, 60, pitch_deg=15, yaw_deg=-130)
    yaw, ahead = facing(rays_of(camera))
    assert yaw == pytest.approx(-130, abs=1e-3)
    torch.testing.assert_close(ahead, rays_of(Camera.looking(80, 60, 60, pitch_deg=15)), atol=1e-5, rtol=0)
    down = rays_of(Camera.looking(80, 60, 60, pitch_deg=90))
    assert facing(down)[0] == 0.0


def test_turned_to_the_front() -> None:
    for yaw_deg in (0.0, 37.0, -150.0):
        a = math.radians(yaw_deg)
        given = torch.tensor([math.sin(a), 0.3, math.cos(a)])
        torch.testing.assert_close(given @ turn_to_front(yaw_deg, given), torch.tensor([0.0, 0.3, 1.0]))


def test_the_mirrored_plate_has_mirrored_features() -> None:
    torch.manual_seed(0)
    rays = rays_of(Camera.looking(256, 192, 65, pitch_deg=12))[None]
    plate, place = torch.rand(1, 3, 192, 256), rays[:, 150, 60]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    here, there = features(plate, rays, place), features(plate.flip(-1), rays, place * flip)
    torch.testing.assert_close(there.photo, here.photo.flip(-1))
    torch.testing.assert_close(there.base, here.base.flip(-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(there.ground, here.ground.flip(-1), atol=2e-3, rtol=0)
    # Of sphere and plate the planes that hold x change their sign.
    for key, planes in (("sphere", [10]), ("coarse", [1])):
        a, b = getattr(here, key).flip(-1), getattr(there, key).clone()
        b[:, planes] *= -1
        torch.testing.assert_close(b, a, atol=2e-3, rtol=0, msg=key)


def test_parts_of_a_plate_look_where_they_were_cut_out() -> None:
    """A plate whose colours are its directions: so are those of its parts, at the network's size."""
    rays = rays_of(Camera.looking(600, 400, 70, pitch_deg=15, yaw_deg=40))
    plate = (0.5 + 0.4 * rays).permute(2, 0, 1)[None]
    parts = windows(plate, rays)
    for piece, ahead in parts:
        assert max(piece.shape[2:]) == max(PLATE) and piece.shape[2:] == ahead.shape[:2]
        torch.testing.assert_close(ahead.norm(dim=-1), torch.ones(ahead.shape[:2]))
        torch.testing.assert_close(piece[0].permute(1, 2, 0), 0.5 + 0.4 * ahead, atol=2e-3, rtol=0)
    lowest = rays[-1, 300]
    assert any(float((ahead @ lowest).max()) > 0.9999 for _, ahead in parts), "the ground is looked at"
    left = sorted(float(ahead[0, 0] @ rays[0, 0]) for _, ahead in parts)
    assert left[0] < left[-1]


def test_features_on_another_device() -> None:
    camera = Camera.looking(128, 96, 60, pitch_deg=8)
    plate, rays = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0)), rays_of(camera)
    here = features(plate, rays[None])
    with far_device() as chosen:
        there = features(plate.to(chosen.torch), rays[None].to(chosen.torch))
        assert there.sphere.device.type == there.ground.device.type == KIND
        there = device.moved(there, CPU)
    for key, value in vars(here).items():
        assert torch.equal(getattr(there, key), value), key
