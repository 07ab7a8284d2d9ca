"""A killed run that is resumed ends bit for bit like an unbroken one; foreign and damaged files are refused."""
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dipir.errors import FitError
from dipir.fit import checkpoint
from dipir.fit.checkpoint import Checkpoint, State, run_hash
from dipir.fit.loop import FitConfig, minimise
from dipir.fit.parameters import Exponential, Parameters, UnitSphere

SCRIPT = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    import torch
    from dipir.arrays import split_seed
    from dipir.fit.checkpoint import Checkpoint
    from dipir.fit.loop import FitConfig, minimise
    from dipir.fit.parameters import Parameters, Exponential, UnitSphere
    torch.set_num_threads(1)
    folder, die_at, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    p = Parameters()
    p.add("axis", torch.tensor([[1.0, 2, 3], [0, 1, 0]]), rate=0.05, transform=UnitSphere())
    p.add("power", torch.tensor([0.3, 2.0]), rate=0.02, transform=Exponential())
    def objective(step):
        if step == die_at:
            os.kill(os.getpid(), getattr(signal, how))
        noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(split_seed(7, step))) + torch.rand(2, 3)
        loss = ((p["axis"] * p["power"][:, None] - noise) ** 2).sum()
        return loss, {"noise": noise.sum().item()}, {}
    history = minimise(objective, p, FitConfig(steps=40, preview_every=0),
                       checkpoint=Checkpoint(folder / "run.safetensors", "abc", every=6, resume=True))
    torch.save({"raw": p.state_dict(), "history": history}, folder / "end.pt")
""")


def _run(folder: Path, die_at: int = -1, how: str = "SIGKILL") -> int:
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(die_at), how], env=env,
                          # A parent that ignores SIGINT (nohup, some shells) would hand that on.
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                          capture_output=True).returncode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert _run(folder) == 0
    return folder


@pytest.mark.parametrize("how, code, saved", [("SIGKILL", -9, 12), ("SIGTERM", 143, 15), ("SIGINT", None, 15)])
def test_a_killed_run_resumes_bit_identically(tmp_path, unbroken, how, code, saved):
    got = _run(tmp_path / "broken", die_at=14, how=how)
    assert got == code if code is not None else got != 0
    assert not (tmp_path / "broken/end.pt").exists()
    assert checkpoint.load(tmp_path / "broken/run.safetensors", "abc").step == saved
    assert _run(tmp_path / "broken") == 0
    whole, broken = (torch.load(folder / "end.pt") for folder in (unbroken, tmp_path / "broken"))
    for name in ("axis", "power"):
        assert torch.equal(whole["raw"][name], broken["raw"][name])
    assert whole["history"] == broken["history"] and len(whole["history"]) == 40
    assert [f.name for f in (tmp_path / "broken").glob(".*")] == []


def _params() -> Parameters:
    p = Parameters()
    p.add("axis", torch.tensor([[1.0, 2, 3]]), rate=0.05, transform=UnitSphere())
    p.add("power", torch.tensor([0.3]), rate=0.02, transform=Exponential())
    return p


def _saved(path: Path) -> Parameters:
    p = _params()
    minimise(lambda s: ((p["axis"] - p["power"]).square().sum(), {"x": 0.1}, {}), p,
             FitConfig(steps=5, preview_every=0), checkpoint=Checkpoint(path, "abc", every=2))
    return p


def test_round_trip_keeps_everything(tmp_path):
    p = _saved(tmp_path / "c.safetensors")
    state = checkpoint.load(tmp_path / "c.safetensors", "abc")
    assert state.step == 5 and len(state.history) == 5 and state.history[3]["x"] == 0.1
    assert all(torch.equal(state.raw[name], raw) for name, raw in p.raw.items())
    assert {"axis/exp_avg", "axis/exp_avg_sq", "axis/step", "power/exp_avg"} <= set(state.moments)
    assert state.moments["axis/step"].item() == 5


def test_a_finished_run_is_not_repeated(tmp_path):
    p = _saved(tmp_path / "c.safetensors")
    q = _params()
    history = minimise(lambda s: pytest.fail("no step was due"), q, FitConfig(steps=5),
                       checkpoint=Checkpoint(tmp_path / "c.safetensors", "abc", resume=True))
    assert len(history) == 5 and torch.equal(p["axis"], q["axis"])


def test_without_resume_an_old_file_is_ignored(tmp_path):
    _saved(tmp_path / "c.safetensors")
    steps = []
    p = _params()
    minimise(lambda s: (steps.append(s) or p["power"].sum(), {}, {}), p, FitConfig(steps=3, preview_every=0),
             checkpoint=Checkpoint(tmp_path / "c.safetensors", "other"))
    assert steps == [0, 1, 2]


@pytest.mark.parametrize("keep", [0, 7, 60, 0.5, -1])
def test_truncated_files(tmp_path, keep):
    path = tmp_path / "c.safetensors"
    _saved(path)
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * keep)] if isinstance(keep, float) else data[:keep])
    with pytest.raises(FitError, match="c.safetensors: checkpoint is damaged or truncated"):
        checkpoint.load(path, "abc")


def test_other_run_missing_and_foreign_files(tmp_path):
    path = tmp_path / "c.safetensors"
    _saved(path)
    with pytest.raises(FitError, match="of another run.*--resume"):
        checkpoint.load(path, "abd")
    with pytest.raises(FitError, match="no checkpoint there"):
        checkpoint.load(tmp_path / "none.safetensors", "abc")
    import safetensors.torch
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    with pytest.raises(FitError, match="not a checkpoint"):
        checkpoint.load(path, "abc")


def test_other_parameters_are_refused(tmp_path):
    _saved(tmp_path / "c.safetensors")
    p = Parameters()
    p.add("tone", torch.ones(2), rate=0.1)
    with pytest.raises(FitError, match="parameters of another run.*'axis' is unknown"):
        minimise(lambda s: (p["tone"].sum(), {}, {}), p, FitConfig(steps=9),
                 checkpoint=Checkpoint(tmp_path / "c.safetensors", "abc", resume=True))


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    _saved(path)
    before = path.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FitError, match="No space left"):
        checkpoint.save(path, State(9, {"a": torch.ones(3)}), "abc")
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["c.safetensors"]


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    _saved(tmp_path / "c.safetensors")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_run_hash_depends_on_every_part_and_not_on_key_order():
    assert run_hash({"a": 1, "b": 2}, "x") == run_hash({"b": 2, "a": 1}, "x")
    assert len({run_hash({"a": 1}, "x"), run_hash({"a": 2}, "x"), run_hash({"a": 1}, "y"), run_hash({"a": 1})}) == 4


@pytest.mark.parametrize("header", [
    "[]", "3", "[" * 100000, '{"format": 1}', '{"format": 1, "step": "x", "history": [], "run_hash": "h"}',
    '{"format": 1, "step": 1, "run_hash": "h"}', '{"format": 1, "step": -1, "history": [], "run_hash": "h"}',
    '{"format": 1, "step": 1, "history": [3], "run_hash": "h"}', '{"format": 1, "step": 1, "history": []}'])
def test_headers_that_lie(tmp_path, header):
    (tmp_path / "c").write_bytes(safetensors.torch.save({"raw/a": torch.zeros(1)}, {"dipir_checkpoint": header}))
    with pytest.raises(FitError):
        checkpoint.load(tmp_path / "c", "h")
