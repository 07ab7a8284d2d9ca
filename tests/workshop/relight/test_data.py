"""Relighting data: lights and scenes, what a recording shows under known light, sets on disk."""
from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.direction import LightDirection
from dipir.workshop.relight import data as relit
from dipir.workshop.relight.data import RelitSet, RelitSettings, decode, record, solid
from dipir.workshop.relight.scenes import KINDS
from dipir.workshop.things.objects import simple_asset
from tests.support.relit_sets import balls
from tests.support.stopped_sets import goes_on, quick_scenes, refuses_another

TINY = RelitSettings(size=32, lights=4, spp=4, depth=2, sky_spp=8, shard=2)
ANGLES = ((90, 0), (-90, 0), (0, 90), (0, 0), (50, 35), (-120, 20))
ALONE, STAGE = 3, 1  # Seeds of one object before nothing, and of one between floor and wall.


def dull_ball() -> Asset:
    """Without texture coordinates, as files may be."""
    ball = simple_asset("sphere", Material(base_color=(0.7, 0.5, 0.3), roughness=1.0, specular=0.01))
    return replace(ball, parts=tuple(replace(part, uvs=None) for part in ball.parts))


# ---- lights ----------------------------------------------------------------------------------------------------------


def test_what_lets_light_through_is_not_solid():
    ball = dull_ball()
    def glass(**m):
        return Asset(tuple(replace(p, material=replace(p.material, **m)) for p in ball.parts))
    assert solid(ball) and not solid(glass(opacity=0.5))
    assert not solid(glass(opacity_texture=np.ones((2, 2), np.float32)))


# ---- storage ---------------------------------------------------------------------------------------------------------


# ---- recordings ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def alone():
    """A dull ball before nothing, under narrow lights from known directions."""
    return record(ALONE, (dull_ball(),), RelitSettings(32, 1, 16, 2, 64, 1.0),
                  [LightDirection(*angles, 4.0) for angles in ANGLES])


@pytest.fixture(scope="module")
def stage():
    return record(STAGE, (), TINY)


def _shading(data: RelitSet, picture: torch.Tensor) -> torch.Tensor:
    return (decode(picture) / (data.albedo[0].float() / 255).clamp_min(0.02)).mean(0)


def test_form_of_a_recording(stage, alone):
    shapes = {"lit": (1, 4, 3, 32, 32), "sky": (1, 3, 32, 32), "light": (1, 4, 4), "alpha": (1, 1, 32, 32),
              "subject": (1, 1, 32, 32), "albedo": (1, 3, 32, 32), "normal": (1, 3, 32, 32), "kind": (1,)}
    assert {name: tuple(getattr(stage, name).shape) for name in shapes} == shapes
    assert stage.normal.dtype == torch.int8 and stage.kind.dtype == torch.int64 and stage.lit.dtype == torch.uint8
    assert [KINDS[int(x.kind)] for x in (stage, alone)] == ["stage", "free"]
    assert alone.light[0, 1:].tolist() == [LightDirection(*a, 4.0).numbers.tolist() for a in ANGLES]


def test_subject_is_a_part_of_what_is_covered(stage, alone):
    for data in (stage, alone):
        assert bool((data.subject <= data.alpha).all())
        assert 0.1 < float((data.subject > 127).float().mean()) < 0.9
    assert torch.equal(alone.subject, alone.alpha) and float((stage.alpha == 255).float().mean()) > 0.9
    assert float((stage.subject == 0).float().mean()) > 0.1
    # Coverage and light come from other camera samples: a pixel apart.
    outside = torch.nn.functional.max_pool2d(alone.alpha.float(), 3, 1, 1)[0, 0] == 0
    assert not alone.lit[0, :, :, outside].any() and not alone.sky[0, :, outside].any()


