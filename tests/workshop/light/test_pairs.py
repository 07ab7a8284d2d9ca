"""Batches of stored pairs: exposure acts on plate and light alike, mirroring and windows keep the directions true."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.scene.camera import Camera
from dipir.workshop import crops
from dipir.workshop.light import pairs as light_pairs
from dipir.workshop.light.pairs import HEIGHT, WIDTH, PairSet

PLAIN = crops.CropConfig(stops=0, balance=0, response=0, noise=0, saturation=0, covered=0)


@pytest.fixture(scope="module")
def panorama():
    """Radiance that says where it comes from: red = x, green = y, blue = z, each from 0 to 0.8."""
    return crops.prepare(0.4 + 0.4 * latlong.directions(128, 256))


@pytest.fixture
def pairs(panorama, tmp_path, monkeypatch) -> PairSet:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    return light_pairs.frame_panoramas([panorama], each=6, seed=1)


def test_photographed_pairs_show_their_light(pairs):
    """The environment sampled in the pixels' directions is the plate."""
    for plate, env, (fov, pitch, roll) in zip(pairs.plate, pairs.env, pairs.camera.tolist(), strict=True):
        camera = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
        seen = latlong.sample(env, torch.from_numpy(camera.directions()).float()).permute(2, 0, 1)
        assert (seen - plate.float()).abs().mean() < 0.02


def test_photographed_pairs_come_from_the_cache(pairs, panorama, monkeypatch):
    monkeypatch.setattr(crops, "turned_crop", lambda *a, **k: pytest.fail("made again"))
    again = light_pairs.frame_panoramas([panorama], each=6, seed=1)
    assert torch.equal(again.plate, pairs.plate) and torch.equal(again.env, pairs.env)


def test_a_cache_file_cut_short_is_made_again(pairs, panorama, tmp_path):
    path = next((tmp_path / "views").iterdir())
    start = path.read_bytes()[:500]
    path.unlink()  # ``pairs`` still reads the old file
    path.write_bytes(start)
    assert torch.equal(light_pairs.frame_panoramas([panorama], each=6, seed=1).plate, pairs.plate)


def test_drawn_photos_agree_with_their_directions_and_light(pairs):
    """Mirrored or not, cut or not: where nothing is clipped, the plate is the environment in its directions."""
    batch = light_pairs.draw(np.random.default_rng(0), pairs, 24, PLAIN)
    assert batch.plate_disp.shape == (24, 3, HEIGHT, WIDTH) and batch.directions.shape == (24, HEIGHT, WIDTH, 3)
    torch.testing.assert_close(batch.directions.norm(dim=-1), torch.ones(24, HEIGHT, WIDTH))
    extents = set()
    for plate, directions, env in zip(batch.plate_disp, batch.directions, batch.env, strict=True):
        seen = latlong.sample(env, directions).permute(2, 0, 1)
        clear = plate < 0.99
        error = (seen - srgb_to_linear(plate)).abs()[clear]
        assert error.mean() < 0.02 * float(seen.mean()) + 0.01
        extents.add(round(float(directions[HEIGHT // 2, 0] @ directions[HEIGHT // 2, -1]), 3))
    assert len(extents) > len(pairs.plate)  # the windows make fields of view that no stored pair has


def test_draw_is_deterministic_and_degrades(pairs):
    a, b = (light_pairs.draw(np.random.default_rng(5), pairs, 4) for _ in range(2))
    assert torch.equal(a.plate_disp, b.plate_disp) and torch.equal(a.env, b.env)
    levels = light_pairs.draw(np.random.default_rng(6), pairs, 16).plate_disp.mean((1, 2, 3))
    assert levels.std() > 0.03
    assert torch.equal((a.plate_disp * 255).round() / 255, a.plate_disp)


def test_concentration_of_known_maps():
    even, one = torch.ones(16, 32, 3), torch.full((16, 32, 3), 1e-6)
    one[8, 31] = 1.0
    share = latlong.solid_angles(16, 32)[:, 0] / (4 * torch.pi)
    found = light_pairs.concentration(torch.stack([even, one]))
    assert found[0].item() == pytest.approx(3 * float(share[7:10].sum()), rel=0.05) and found[1].item() > 0.98


def test_pairs_are_drawn_like_the_model(pairs):
    """Three of four suns in one set, one of four in the model: weights make up for it."""
    even, sun = torch.ones(16, 32, 3), torch.ones(16, 32, 3)
    sun[5, 5] = 1e4
    plate, camera = pairs.plate[:1], pairs.camera[:1]

    def made(suns: int, count: int) -> PairSet:
        envs = torch.stack([sun] * suns + [even] * (count - suns))
        return PairSet(plate.expand(count, -1, -1, -1), envs, camera.expand(count, -1), torch.ones(count))
    mine, model = made(75, 100), made(10, 40)
    weight = light_pairs.like(mine, model).weight
    assert float(weight[:75].sum() / weight.sum()) == pytest.approx(0.25, abs=1e-4)
    batch = light_pairs.draw(np.random.default_rng(0), light_pairs.like(mine, model), 200, PLAIN)
    suns = (batch.env.amax((1, 2, 3)) / batch.env.mean((1, 2, 3)) > 20).float().mean()
    assert abs(float(suns) - 0.25) < 0.1


# ------------------------------------------------------------------------------------------------ other viewpoints
def test_the_old_viewpoint_sees_the_same():
    directions = latlong.directions(16, 32)
    assert torch.allclose(light_pairs.Moved(torch.zeros(3), 0.4)(directions), directions, atol=1e-6)


def test_a_moved_viewpoint_sees_points_of_ball_and_floor():
    """From (0.4, 0, 0): straight down the floor 0.5 below is under the new place, straight ahead the ball is at
    distance sqrt(1 - 0.16), and behind it nearer than in front."""
    moved = light_pairs.Moved(torch.tensor([0.4, 0.0, 0.0]), 0.5)
    down, side, ahead = moved(torch.tensor([[0.0, -1, 0], [0, 0, 1], [1.0, 0, 0]]))
    assert torch.allclose(down, torch.tensor([0.4, -0.5, 0]) / math.hypot(0.4, 0.5), atol=1e-6)
    assert torch.allclose(side, torch.tensor([0.4, 0, math.sqrt(0.84)]), atol=1e-6)
    assert torch.allclose(ahead, torch.tensor([1.0, 0, 0]), atol=1e-6)


def test_a_lamp_comes_nearer_and_keeps_its_radiance():
    """Moving 0.5 towards a lamp of the ball: the same radiance, about twice the solid angle's root."""
    env = torch.zeros(64, 128, 3)
    near = latlong.directions(64, 128) @ torch.tensor([0.0, 0.0, 1.0]) > math.cos(math.radians(12))
    env[near] = 7.0
    got = light_pairs._sampled(env, light_pairs.Moved(torch.tensor([0.0, 0.0, 0.5]), 0.5))
    assert float(got.max()) == pytest.approx(7.0, rel=1e-4)
    before, after = ((x[..., 0] * latlong.solid_angles(*x.shape[:2])).sum() for x in (env, got))
    grown = float(after / before)
    assert 3.0 < grown < 4.2


def test_something_in_the_way_covers_a_part_of_the_photo():
    photo = torch.zeros(3, light_pairs.HEIGHT, light_pairs.WIDTH)
    covered = (light_pairs._covered(np.random.default_rng(1), photo) != 0).any(0).float().mean()
    assert 0.15 ** 2 * 0.8 < float(covered) < 0.26 and not photo.any()
