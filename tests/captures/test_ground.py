"""Ground planes of sequences whose truth is known."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.captures.ground import fit_ground, mean_up
from dipir.errors import SceneError


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between unit vectors."""
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def turned(seed: int) -> np.ndarray:
    """(4, 4) some rotation, scale and shift of the world."""
    rng = np.random.default_rng(seed)
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = (q if np.linalg.det(q) > 0 else -q), rng.normal(size=3) * 5
    return out


def orbit(count: int = 12, around: float = 360, radius: float = 2.0, height: float = 1.0) -> list[np.ndarray]:
    """Cameras that look at the origin, from ``around`` degrees of a circle."""
    poses = []
    for angle in np.deg2rad(np.linspace(0, around, count, endpoint=around < 360)):
        place = np.array([radius * np.sin(angle), height, -radius * np.cos(angle)])
        forward = -place / np.linalg.norm(place)
        left = np.cross([0, 1.0, 0], forward)
        left /= np.linalg.norm(left)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = np.stack([left, np.cross(forward, left), forward], 1), place
        poses.append(pose)
    return poses


def cloud(seed: int = 0, ground: int = 600, thing: int = 1500, noise: float = 0.004, stray: int = 40) -> np.ndarray:
    """A thing on a floor: points of its box, of the floor around it, and strays."""
    rng = np.random.default_rng(seed)
    floor = rng.uniform(-1.2, 1.2, (ground, 3)) * [1, 0, 1]
    box = rng.uniform([-0.3, 0, -0.3], [0.3, 0.7, 0.3], (thing, 3))
    face = rng.integers(3, size=thing)
    box[face == 0, 0] = 0.3 * rng.choice([-1, 1], (face == 0).sum())
    box[face == 1, 1] = 0.7
    box[face == 2, 2] = 0.3 * rng.choice([-1, 1], (face == 2).sum())
    wild = rng.uniform([-2, -0.3, -2], [2, 2, 2], (stray, 3))
    return np.concatenate([floor, box, wild]) + noise * rng.normal(size=(ground + thing + stray, 3))


def moved(points: np.ndarray, poses: list[np.ndarray], world: np.ndarray, scale: float = 1.0):
    def put(p):
        return scale * p @ world[:3, :3].T + world[:3, 3]
    out = []
    for pose in poses:
        new = np.eye(4)
        new[:3, :3], new[:3, 3] = world[:3, :3] @ pose[:3, :3], put(pose[:3, 3])
        out.append(new)
    return put(points), np.stack(out)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("around", [360, 80])
@pytest.mark.parametrize("scale", [0.01, 30.0])
def test_the_plane_is_found_in_any_world(seed, around, scale):
    world = turned(seed)
    points, poses = moved(cloud(seed), orbit(around=around), world, scale)
    ground = fit_ground(points, poses)
    assert apart(ground.normal, world[:3, 1]) < 0.6
    assert abs(ground.height(world[:3, 3])) < 0.01 * scale
    assert ground.confidence > 0.7 and ground.height(poses[:, :3, 3]).min() > 0


def test_a_table_top_is_not_the_side_of_the_thing():
    """More points on one wall of a large box than on the floor: the cameras say what is up."""
    rng = np.random.default_rng(0)
    wall = np.stack([np.full(3000, 0.3), *rng.uniform([0, -0.3], [0.7, 0.3], (3000, 2)).T], 1)
    points, poses = moved(np.concatenate([cloud(), wall + 0.002 * rng.normal(size=wall.shape)]), orbit(), turned(1))
    ground = fit_ground(points, poses)
    assert apart(ground.normal, turned(1)[:3, 1]) < 1


def test_without_points_it_is_a_guess_of_confidence_0():
    points, poses = moved(np.zeros((0, 3)), orbit(), turned(2))
    ground = fit_ground(points, poses)
    assert ground.confidence == 0 and apart(ground.normal, turned(2)[:3, 1]) < 0.1
    assert ground.height(poses[:, :3, 3]).min() > 0
    with pytest.raises(SceneError):
        fit_ground(points, poses[:0])


def test_noise_has_little_confidence():
    rng = np.random.default_rng(3)
    ground = fit_ground(rng.normal(size=(2000, 3)) * 0.5, np.stack(orbit()))
    assert ground.confidence < 0.3


def test_up_of_one_sided_views_comes_from_their_left_directions():
    """Cameras that all look down by 27 degrees from one side: the mean of their own ups leans."""
    poses = np.stack(orbit(around=80))
    assert apart(mean_up(poses), np.array([0.0, 1, 0])) < 0.1
    alone = mean_up(poses[:1])
    assert np.allclose(alone, poses[0, :3, 1])
