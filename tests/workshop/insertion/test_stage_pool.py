"""The pool: which stages a step sees, what is recorded, what is deleted."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dipir.errors import ConfigError, RenderError
from dipir.workshop.insertion import stages
from dipir.workshop.insertion.stage_pool import PoolConfig, StagePool
from dipir.workshop.insertion.stages import StageSettings
from tests.support.stages import card_stage

QUICK = StageSettings(samples=1, bsdf_samples=1, light_samples=1, depth=1, meshes=0.0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))


def test_the_window_grows_and_then_moves() -> None:
    config = PoolConfig(first=2, size=3, steps=10)
    assert [config.window(s) for s in (0, 9, 10, 20, 55)] == [range(2), range(2), range(3), range(1, 4), range(4, 7)]
    assert PoolConfig(first=2, size=3, steps=0).window(1000) == range(2)


def _filled(config: PoolConfig, shards: int) -> StagePool:
    pool = StagePool("a", config=config, workers=0)
    for k in range(shards):
        stages.save(pool.path(k), [card_stage((k / 100, 0.5, 0.5))] * config.shard)
    return pool


def test_a_step_sees_its_window_and_what_lies_behind_is_deleted() -> None:
    config = PoolConfig(first=2, size=3, steps=10, shard=2)
    pool = _filled(config, 12)
    def seen(step):
        return [round(float(s.gbuffers[5].max()) * 100) for s in pool.at(step)]
    assert seen(0) == [0, 0, 1, 1]
    assert seen(95) == [8, 8, 9, 9, 10, 10]
    assert seen(90) == [8, 8, 9, 9, 10, 10]
    assert [k for k in range(12) if pool.path(k).exists()] == list(range(4, 12))


def test_what_determines_the_stages_names_the_folder() -> None:
    def folder(**more):
        return StagePool("a", **{"settings": QUICK, **more}).folder
    assert folder() == folder(workers=2)
    others = {folder(), folder(seed=1), folder(settings=StageSettings()), folder(mesh_paths=[Path("x/a.obj")]),
              folder(config=PoolConfig(shard=4))}
    assert len(others) == 5
    with pytest.raises(ConfigError, match="0 or more"):
        folder(workers=-1)


def test_a_broken_shard_is_recorded_again_and_the_next_one_in_advance() -> None:
    events, config = [], PoolConfig(first=2, size=2, steps=100, shard=1, ahead=1)
    with StagePool("a", settings=QUICK, config=config, on_event=events.append) as pool:
        stages.save(pool.path(0), [card_stage()])
        pool.path(1).write_bytes(b"broken")
        made = pool.at(0)
        assert len(made) == 2 and made[1].alpha.sum() > 60 and list(pool._workers.running) == [pool.path(2)]
        process = pool._workers.running[pool.path(2)]
    assert not process.is_alive() and not pool.path(2).exists()
    assert [(e.stage, e.step) for e in events] == [("stages/a", 1)]
    again = StagePool("a", settings=QUICK, config=config, workers=0).at(0)
    assert torch.equal(made[1].object_map, again[1].object_map)


def test_a_failed_recording_is_told(capfd: pytest.CaptureFixture) -> None:
    pool = StagePool("a", [Path("missing.obj")], QUICK, PoolConfig(first=1, size=1, steps=0, shard=1))
    with pytest.raises(RenderError, match="ended with code 1.*run again to go on"):
        pool.at(0)
    assert "missing.obj" in capfd.readouterr().err
