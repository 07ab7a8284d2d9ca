"""Parametric shapes against the volumes of solids."""
from __future__ import annotations

import math

import numpy as np
import pytest

from dipir.scene.assets.mesh import signed_volume
from dipir.workshop.things import shapes


@pytest.mark.parametrize("shape, volume", [
    (shapes.sphere(96), math.pi / 6), (shapes.cylinder(96), math.pi / 4), (shapes.cylinder(96, 0.0), math.pi / 12),
    (shapes.capsule(96, 2.0), math.pi / 6 + 2 * math.pi / 4), (shapes.torus(96, 0.3), 2 * math.pi**2 * 0.3**2),
    (shapes.box((1, 2, 3)), 6.0), (shapes.prism(np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], float)), 2.0),
    (shapes.tube(np.linspace([0, 0, 0], [0, 2, 0], 9), 0.5, 96), math.pi / 2)])
def test_volumes(shape, volume):
    """Closed and turned outwards, else the signed volume would be another."""
    assert signed_volume(*shape[:2]) == pytest.approx(volume, rel=0.01)


def test_a_rounded_box_lies_between_its_core_and_its_box():
    size, radius = np.array([1.0, 2.0, 1.5]), 0.3
    vertices, faces, _ = shapes.rounded_box(size, radius, 24)
    core = np.clip(vertices, -size / 2 + radius, size / 2 - radius)
    np.testing.assert_allclose(np.linalg.norm(vertices - core, axis=1), radius, atol=1e-9)
    inner = size - 2 * radius
    steiner = inner.prod() + 2 * radius * (inner[0] * inner[1] + inner[1] * inner[2] + inner[0] * inner[2])
    steiner += math.pi * radius**2 * inner.sum() + 4 / 3 * math.pi * radius**3
    assert signed_volume(vertices, faces) == pytest.approx(steiner, rel=0.01)


def test_outward_turns_and_drops_what_has_no_area():
    vertices, faces, uvs = shapes.box()
    inside = (vertices, np.concatenate([faces[:, ::-1], [[0, 0, 1]]]), uvs)
    assert signed_volume(*shapes.outward(inside)[:2]) == pytest.approx(1) and len(shapes.outward(inside)[1]) == 12


def test_joined_shapes_add_up():
    far = shapes.box((1, 1, 1), (5, 0, 0))
    both = shapes.joined([shapes.sphere(48), far])
    assert signed_volume(*both[:2]) == pytest.approx(signed_volume(*shapes.sphere(48)[:2]) + 1, rel=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_outlines_are_seen_from_their_middle(seed):
    outline = shapes.star(np.random.default_rng(seed))
    angle = np.unwrap(np.arctan2(outline[:, 1], outline[:, 0]))
    assert (np.diff(angle) > 0).all() and angle[-1] - angle[0] < 2 * math.pi and np.hypot(*outline.T).min() > 0.3
