"""Pieces of the procedural worlds: windings, merging, sun patches."""
from __future__ import annotations

import math

import numpy as np
import pytest

from dipir.workshop.worlds import meshes


def volume(piece):
    v, f, _ = piece
    a, b, c = v[f[:, 0]], v[f[:, 1]], v[f[:, 2]]
    return float((a * np.cross(b, c)).sum() / 6)


def test_box_and_ball_face_outwards():
    assert volume(meshes.box((1, 2, 3), 0.5)) == pytest.approx(6)
    assert volume(meshes.ball(1.0, rings=24)) == pytest.approx(4 / 3 * math.pi, rel=0.02)


def test_builder_merges_one_mesh_per_material_and_turning_is_rigid():
    world = meshes.Builder()
    world.material("a", np.array([0.1, 0.2, 0.3]), 2.0)
    world.material("unused", np.array([0.1, 0.2, 0.3]))
    for x in (0, 5):
        world.add("a", meshes.place(meshes.box((1, 1, 1)), (x, 0, 0), 0.7))
    (part,) = world.parts()
    assert part["vertices"].shape == (48, 3) and part["faces"].max() == 47
    assert part["uv"].max() == pytest.approx(0.5)
    assert volume((part["vertices"].astype(float), part["faces"], None)) == pytest.approx(2, rel=1e-5)


def test_sunlit_finds_the_patch_and_the_shadow_of_furniture():
    pane = meshes.quad([-1, 1, -2], [2, 0, 0], [0, 1, 0])
    sun = np.array([0, 1, -1]) / math.sqrt(2)
    points = np.array([[0, 0, z] for z in (-0.9, -0.5, -0.1, 0.1)] + [[1.1, 0, -0.5]], float)
    assert meshes.sunlit(points, sun, [pane], []).tolist() == [True, True, True, False, False]
    solid = (np.array([-0.5, 0, -0.9]), np.array([0.5, 0.3, -0.7]))
    assert meshes.sunlit(points, sun, [pane], [solid]).tolist() == [True, False, True, False, False]
