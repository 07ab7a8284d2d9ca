"""Batches assembled at once: the same crops and photos as one by one, on any device, and in distribution the same."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.workshop import crops
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light import pairs as light_pairs
from dipir.workshop.light.batches import Framed, Stored
from dipir.workshop.light.pairs import HEIGHT, WIDTH, Moved, PairSet
from tests.support.far import KIND, far_device

CPU = torch.device("cpu")


def panorama(seed: int, height: int = 128, sun: float = 0.0) -> crops.Panorama:
    rng = np.random.default_rng(seed)
    rays = latlong.directions(height, 2 * height)
    axis = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=3) + [0, 2, 0]).float(), dim=0)
    wave = (rays @ torch.from_numpy(rng.normal(size=(3, 3)) * 4).float()).sin()
    return crops.prepare(0.5 + 0.4 * wave + sun * (100 * ((rays @ axis)[..., None] - 1)).exp())


@pytest.fixture(scope="module")
def panoramas() -> list[crops.Panorama]:
    return [panorama(0), panorama(1, sun=3000.0), panorama(2)]


@pytest.fixture(scope="module")
def pairs(panoramas) -> PairSet:
    framed = Framed(panoramas, CPU)
    rng = np.random.default_rng(3)
    plate, env, camera = framed.plates(light_batches.ship(framed.columns(rng, 6), CPU))
    return PairSet(plate.half(), env, camera, torch.tensor([1.0, 2, 0, 1, 3, 1]))


def test_directions_are_those_of_the_cameras():
    lenses = [[50.0, 12.0, 3.0], [82.0, -6.0, -2.0], [45.0, 32.0, 0.0]]
    made = light_batches.directions(torch.tensor(lenses), WIDTH, HEIGHT)
    for rays, (fov, pitch, roll) in zip(made, lenses, strict=True):
        camera = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
        assert (rays - torch.from_numpy(camera.directions()).float()).abs().max() < 1e-5


def test_crops_are_those_of_one_by_one(panoramas):
    """The whole batch at once against ``crops.turned_crop`` and ``light_pairs._crop``'s light, same numbers."""
    framed = Framed(panoramas, CPU)
    columns = framed.columns(np.random.default_rng(0), 24)
    assert 3 < columns["moved"].sum() < 21 and not columns["moved"][columns["panorama"] == 1].any()
    numbers = light_batches.ship(columns, CPU)
    made, (plates, envs, _) = framed.crops(numbers), framed.plates(numbers)
    for k in range(24):
        fov, pitch, roll = map(float, columns["camera"][k].astype(np.float32))
        source, turn = panoramas[columns["panorama"][k]], int(columns["turn"][k])
        moved = Moved(torch.from_numpy(columns["shift"][k]).float(), float(columns["below"][k]))
        moved = moved if columns["moved"][k] else None
        camera = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
        plate, _ = crops.turned_crop(source, camera, turn / 128, False, 2, moved)
        assert ((made[k] - plate).abs() / (1 + plate)).max() < 1e-4
        env = torch.roll(source.env, turn, 1)
        env = latlong.resize(env if moved is None else light_pairs._sampled(env, moved), 16, 32)
        gain = 1 / plate.flatten().quantile(0.9).clamp_min(1e-6)
        assert ((envs[k] - env * gain).abs() / (1 + env * gain)).max() < 1e-4
        assert ((plates[k] - plate * gain).abs() / (1 + plate * gain)).max() < 1e-3  # Half precision.


class Told:
    """A generator that gives the numbers it is told, in the order in which ``light_pairs._one`` asks for them."""

    def __init__(self, numbers) -> None:
        self.numbers = list(numbers)

    def _next(self, *_, **__):
        return self.numbers.pop(0)

    random = uniform = integers = normal = choice = _next


def told(c: dict[str, np.ndarray], k: int, config: crops.CropConfig) -> Told:
    """What ``_one`` must be told to make the photo number ``k`` of the columns ``c``."""
    def flag(yes):
        return 0.0 if yes else 1.0
    window = c["wide"][k] < WIDTH or c["tall"][k] < HEIGHT
    numbers = [flag(c["mirrored"][k]), flag(window)]
    if window:
        numbers += [c["wide"][k] / WIDTH, c["tall"][k] / HEIGHT, int(c["top"][k])]
    numbers += [(c["amount"][k] - 1) / config.saturation]
    automatic = c["metering"][k] == 3
    numbers += [0 if automatic else int(c["metering"][k]), flag(automatic), None, float(c["balance"][k]),
                np.log(c["jitter"][k]) / config.balance, np.log2(c["exposure"][k])]
    response = c["gamma"][k] != 1
    numbers += [flag(response)]
    if response:
        numbers += [np.log(c["gamma"][k]) / 0.15, c["contrast"][k], c["saturation"][k]]
    covered = c["cover_tall"][k] > 0
    numbers += [flag(covered)]
    if covered:
        numbers += [(c["cover_tall"][k] + 0.5) / HEIGHT, (c["cover_wide"][k] + 0.5) / WIDTH, int(c["cover_top"][k]),
                    int(c["cover_left"][k]), c["colour"][k].reshape(3, 1, 1)]
    return Told(numbers)


