"""Scenes of the layout pictures: things, where they stand, what is seen of them, and their light."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.errors import SceneError
from dipir.image import latlong
from dipir.priors.captions import MATERIALS, SHAPES
from dipir.render.gbuffer import record_gbuffers
from dipir.render.mitsuba_scene import build
from dipir.workshop.layout.scenes import LEAST_PX, LEAST_SEEN, MOST, SIZE, random_scene, silhouette, studio_light
from dipir.workshop.layout.things import BASE


@pytest.fixture(scope="module")
def scenes():
    return [random_scene(seed) for seed in range(60)]


def _foot(placed) -> tuple[np.ndarray, float]:
    """Middle and radius of what a thing stands on, as a disc."""
    points = np.concatenate([p.vertices for p in placed.parts])[:, [0, 2]]
    middle = placed.to_world[[0, 2], 3]
    return middle, float(np.linalg.norm(points - middle, axis=1).max())


# ---- things ----------------------------------------------------------------------------------------------------------


# ---- arrangement -----------------------------------------------------------------------------------------------------

def test_scenes_have_none_to_four_things_mostly_one_to_three(scenes):
    counts = Counter(len(made.shapes) for made in scenes)
    assert set(counts) == {0, 1, 2, 3, 4} and sum(counts[k] for k in (1, 2, 3)) > 42
    assert {s for made in scenes for s in made.shapes} == set(SHAPES)
    assert {m for made in scenes for m in made.materials} == set(MATERIALS)
    for made in scenes:
        names = [o.name for o in made.scene.objects]
        assert names[:len(made.shapes)] == list(made.shapes)
        assert names[len(made.shapes):] in (["floor"], ["floor", "wall"])
        assert [o.parts[0].material.name for o in made.scene.objects[:len(made.shapes)]] == list(made.materials)


def test_things_stand_on_the_floor_apart_and_before_the_wall(scenes):
    for made in scenes:
        things, backdrop = made.scene.objects[:len(made.shapes)], made.scene.objects[len(made.shapes):]
        for k, one in enumerate(things):
            assert min(p.vertices[:, 1].min() for p in one.parts) == pytest.approx(0, abs=1e-4)
            for other in things[:k]:
                (a, r), (b, s) = _foot(one), _foot(other)
                assert np.linalg.norm(a - b) > r + s
            for wall in backdrop[1:]:
                assert wall.parts[0].vertices[:, 2].min() > max(p.vertices[:, 2].max() for p in one.parts)


def test_sizes_in_the_picture(scenes):
    for made in scenes:
        count, spans = len(made.shapes), []
        for placed in made.scene.objects[:count]:
            seen = made.scene.camera.project(placed.parts[0].vertices.astype(float))[0]
            assert seen.min() > 0 and seen.max() < SIZE
            spans.append(float(np.ptp(seen, axis=0).max()) / SIZE)
            assert np.ptp(seen, axis=0).min() > LEAST_PX
        low, high = (0.29, 0.76) if count == 1 else (0.2, 0.8)
        assert all(low < s < high for s in spans) and (count < 2 or np.median(spans) < 0.51)


def test_enough_is_seen_of_each_thing(scenes):
    """Against rays: of each thing, alone and among the others."""
    several = [made for made in scenes if len(made.shapes) > 2][:6]
    assert several
    for made in several:
        camera = made.scene.camera.resized(4 * SIZE, 4 * SIZE)
        together = record_gbuffers(build(made.scene), camera, 1).object_id[0, 0]
        for k, placed in enumerate(made.scene.objects[:len(made.shapes)]):
            alone = record_gbuffers(build(replace(made.scene, objects=(placed,))), camera, 1).object_id[0, 0] > 0
            seen = together == k + 1
            assert seen.sum() >= LEAST_SEEN * alone.sum()
            assert min(int(seen.any(axis).sum()) for axis in (0, 1)) >= 4 * LEAST_PX
            outline = torch.from_numpy(silhouette(placed, camera))
            assert (outline & alone).sum() > 0.98 * alone.sum()
            # It rounds outwards by about half a pixel of 256.
            assert outline.sum() < alone.sum() + 2.5 * (seen.shape[0] + alone.sum().sqrt())


def test_floors_and_walls_have_textures_of_one_size(scenes):
    """Or the renderer would compile a kernel a scene."""
    for made in scenes:
        for panel in made.scene.objects[len(made.shapes):]:
            m = panel.parts[0].material
            assert m.base_color_texture.shape == (128, 128, 3)
            assert np.ptp(m.base_color_texture, axis=2).max() == 0
            assert m.base_color_texture.mean() == pytest.approx(BASE, abs=0.03)
            assert m.base_color_texture.min() >= 0.4 * BASE and m.base_color_texture.max() <= 1.5 * BASE + 1e-6


@pytest.mark.parametrize("count", [-1, MOST + 1])
def test_too_many_things(count):
    with pytest.raises(SceneError, match="0 to 4"):
        random_scene(0, count=count)


def test_a_seed_is_a_scene(scenes):
    again = random_scene(3)
    assert again.shapes == scenes[3].shapes and torch.equal(again.light, scenes[3].light)
    for a, b in zip(again.scene.objects, scenes[3].scene.objects, strict=True):
        assert np.array_equal(a.to_world, b.to_world) and np.array_equal(a.parts[0].vertices, b.parts[0].vertices)


# ---- light -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("walled", [True, False])
def test_light_is_grey_from_above_and_not_behind_a_wall(walled):
    d = latlong.directions(64, 128)
    behind, contrast = [], []
    for seed in range(30):
        env = studio_light(np.random.default_rng(seed), walled)
        assert env.shape == (64, 128, 3) and bool((env >= 0).all()) and torch.equal(env[..., 0], env[..., 2])
        assert env[d[..., 1] < -0.1].max() == 0 and env[d[..., 1] > 0].min() > 0.05
        weight = latlong.solid_angles(64, 128)[..., None] * (d[..., 1:2] > 0)
        behind.append(float((env * weight)[d[..., 2] > 0].sum() / (env * weight).sum()))
        contrast.append(float(env.max() / env[d[..., 1] > 0].median()))
    assert np.mean(behind) < (0.3 if walled else 0.6) and min(contrast) > 10
