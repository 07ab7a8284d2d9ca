"""Recorded stages: the compact form against the transport it came from, and against values worked out by hand."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.priors.insertion import gbuffer_planes
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.framing import projected_box
from dipir.workshop.insertion import stages
from dipir.workshop.insertion.stages import Stage, StageSettings, random_stage
from dipir.workshop.things.objects import random_asset, simple_asset
from tests.support.scenes import sphere_scene, sunny
from tests.support.stages import card_stage


@pytest.fixture(scope="module")
def transport() -> Transport:
    return Transport.record(sphere_scene("glossy", 64), None, TransportSettings(samples=2, light_samples=1, depth=2))


def test_compact_stage_is_the_transport(transport: Transport) -> None:
    stage = Stage.of(transport, [64, 64, 36.0, 17.0, 0.0, 1.2, 0, 0, 64])
    envs = torch.stack([sunny((0.4, 0.5, -0.6)), sunny((-0.8, 0.3, 0.2)), torch.ones(16, 32, 3)])
    rgb, ratio = stage.light(envs)
    assert rgb.shape == ratio.shape == (3, 3, 64, 64)
    for k, env in enumerate(envs):
        passes = transport.passes(env)
        torch.testing.assert_close(rgb[k:k + 1], passes.object_rgb, rtol=2e-3, atol=1e-4)
        torch.testing.assert_close(ratio[k:k + 1], passes.shadow_ratio, rtol=0, atol=4e-3)
    assert ratio[0].min() < 0.3 and stage.nbytes < 0.3 * transport.nbytes
    torch.testing.assert_close(stage.gbuffers, gbuffer_planes(transport.gbuffers)[0].half())


def test_light_by_hand() -> None:
    """Under a map of 1 a surface as diffuse as the ground shows its albedo; what is hidden is a quarter of the sky."""
    stage = card_stage()
    env = torch.ones(2, 16, 32, 3)
    env[1, :, :8] = 5.0
    rgb, ratio = stage.light(env)
    torch.testing.assert_close(rgb[0, :, 32, 32], torch.tensor([0.8, 0.4, 0.2]), atol=1e-3, rtol=0)
    torch.testing.assert_close(rgb[1, :, 32, 32], 2 * torch.tensor([0.8, 0.4, 0.2]), atol=2e-3, rtol=0)
    assert rgb[:, :, 0, 0].abs().max() == 0 and (ratio[:, :, 0, 0] == 1).all()
    # The row of pixels below the card: 1 - 1/4, and 1 - 5 / (5 + 3) when the hidden quarter is five times brighter.
    torch.testing.assert_close(ratio[:, 0, 45, 32], torch.tensor([0.75, 0.375]), atol=1e-5, rtol=0)
    dark = stage.light(torch.zeros(1, 16, 32, 3))
    assert dark[0].abs().max() == 0 and (dark[1] == 1).all()


def test_exchanged_colours_are_those_of_a_recoloured_object() -> None:
    order = [2, 0, 1]
    stage, other = card_stage((0.8, 0.4, 0.2)).recoloured(order), card_stage((0.2, 0.8, 0.4))
    env = latlong.directions(16, 32).abs()[None] + torch.tensor([0.1, 0.5, 1.0])
    for a, b in zip(stage.light(env), other.light(env), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
    torch.testing.assert_close(stage.gbuffers, other.gbuffers)


def test_random_stages_stand_in_the_plate() -> None:
    pitches, sizes = [], []
    for seed in range(40):
        scene, view = random_stage(np.random.default_rng(seed), random_asset(seed, 0.3))
        box = projected_box(scene.objects, scene.camera)
        size = np.array([scene.camera.width, scene.camera.height])
        assert (box > -0.11 * size).all() and (box < 1.11 * size).all()
        pitches.append(view[3])
        sizes.append((box[1] - box[0]).max() / view[1])
    assert min(pitches) < 5 and max(pitches) > 25 and min(sizes) < 0.25 and 0.45 < max(sizes) < 1.0


def test_files_keep_stages_bit_for_bit(tmp_path: Path) -> None:
    made = [card_stage(side=20), card_stage((0.1, 0.2, 0.3), side=12, pitch_deg=30.0, window=(-3, 4, 50))]
    stages.save(tmp_path / "a.safetensors", made)
    for a, b in zip(made, stages.load(tmp_path / "a.safetensors"), strict=True):
        for name in Stage.__dataclass_fields__:
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert a.window == b.window and np.array_equal(a.camera.to_world, b.camera.to_world)


def test_a_seed_is_a_stage() -> None:
    quick = StageSettings(samples=1, bsdf_samples=1, light_samples=1, depth=1, meshes=1.0)
    meshes = [simple_asset("sphere")]
    a, b, c = (stages.record(seed, meshes, quick) for seed in (5, 5, 6))
    assert torch.equal(a.view, b.view) and torch.equal(a.gbuffers, b.gbuffers) and not torch.equal(a.view, c.view)
    torch.testing.assert_close(a.object_map, b.object_map, rtol=1e-2, atol=1e-4)
    assert a.alpha.sum() > 60
