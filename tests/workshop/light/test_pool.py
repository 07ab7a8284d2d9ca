"""Pools of dressed crops: from seed and step alone, renewed part by part, true to their light."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.image.color import BT709
from dipir.scene.source import ground_irradiances
from dipir.workshop.light import framed
from dipir.workshop.light import pool as pools
from dipir.workshop.light.batches import Raw, directions, ship
from dipir.workshop.light.dressing import Lit
from dipir.workshop.light.places import Places
from dipir.workshop.light.pool import Pool, _own_sun, _painted, drawn_places, dress
from dipir.workshop.light.props import Props, random_things
from tests.support.light_sets import unit

CPU = torch.device("cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """``dress`` replaced by plates that hold their seed; the seeds asked for."""
    asked: list[int] = []

    def made(places: Places, seed: int, count: int) -> Raw:
        asked.append(seed)
        value = torch.full((count,), float(seed % 9973))
        return Raw(value.reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4), value.reshape(-1, 1, 1, 1).expand(-1, 2, 4, 3),
                   *(value[:, None].expand(-1, 3) for _ in range(2)), value, *(value[:, None].expand(-1, 3),) * 2)

    monkeypatch.setattr("dipir.workshop.light.pool.dress", made)
    return asked


def held(pool: Pool, step: int) -> torch.Tensor:
    pool.renewed(step)
    return pool.data.sigma.clone()


def test_a_resumed_run_has_the_same_pool(places: Places, quick: list[int]) -> None:
    whole = Pool(places, size=6, every=3, chunk=2, seed=5)
    seen = {step: held(whole, step) for step in range(20)}
    for step in (0, 4, 11, 19):
        assert torch.equal(held(Pool(places, size=6, every=3, chunk=2, seed=5), step), seen[step]), step
    assert not torch.equal(held(Pool(places, size=6, every=3, chunk=2, seed=6), 0), seen[0])


def test_one_part_is_renewed_at_a_time(places: Places, quick: list[int]) -> None:
    pool = Pool(places, size=6, every=3, chunk=2, seed=5)
    before = held(pool, 0)
    assert len(set(quick)) == 3 and len(before) == 6
    for turn, parts in ((1, [0]), (2, [1]), (3, [2]), (4, [0])):
        for step in (3 * turn, 3 * turn + 1, 3 * turn + 2):
            now = held(pool, step)
            changed = (now != before).reshape(3, 2).all(1).nonzero()[:, 0].tolist()
            assert changed == (parts if step == 3 * turn else []), step
            before = now
    assert len(set(quick)) == len(quick) == 7


def test_plates_are_rows_of_the_pool(places: Places, quick: list[int]) -> None:
    pool = Pool(places, size=5, every=3, chunk=2, seed=5)  # Two whole parts fit.
    pool.renewed(0)
    columns = pool.columns(np.random.default_rng(0), 50)
    assert set(columns["row"].tolist()) == {0, 1, 2, 3}
    raw = pool.plates(ship(columns, CPU))
    assert torch.equal(raw.sigma, pool.data.sigma[torch.from_numpy(columns["row"])])
    assert raw.plate.dtype == torch.float32 and pool.data.plate.dtype == torch.half


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plates of 48 x 64 pixels: those of the network cost seconds each."""
    for module in (pools, framed):
        monkeypatch.setattr(module, "HEIGHT", 48)
        monkeypatch.setattr(module, "WIDTH", 64)


def test_dressed_crops(places: Places, small: None) -> None:
    """Exposed, with a place on the ground, and the same from the same seed."""
    one, again, other = dress(places, 3, 4), dress(places, 3, 4), dress(places, 4, 4)
    for key, value in vars(one).items():
        assert torch.equal(value, getattr(again, key)) and bool(torch.isfinite(value).all()), key
    assert not torch.equal(one.plate, other.plate)
    assert one.plate.shape == (4, 3, 48, 64) and one.rest.shape == (4, 16, 32, 3)
    torch.testing.assert_close(one.plate.flatten(1).quantile(0.9, dim=1), torch.ones(4), rtol=1e-3, atol=0)
    assert bool((one.place[:, 1] < 0).all()) and bool((one.irradiance >= 0).all()) and bool((one.rest >= 0).all())
    torch.testing.assert_close(one.direction.norm(dim=1), torch.ones(4))


