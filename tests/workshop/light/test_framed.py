"""Crops framed anew: what lies in a direction of the surroundings lies there in the plate."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.scene.source import Source
from dipir.workshop import crops as single
from dipir.workshop.light.batches import HEIGHT, WIDTH, directions, ship
from dipir.workshop.light.framed import Framed, _moved, _sampled, about, crops, exposure, random_view, rolled
from dipir.workshop.light.places import FAINT, Places
from dipir.workshop.stored import part
from tests.support.far import KIND, far_device
from tests.support.light_sets import angle_deg, sky_with_sun, told_colours, unit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def two() -> Places:
    """A sunny place, and one whose colours say where they come from."""
    sunny = sky_with_sun(128, Source(unit(30, 25), torch.tensor([9.0, 8.0, 6.0]), 0.03))
    return Places.of([sunny, told_colours(latlong.directions(128, 256))], 128)


@pytest.mark.parametrize("turn", [0, 37, 90, 127])
def test_the_sun_lies_in_the_plate_where_its_direction_says(two: Places, turn: int) -> None:
    turns, row = torch.tensor([float(turn)]), torch.tensor([0])
    direction = about(two.direction[row], turns)
    azimuth = math.degrees(math.atan2(float(direction[0, 0]), float(direction[0, 2])))
    # Rolled on until the sun stands before the camera.
    more = round(azimuth / 360 * 128)
    turns = turns + more
    direction = about(two.direction[row], turns)
    camera = torch.tensor([[70.0, -20.0, 2.0]])
    plate = crops(two.padded, row, camera, turns, 2)[0].sum(0)
    rays = directions(camera, WIDTH, HEIGHT)[0]
    brightest = rays.reshape(-1, 3)[int(plate.argmax())]
    assert plate.max() > 20 and angle_deg(brightest, direction[0]) < 1.5
    env = rolled(two.rest[row] + 0, turns)
    assert env.shape == (1, 64, 128, 3)
    whole = rolled(Framed(two).whole[row], turns)[0].sum(-1)
    assert angle_deg(latlong.directions(64, 128).reshape(-1, 3)[int(whole.argmax())], direction[0]) < 2.1


def test_crops_are_those_of_one_by_one(two: Places) -> None:
    numbers = {k: torch.tensor(v) for k, v in (("chosen", [0, 1, 1]), ("turn", [5.0, 64.0, 100.0]))}
    camera = torch.tensor([[55.0, 10.0, 2.0], [80.0, -5.0, 0.0], [48.0, 30.0, -3.0]])
    made = crops(two.padded, numbers["chosen"], camera, numbers["turn"], 2)
    for k, (fov, pitch, roll) in enumerate(camera.tolist()):
        panorama = single.Panorama(two.padded[numbers["chosen"][k]].float(), two.rest[0])
        lens = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
        plate, _ = single.turned_crop(panorama, lens, float(numbers["turn"][k]) / 128, False, 2)
        assert ((made[k] - plate).abs() / (1 + plate)).max() < 2e-3


def test_plates_show_their_light(two: Places) -> None:
    """Unmoved ones of the coloured place: each pixel, over the exposure, is what its direction says, turned; the map
    too."""
    framed = Framed(two)
    columns = framed.columns(np.random.default_rng(0), 6)
    columns |= {"panorama": np.ones(6, int), "moved": np.zeros(6)}
    raw = framed.plates(ship(columns, CPU))
    rays = directions(raw.camera, WIDTH, HEIGHT)
    for k in range(6):
        back = about(rays[k].reshape(-1, 3), torch.tensor(-float(columns["turn"][k]))).reshape(rays[k].shape)
        expected = told_colours(back).permute(2, 0, 1)
        gain = raw.plate[k].mean() / expected.mean()
        torch.testing.assert_close(raw.plate[k], expected * gain, rtol=0.02, atol=0.02)
        seen = latlong.sample(raw.rest[k], rays[k]).permute(2, 0, 1)
        assert (seen - raw.plate[k]).abs().mean() < 0.02 * float(gain)
        assert float(raw.plate[k].flatten().quantile(0.9)) == pytest.approx(1.0, abs=1e-3)
    assert raw.irradiance.abs().max() < 1e-3


def test_exposure_scales_the_source_with_the_plate(two: Places) -> None:
    framed = Framed(two)
    columns = framed.columns(np.random.default_rng(1), 4)
    columns |= {"panorama": np.zeros(4, int), "moved": np.zeros(4)}
    raw = framed.plates(ship(columns, CPU))
    bare = crops(two.padded, torch.zeros(4, dtype=torch.long), raw.camera, torch.from_numpy(columns["turn"]).float(), 2)
    gain = exposure(bare)
    torch.testing.assert_close(raw.irradiance, two.irradiance[:1] * gain[:, None])
    torch.testing.assert_close(raw.plate, bare * gain[:, None, None, None])
    torch.testing.assert_close(raw.direction, about(two.direction[:1].expand(4, -1), torch.from_numpy(columns["turn"])
                                                    .float()))
    # The even part of that sky is 1, in the plate's unit the gain.
    torch.testing.assert_close(raw.rest[:, 0, 0, 0], gain, rtol=1e-2, atol=0)


def test_sunny_places_are_favoured_and_stay_where_they_are(two: Places) -> None:
    columns = Framed(two, favour=3.0).columns(np.random.default_rng(0), 4000)
    assert abs((columns["panorama"] == 0).mean() - 0.75) < 0.03
    assert not columns["moved"][columns["panorama"] == 0].any() and columns["moved"].any()
    assert float(two.share[0]) > FAINT > float(two.share[1])


def test_random_views_look_at_their_place() -> None:
    numbers = random_view(np.random.default_rng(0), 500)
    place, camera = torch.from_numpy(numbers["place"]).float(), torch.from_numpy(numbers["camera"]).float()
    torch.testing.assert_close(place.norm(dim=1), torch.ones(500))
    below = torch.rad2deg(torch.asin(-place[:, 1]))
    assert below.min() >= 3.99 and below.max() <= 45.01
    rays = directions(camera, 32, 24).reshape(500, -1, 3)
    nearest = (rays * place[:, None]).sum(-1).amax(1).clamp(-1, 1).acos()
    assert (nearest < math.radians(5)).float().mean() > 0.8


# ------------------------------------------------------------------------------------------------ other viewpoints
def _numbers(shift: list[float], below: float) -> dict[str, torch.Tensor]:
    return {"shift": torch.tensor([shift]), "below": torch.tensor([below])}


def test_the_old_viewpoint_sees_the_same() -> None:
    rays = latlong.directions(16, 32)[None]
    torch.testing.assert_close(_moved(rays, _numbers([0.0, 0, 0], 0.4)), rays, atol=1e-6, rtol=0)


def test_a_moved_viewpoint_sees_points_of_ball_and_floor() -> None:
    """From (0.4, 0, 0): straight down the floor 0.5 below is under the new place, straight ahead the ball is at
    distance sqrt(1 - 0.16), and behind it nearer than in front."""
    rays = torch.tensor([[[[0.0, -1, 0], [0.0, 0, 1], [1.0, 0, 0]]]])
    down, side, ahead = _moved(rays, _numbers([0.4, 0.0, 0.0], 0.5))[0, 0]
    torch.testing.assert_close(down, torch.tensor([0.4, -0.5, 0]) / math.hypot(0.4, 0.5))
    torch.testing.assert_close(side, torch.tensor([0.4, 0, math.sqrt(0.84)]))
    torch.testing.assert_close(ahead, torch.tensor([1.0, 0, 0]))


def test_a_lamp_comes_nearer_and_keeps_its_radiance() -> None:
    """Moving 0.5 towards a lamp of the ball: the same radiance, about twice the solid angle's root."""
    env = torch.zeros(1, 64, 128, 3)
    rays = latlong.directions(64, 128)
    env[0, rays @ torch.tensor([0.0, 0.0, 1.0]) > math.cos(math.radians(12))] = 7.0
    got = _sampled(env, _moved(rays[None], _numbers([0.0, 0.0, 0.5], 0.5)))
    assert float(got.max()) == pytest.approx(7.0, rel=1e-4)
    before, after = ((x[0, ..., 0] * latlong.solid_angles(64, 128)).sum() for x in (env, got))
    assert 3.0 < float(after / before) < 4.2


def test_on_another_device(two: Places) -> None:
    framed = Framed(two)
    columns = framed.columns(np.random.default_rng(3), 3)
    here = framed.plates(ship(columns, CPU))
    with far_device() as chosen:
        far = Framed(Places(*(v.to(chosen.torch) for v in vars(two).values())))
        there = far.plates(ship(columns, chosen.torch))
        assert there.plate.device.type == KIND
        there = type(there)(*(v.cpu() for v in vars(there).values()))
    for key, value in vars(here).items():
        torch.testing.assert_close(getattr(there, key), value, msg=key)
    assert part(two, slice(0, 1)).sigma.shape == (1,)
