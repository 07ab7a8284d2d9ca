"""Recorded sketches and the pairs made of them: against the path tracer, against values by hand, sets on disk."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dipir.errors import ConfigError
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import GBuffers, RenderSettings
from dipir.render.transport import Transport, TransportSettings
from dipir.workshop.colour import data as sketches
from dipir.workshop.colour.data import FINE, SIZE, SketchSettings, edges, line_masks, paint, random_scene, soft_lights
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of

TINY = SketchSettings(lights=2, samples=1, bsdf_samples=1, meshes=1.0, shard=1)


@pytest.fixture(scope="module")
def recording() -> dict[str, torch.Tensor]:
    return sketches.record(7, (), replace(TINY, samples=2))


# ---- recordings ------------------------------------------------------------------------------------------------------

def test_slots_stand_for_any_colours() -> None:
    """Two balls, each in the channel of its slot, coloured afterwards, against the path tracer with coloured balls."""
    scene = scene_of(placed(simple_asset("sphere"), x=-0.6), placed(simple_asset("sphere"), x=0.5, z=3.4), size=32)
    env = soft_lights(np.random.default_rng(3), 1)[0]
    slots = Transport.record(paint(scene, [[0], [2]], 0.4), None, TransportSettings(samples=8, depth=1))
    rgb = slots.passes(env).object_rgb
    gloss = rgb.amin(1, keepdim=True)
    colours = torch.tensor([[0.6, 0.2, 0.1], [0, 0, 0], [0.1, 0.3, 0.7]])
    made = torch.einsum("bshw,sc->bchw", rgb - gloss, colours) / 0.8 + gloss
    balls = tuple(replace(o, asset=replace(o.asset, parts=tuple(replace(part, material=replace(
        part.material, base_color=tuple(colours[k].tolist()), roughness=0.4)) for part in o.asset.parts)))
                  for o, k in zip(scene.objects, (0, 2), strict=True))
    true, alpha = PathTracer(replace(scene, objects=balls), None, RenderSettings(256, 1)).object_pass(env, spp=256)
    inside = (alpha > 0.99).expand_as(true)
    assert inside.sum() > 300
    assert (made - true)[inside].abs().mean() < 0.02 * true[inside].mean()


def test_recording_is_whole(recording: dict[str, torch.Tensor]) -> None:
    shapes = {"cover": (3, 64, 64), "lines": (6, 64, 64), "shade": (2, 3, 64, 64), "gloss": (2, 64, 64),
              "shadow": (2, 64, 64)}
    assert {key: tuple(x.shape) for key, x in recording.items()} == shapes
    assert all(x.dtype == torch.uint8 for x in recording.values())
    cover, shade = recording["cover"].float() / 255, recording["shade"].float() / 200
    area = cover.mean((1, 2))
    assert area[0] > 0.03 and bool((area.diff() <= 1e-3).all()) and cover.sum(0).max() < 1.02
    assert all(a == 0 or a > 0.02 * area.sum() for a in area.tolist())
    assert bool((shade[:, cover == 0] == 0).all())
    full = cover.sum(0) > 0.95
    for light in shade.sum(1):
        assert 0.8 < light[full].quantile(0.9) < 1.15
    assert recording["shadow"].min() < 200 and recording["lines"].float().mean() > 1


def test_a_seed_is_a_recording(recording: dict[str, torch.Tensor]) -> None:
    again, other = (sketches.record(seed, (), replace(TINY, samples=2)) for seed in (7, 8))
    for key, x in recording.items():
        assert (x.float() - again[key].float()).abs().max() <= 2, key
    assert (recording["cover"].float() - other["cover"].float()).abs().mean() > 5


def test_lights_are_white_and_from_above() -> None:
    envs = soft_lights(np.random.default_rng(0), 30)
    assert envs.shape == (30, 16, 32, 3) and envs.min() >= 0
    assert torch.equal(envs[..., 0], envs[..., 1]) and torch.equal(envs[..., 0], envs[..., 2])
    halves = envs[..., 0].unflatten(1, (2, 8)).mean((2, 3))
    assert bool((halves[:, 0] > halves[:, 1]).all())
    assert len(torch.unique(envs[:, 4, 16, 0])) == 30


def test_objects_are_in_the_window_in_up_to_three_slots() -> None:
    counts, used = set(), set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scene, window = random_scene(rng, [simple_asset("sphere")], 0.3)
        slots = sketches.deal_slots(rng, scene)
        counts.add(len(scene.objects))
        used.add(len({s for row in slots for s in row}))
        assert [len(row) for row in slots] == [len(o.asset.parts) for o in scene.objects]
        assert all(0 <= s < 3 for row in slots for s in row)
        middle = np.array([[0.0, 0.3, 4.0]])
        uv, depth = scene.camera.project(middle)
        assert depth[0] > 0 and abs(uv[0, 0] - window.x0 - window.side / 2) < 0.6 * window.side
    assert counts == {1, 2, 3} and used == {1, 2, 3}


# ---- lines -----------------------------------------------------------------------------------------------------------

def _gbuffers() -> GBuffers:
    """64 x 64: an object on rows 16-47, columns 8-55; the depth jumps at column 24, the normal turns at column 40."""
    ones = torch.ones(1, 1, 64, 64)
    alpha, depth, normal = torch.zeros(1, 1, 64, 64), 2 * ones, torch.zeros(1, 3, 64, 64)
    alpha[..., 16:48, 8:56] = 1
    depth[..., :24] = 1
    normal[:, 2] = 1
    normal[:, :, :, 40:] = torch.tensor([1.0, 0, 0])[:, None, None]
    albedo = torch.zeros(1, 3, 64, 64)
    albedo[:, 0] = 0.8
    return GBuffers(alpha, ones, depth, normal * alpha, albedo * alpha, ones, ones, normal, alpha.long())


def test_edges_are_where_something_changes() -> None:
    outline, within = edges(_gbuffers())
    assert outline[30, 8] and outline[30, 24] and outline[16, 30] and outline[48, 30] and not outline[30, 41]
    assert within[30, 40] and not within[30, 20:38].any()
    for marks in (outline, within):
        assert not marks[30, 12:20].any() and not marks[:12].any() and not marks[53:].any()


def test_another_slot_is_a_line() -> None:
    g = _gbuffers()
    g.albedo[:, :, 32:] = g.albedo[:, [1, 0, 2], 32:]
    assert edges(g)[1][32, 10:55].mean() > 0.9 and not edges(_gbuffers())[1][32, 10:38].any()


def test_specks_are_no_lines() -> None:
    g = _gbuffers()
    g.normal[0, :, 30, 30] = torch.tensor([0, 1.0, 0])
    assert not edges(g)[1][27:34, 27:34].any()


def test_lines_have_their_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketches, "_smooth_noise", lambda rng, h, w: np.zeros((2, h, w), np.float32))
    edge = np.zeros((FINE, FINE), bool)
    edge[:, 128] = True
    masks = line_masks(np.random.default_rng(0), [edge, np.zeros_like(edge)])
    assert masks.shape == (6, SIZE, SIZE) and masks.dtype == np.uint8 and not masks[3:].any()
    across = masks[:3, 20].astype(float).sum(-1) / 255 * (FINE // SIZE)
    assert across == pytest.approx([2.0, 4.5, 8.0], abs=0.6)


# ---- sets ------------------------------------------------------------------------------------------------------------

def test_a_set_is_made_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    events = []
    folder = sketches.generate(1, None, 5, 1, events.append, settings=TINY)
    assert folder == sketches.default_dir() and [e.step for e in events] == [1]
    first = folder / "sketches_000000.safetensors"
    stamp = os.stat(first).st_mtime_ns
    sketches.generate(2, folder, 5, 1, events.append, settings=TINY)
    assert os.stat(first).st_mtime_ns == stamp and [e.step for e in events] == [1, 2]
    stored = sketches.load()
    assert {len(x) for x in stored.values()} == {2} and not torch.equal(*stored["cover"])
    assert len(sketches.load(folder, 1)["cover"]) == 1
    with pytest.raises(ConfigError, match="another set"):
        sketches.generate(2, folder, 6, 1, None, settings=TINY)


def test_wrong_sets(tmp_path: Path) -> None:
    for count, workers in ((0, 1), (1, 0), (-3, 1)):
        with pytest.raises(ConfigError, match="at least 1"):
            sketches.generate(count, tmp_path / "a", workers=workers)
    with pytest.raises(ConfigError, match="no such mesh .*none.glb"):
        sketches.generate(1, tmp_path / "a", meshes=[tmp_path / "none.glb"])
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match="holds no sketches; make them with"):
        sketches.load(tmp_path)
    path = tmp_path / "sketches_000000.safetensors"
    path.write_bytes(b"cut short")
    with pytest.raises(ConfigError, match="not a readable shard"):
        sketches.load(tmp_path)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match="not a readable shard .*cover"):
        sketches.load(tmp_path)


# ---- pairs -----------------------------------------------------------------------------------------------------------