def test_bare_ground_is_as_bright_in_the_plate_as_in_the_truth(places: Places, small: None, monkeypatch) -> None:
    """No things, no paint: what the plate shows below the horizon is what the truth has there, where a sun of our own
    lights it too."""
    def nothing(rng: np.random.Generator, count: int, *rest) -> Props:
        made = random_things(rng, count, *rest)
        return replace(made, kind=torch.zeros_like(made.kind))
    monkeypatch.setattr(pools, "random_things", nothing)
    monkeypatch.setattr(pools, "_painted", lambda *given: None)
    even = torch.full((64, 128, 3), 0.8)
    raw = dress(Places.of([even, 1.5 * even], 64), 1, 12)
    sunny = raw.irradiance.amax(1) > 0
    assert 1 <= int(sunny.sum()) <= 9 and not bool(places.plain.any())
    rays = directions(raw.camera, 64, 48)
    for k in range(12):
        down, up = (raw.plate[k][:, part].mean() for part in (rays[k, ..., 1] < -0.05, rays[k, ..., 1] > 0.05))
        below, above = (raw.rest[k, rows].mean() for rows in (slice(9, 16), slice(0, 7)))
        torch.testing.assert_close(down, below, rtol=0.02, atol=0)
        assert bool(up.isnan()) or float(up) == pytest.approx(float(above), rel=0.02)
        assert (float(below / above) > 1.5) == bool(sunny[k])


def test_an_own_sun_has_the_share_that_is_asked_for() -> None:
    rest = torch.rand(3, 64, 128, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    sun = torch.stack([unit(50, 20), unit(-20, 45), unit(170, 60)])
    light = Lit(rest, unit(0, 40).expand(3, -1), torch.full((3, 3), 0.1), torch.full((3,), 0.02))
    numbers = {"own": torch.tensor([1.0, 1.0, 0.0]), "sun": sun, "strength": torch.tensor([0.6, 0.9, 0.8]),
               "warmth": torch.tensor([0.0, 0.1, 0.0])}
    made = _own_sun(light, numbers)
    weights = torch.tensor(BT709)
    own, around = made.ground() @ weights, ground_irradiances(rest) @ weights
    # The warmth moves luminance a little, and nine harmonics are not the map.
    torch.testing.assert_close((own / (own + around))[:2], torch.tensor([0.6, 0.9]), atol=0.02, rtol=0)
    assert torch.equal(made.direction[:2], sun[:2]) and torch.equal(made.direction[2], light.direction[2])
    assert torch.equal(made.irradiance[2], light.irradiance[2])
    assert made.sigma.tolist() == pytest.approx([0.0045, 0.0045, 0.02])
    assert made.irradiance[1, 0] > made.irradiance[1, 1] > made.irradiance[1, 2]


def test_painted_ground_is_the_ground_of_another_place(places: Places) -> None:
    camera = torch.tensor([[60.0, 40.0, 0.0]])
    rays = directions(camera, 32, 24)
    numbers = {"texture": torch.tensor([1.0]), "scale": torch.tensor([0.7]), "spin": torch.tensor([0.0]),
               "albedo": torch.tensor([0.3]), "paint": torch.tensor([1.0])}
    painted = _painted(places, rays, numbers)
    assert painted.albedo.shape == (1, 24 * 32, 3) and bool(painted.used)
    assert 0.005 <= painted.albedo.min() and painted.albedo.max() <= 0.9
    assert 0.1 < float(painted.albedo.mean()) < 0.6 and painted.albedo.std() > 0.02
    turned = _painted(places, rays, {**numbers, "spin": torch.tensor([1.0])})
    assert not torch.equal(turned.albedo, painted.albedo)


def test_drawn_places_follow_from_their_generator() -> None:
    one, two = (drawn_places(np.random.default_rng(2), 2) for _ in range(2))
    assert torch.equal(one.padded, two.padded) and not bool(one.plain.any())