def test_photos_are_those_of_one_by_one(pairs):
    config = crops.CropConfig(noise=0, response=0.6, covered=0.5)
    source, rng = Stored(pairs, CPU), np.random.default_rng(5)
    taken, columns = source.columns(rng, 40), light_batches.columns(rng, 40, config)
    numbers = light_batches.ship({**taken, **columns}, CPU)
    batch = light_batches.photos(*source.plates(numbers), numbers)
    assert 2 not in taken["row"]
    wrong = 0
    for k, row in enumerate(taken["row"]):
        generator = told(columns, k, config)
        photo, directions, env = light_pairs._one(generator, pairs, int(row), config)
        assert generator.numbers == []
        assert (batch.directions[k] - directions).abs().max() < 1e-4
        assert ((batch.env[k] - env).abs() / (1 + env)).max() < 1e-4
        off = (batch.plate_disp[k] - photo).abs()
        # Where a value lies between two of the 256 steps, rounding decides.
        assert off.max() < 1.01 / 255
        wrong += float((off > 1e-4).float().mean()) / 40
    assert wrong < 1e-3


def test_numbers_are_distributed_as_those_of_one_by_one(pairs):
    """Means of many photos, light and directions of both ways."""
    ours = light_batches.draw(np.random.default_rng(0), [(200, Stored(pairs, CPU))])
    theirs = light_pairs.draw(np.random.default_rng(1), pairs, 200)
    for key, near in (("plate_disp", 0.03), ("env", 0.12), ("directions", 0.02)):
        a, b = getattr(ours, key), getattr(theirs, key)
        assert a.shape == b.shape and float((a.mean() - b.mean()).abs()) < near, key
        assert 0.8 < float(a.std() / b.std()) < 1.25, key


def test_grain_is_noise_of_the_told_deviation(pairs):
    config = crops.CropConfig(noise=0.01)
    rng = np.random.default_rng(5)
    source = Stored(pairs, CPU)
    columns = {**source.columns(rng, 16), **light_batches.columns(rng, 16, config)}
    columns |= {"noise": np.full(16, 0.05), "cover_tall": np.zeros(16)}
    numbers = light_batches.ship(columns, CPU)
    strip = light_batches.noise_strip(CPU)
    assert abs(float(strip.mean())) < 1e-3 and abs(float(strip.std()) - 1) < 1e-3
    noisy, clear = (light_batches.photos(*source.plates(numbers), numbers, s) for s in (strip, None))
    inside = (clear.plate_disp > 0.25) & (clear.plate_disp < 0.75)
    assert 0.048 < float((noisy.plate_disp - clear.plate_disp)[inside].std()) < 0.052


def test_same_batch_on_another_device(panoramas, pairs):
    def rng():
        return np.random.default_rng(7)
    here = light_batches.draw(rng(), [(4, Framed(panoramas, CPU)), (4, Stored(pairs, CPU))])
    with far_device() as chosen:
        there = chosen.torch
        far = light_batches.draw(rng(), [(4, Framed(panoramas, there)), (4, Stored(pairs, there))])
        assert far.plate_disp.device.type == KIND
        parts = [getattr(far, key).cpu() for key in ("plate_disp", "directions", "env")]
    for part, key in zip(parts, ("plate_disp", "directions", "env"), strict=True):
        assert torch.equal(part, getattr(here, key)), key


def test_a_batch_follows_from_its_generator(panoramas):
    source = Framed(panoramas, CPU)
    one, two = (light_batches.draw(np.random.default_rng(7), [(3, source)]) for _ in range(2))
    other = light_batches.draw(np.random.default_rng(8), [(3, source)])
    assert torch.equal(one.plate_disp, two.plate_disp) and not torch.equal(one.plate_disp, other.plate_disp)


def test_panoramas_of_two_sizes(panoramas):
    mixed = Framed([panoramas[0], panorama(0, 64)], CPU)
    numbers = light_batches.ship(mixed.columns(np.random.default_rng(0), 4), CPU)
    large, small = (mixed.crops({**numbers, "panorama": torch.full((4,), float(k))}) for k in (0, 1))
    assert (large - small).abs().mean() < 0.02


def test_lights(panoramas):
    env = Framed(panoramas, CPU).lights(np.random.default_rng(0), 10, chunk=4)
    assert env.shape == (10, 16, 32, 3) and bool(torch.isfinite(env).all()) and env.device == CPU
