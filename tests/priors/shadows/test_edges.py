"""Edges on the ground."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.priors.shadows.edges import clusters, find_edges, parts
from dipir.priors.shadows.ground import WEIGHTS, WorkingPlate, grow, seed_of
from tests.support.shadowed_ground import TILTED, ground_plate, long_shadow, plain, speckled

RATIO = (0.2, 0.24, 0.32)


def seen(albedo):
    view = WorkingPlate.of(ground_plate(albedo, long_shadow, RATIO), TILTED, 0.0)
    region, colour = grow(view, seed_of(view.ground, None))
    return view, region, colour, find_edges(view, region)


@pytest.mark.parametrize("albedo", (plain, speckled))
def test_steps_are_the_ratio_of_the_light(albedo):
    view, region, _, edges = seen(albedo)
    rim = edges.only(edges.usable & edges.inside[0] & (edges.steps @ WEIGHTS > 1))
    assert len(rim.rows) > 100
    assert np.abs(np.median(rim.steps, 0) + np.log2(RATIO)).max() < 0.1
    assert (edges.inside[0] & edges.inside[1]).sum() == 0, "the region lies on one side, or on none or both"


def test_clusters_are_apart_and_in_order():
    rng = np.random.default_rng(0)
    a, b = np.array([2.2, 2.0, 1.7]), np.array([0.8, 0.9, 1.3])
    steps = np.concatenate([a + rng.normal(size=(300, 3)) * 0.05, b + rng.normal(size=(90, 3)) * 0.05,
                            rng.uniform(0.5, 5, (8, 3))])
    found = list(clusters(steps))
    assert len(found) >= 2 and found[0][:300].mean() > 0.95 and found[1][300:390].mean() > 0.9
    assert not (found[0] & found[1]).any() and not found[0][300:390].any()
    assert list(clusters(rng.uniform(0.5, 5, (5, 3)))) == [], "too few to be anything"


def test_the_part_behind_the_edge_is_the_shadow():
    view, region, colour, edges = seen(plain)
    rim = edges.only(edges.usable & edges.inside[0] & (edges.steps @ WEIGHTS > 1))
    step = np.median(rim.steps, 0)
    (part, its, alike), *others = parts(view, region, colour - step, float(step @ WEIGHTS), rim)
    bare = WorkingPlate.of(ground_plate(plain), TILTED, 0.0)
    shadow = (bare.logs - view.logs) @ WEIGHTS > 1.5
    assert not others and alike == 1.0
    assert (part & shadow).sum() > 0.8 * shadow.sum() and (part & ~shadow).sum() < 0.1 * part.sum()
    assert len(its.rows) > 0.9 * len(rim.rows)
