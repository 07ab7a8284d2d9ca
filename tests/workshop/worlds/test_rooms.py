"""Rooms: everything is inside, sun patches carry the light that falls on them."""
from __future__ import annotations

import math

import numpy as np
import pytest

from dipir.workshop.worlds import meshes, rooms


@pytest.mark.parametrize("seed", range(6))
def test_the_camera_stands_in_a_closed_room(seed):
    scene, eye = rooms.indoor(np.random.default_rng(seed))
    parts = {part["name"]: part for part in scene["parts"]}
    walls = np.concatenate([parts[f"wall{k}"]["vertices"] for k in range(4)])
    low, high = walls.min(0), walls.max(0)
    assert (low < eye).all() and (eye < high).all() and low[1] == 0
    assert sum(_area(parts[name]) for name in ("floor", "ceiling", *(f"wall{k}" for k in range(4)))) == pytest.approx(
        2 * sum(float(a * b) for a, b in ((high - low)[[0, 1]], (high - low)[[1, 2]], (high - low)[[0, 2]])), rel=1e-5)
    assert any(part["radiance"] is not None for part in scene["parts"]), "something must shine"


def _area(part) -> float:
    a, b, c = part["vertices"][part["faces"]].astype(float).transpose(1, 0, 2)
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())


def test_a_sun_patch_is_a_lamp_of_what_the_surface_reflects():
    rng = np.random.default_rng(3)
    room = rooms.Room((3.0, 3.0), 3.0, np.array([0.0, 1.5, 0.0]))
    rooms._shell(rng, room, dark=False)
    corner, along, normal, _ = rooms._walls(room.half)[0]
    room.panes.append(meshes.quad(corner + along + [0, 0.5, 0] + normal * 0.01, along * 4, [0, 2.0, 0]))
    sun, irradiance = rooms._sun_patches(rng, room)
    found = [part for part in room.world.parts() if part["name"].startswith("patch")]
    assert found
    for part in found:
        index = int(part["name"][5:])
        normal = np.array([0, 1.0, 0]) if index == 0 else rooms._walls(room.half)[index - 1][2]
        albedo = room.albedo["floor" if index == 0 else f"wall{index - 1}"]
        np.testing.assert_allclose(part["radiance"], albedo * irradiance * float(sun @ normal) / math.pi, rtol=1e-6)
        a, b, c = part["vertices"][part["faces"][0]].astype(float)
        assert np.cross(b - a, c - a) @ normal > 0, "only the front of a surface emits"