def test_normals_are_those_of_a_ball_in_the_picture(alone):
    """+x to the right, +y up, +z towards the camera."""
    full = alone.subject[0, 0] == 255
    n = alone.normal[0].float() / 127
    row, column = (full.nonzero().float() - 15.5).T
    for value, place in ((n[0, full], column), (n[1, full], -row)):
        assert float(torch.corrcoef(torch.stack([value, place]))[0, 1]) > 0.95
    assert float(n[2, full].mean()) > 0.5 and n[:, full].norm(dim=0).min() > 0.98
    assert (alone.albedo[0, :, full].float() / 255).mean(1).tolist() == pytest.approx([0.7, 0.5, 0.3], abs=3e-3)


@pytest.mark.parametrize("number", range(len(ANGLES)))
def test_the_light_is_recovered_from_shading_and_normals(alone, number):
    """Lambert: shading = normal . light where that is positive. A regression gives back direction and strength."""
    n, full = alone.normal[0].float() / 127, alone.subject[0, 0] == 255
    shading = _shading(alone, alone.lit[0, 1 + number])
    bright = full & (shading > 0.15)
    found = torch.linalg.lstsq(n[:, bright].T, shading[bright][:, None]).solution[:, 0]
    true = alone.light[0, 1 + number, :3]
    assert math.degrees(math.acos(float(found @ true / found.norm()))) < 6
    assert float(found.norm()) == pytest.approx(1, abs=0.12)
    assert float(shading[full & (torch.einsum("chw,c->hw", n, true) < -0.15)].max() if number != 3 else 0) < 0.05


def test_right_is_right(alone):
    n, full = alone.normal[0].float() / 127, alone.subject[0, 0] == 255
    from_right, from_left = (_shading(alone, alone.lit[0, k]) for k in (1, 2))
    right, left = full & (n[0] > 0.3), full & (n[0] < -0.3)
    assert from_right[right].mean() > 0.4 > 0.05 > from_right[left].mean()
    assert from_left[left].mean() > 0.4 > 0.05 > from_left[right].mean()


def test_ambient_light_shows_about_the_albedo(alone):
    full = alone.subject[0, 0] == 255
    assert 0.7 < float(_shading(alone, alone.sky[0])[full].mean()) < 1.3


# ---- on disk ---------------------------------------------------------------------------------------------------------

def test_a_worker_makes_what_this_process_makes(tmp_path, stage):
    """One shard by a process of its own; its second scene is made here again."""
    events = []
    settings = replace(TINY, shard=1)
    folder = relit.generate(1, tmp_path / "set", seed=4, on_event=events.append, settings=settings)
    assert [p.name for p in folder.iterdir()] == ["relit_000000.safetensors"]
    assert [(e.stage, e.step, e.steps) for e in events] == [("relit", 1, 1)]
    made, again = relit.load(folder), record(split_seed(4, "scene", 0), (), settings)
    for f in fields(RelitSet):
        a, b = (getattr(x, f.name).double() for x in (made, again))
        assert float((a - b).abs().max()) <= (1 if a.max() > 8 else 1e-6), f.name  # To the rounding of the renderer.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """Scenes without a renderer."""
    return quick_scenes(monkeypatch, relit, balls())


def test_a_stopped_set_goes_on(tmp_path, quick):
    goes_on(relit, lambda scenes: relit.generate(scenes, tmp_path, seed=5, settings=TINY), quick)


@pytest.mark.parametrize("change", [{"seed": 6}, {"settings": replace(TINY, spp=8)}, {"meshes": [Path("a.glb")]}])
def test_another_set_is_refused(tmp_path, quick, change):
    refuses_another(relit, tmp_path, {"seed": 5, "settings": TINY}, change)


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    assert relit.default_dir() == tmp_path / "relit" / "v1"


def test_bad_numbers_and_folders(tmp_path, quick):
    for scenes, workers in ((0, 1), (2, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            relit.generate(scenes, tmp_path / "absent", workers=workers)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(ConfigError, match="dipir synth relit"):
        relit.load(tmp_path)
    relit.generate(2, tmp_path, settings=TINY)
    path = tmp_path / "relit_000000.safetensors"
    state = load_file(path)
    save_file({k: v for k, v in state.items() if k != "sky"}, path)
    with pytest.raises(ConfigError, match="not a readable shard.*sky"):
        relit.load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="not a readable shard"):
        relit.load(tmp_path)
