"""Out of GPU memory in the middle of a real run: one message, exit code 2, and the run goes on with other settings."""

import pytest
import torch

from dipir.cli import main as cli
from dipir.insert.objective import Objective
from tests.support.command_line import make_inputs

TORCH = ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.1 GiB is "
         "free.\nSee documentation for Memory Management")
DRJIT = "jit_malloc(): out of memory! Could not allocate 512 MiB of device memory."
SMALL = ["--preset", "fast", "--set", "fit.steps=6", "--set", "checkpoint_every=2", "--set", "guidance.kind=posterior",
         "--set", "guidance.samples=1", "--set", "guidance.sampler_steps=2", "--set", "final.spp=1", "--set",
         "light.start=ambient"]


@pytest.fixture
def scene(tmp_path):
    return make_inputs(tmp_path)


@pytest.mark.parametrize("problem, asked", [(torch.OutOfMemoryError(TORCH), "2.50 GiB"),
                                            (RuntimeError(DRJIT), "512 MiB")])
def test_one_message_and_the_checkpoint_goes_on(scene, monkeypatch, capsys, problem, asked):
    out, whole = scene.parent / "out", Objective.__call__

    def full(self, step):
        if step == 5:
            raise problem
        return whole(self, step)
    monkeypatch.setattr(Objective, "__call__", full)
    assert cli.main(["insert", str(scene), "--out", str(out), "--quiet", *SMALL]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"dipir: error: out of GPU memory ({asked} were asked for")
    for remedy in ("guidance.size", "memory.offload", "memory.gradient_checkpointing", "--device cpu", "--resume"):
        assert remedy in said[0]
    steps = []
    monkeypatch.setattr(Objective, "__call__", lambda self, step: steps.append(step) or whole(self, step))
    again = ["insert", str(scene), "--out", str(out), "--quiet", *SMALL, "--resume", "--set", "memory.offload=model"]
    assert cli.main(again) == 0
    assert steps == [4, 5]  # The last step that was saved is number 4.
    history = (out / "history.csv").read_text().splitlines()
    assert len(history) == 7 and (out / "composite.png").exists()


def test_any_other_error_is_not_taken_for_it(scene, monkeypatch):
    def broken(self, step):
        raise RuntimeError("expected scalar type Float")
    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(RuntimeError, match="scalar type"):
        cli.main(["insert", str(scene), "--out", str(scene.parent / "out"), "--quiet", *SMALL])
