"""The training loop."""
from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dipir.arrays import split_seed
from dipir.errors import FitError
from dipir.workshop.captured import Staged
from dipir.workshop.trainer import TrainConfig, autocast, folder, keep_on, learning_rate, size_of, speed, train
from tests.support.far import KIND, Far, far_device

CONFIG = TrainConfig(steps=30, rate=0.02, warmup=5, validate_every=10, log_every=10, ema=0.9)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1))


def _loss(model: nn.Module, step: int) -> tuple[torch.Tensor, dict[str, float]]:
    generator = torch.Generator().manual_seed(split_seed(0, step))
    x = torch.randn(32, 4, generator=generator)
    loss = (model(x)[:, 0] - x.sum(1)).square().mean()
    return loss, {"mean": float(x.mean())}


def _validate(model: nn.Module) -> dict[str, float]:
    x = torch.eye(4)
    return {"score": float((model(x)[:, 0] - x.sum(1)).square().mean().detach())}


def _same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_resumed_run_equals_an_unbroken_one() -> None:
    parts, whole = _model(), _model()
    one = train(whole, _loss, CONFIG, validate=_validate, name="whole")

    def interrupted(model: nn.Module, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        if step == 13:
            os.kill(os.getpid(), signal.SIGTERM)
        return _loss(model, step)

    torch.manual_seed(0)
    _model()
    first = train(parts, interrupted, CONFIG, validate=_validate, name="parts")
    assert (first.step, first.finished) == (14, False)
    again = _model()
    torch.manual_seed(99)
    second = train(again, _loss, CONFIG, validate=_validate, name="parts")
    assert second.finished and one.finished and _same(whole, again)
    assert second.best_score == one.best_score
    assert all(torch.equal(one.best[k], second.best[k]) for k in one.best)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_learns_and_reports() -> None:
    model, events = _model(), []
    before = _validate(model)["score"]
    trained = train(model, _loss, CONFIG, validate=_validate, on_event=events.append, name="a")
    assert trained.best_score < 0.5 * before
    best = _model().eval()
    best.load_state_dict(trained.best)
    assert _validate(best)["score"] == pytest.approx(trained.best_score)
    assert [(e.stage, e.step) for e in events][:2] == [("a", 10), ("a/val", 10)] and len(events) == 6
    assert len((folder("a") / "log.jsonl").read_text().splitlines()) == 6
    assert sorted(p.name for p in folder("a").iterdir()) == ["checkpoint.pt", "log.jsonl"]


def test_best_weights_are_those_of_the_lowest_score() -> None:
    scores, seen = iter([3.0, 1.0, 2.0]), []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"score": next(scores)}

    trained = train(_model(), _loss, CONFIG, validate=validate, name="a")
    assert trained.best_score == 1.0
    assert all(torch.equal(trained.best[k], seen[1][k]) for k in seen[1])


def test_moving_average_lies_between() -> None:
    """With two equal steps of known size the average follows the formula."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    config = TrainConfig(steps=2, rate=0.1, last=1.0, warmup=0, decay=0.0, ema=0.999)
    trained = train(model, lambda m, step: (m.weight.sum(), {}), config, name="a")
    # Adam under a constant gradient moves by its rate: -0.1, -0.2; keep is 2/11 and then 3/12.
    first = -0.1 * (1 - 2 / 11)
    expected = first + (-0.2 - first) * (1 - 3 / 12)
    assert float(trained.best["weight"]) == pytest.approx(expected, rel=1e-4)


def test_time_budget_and_schedule() -> None:
    assert train(_model(), _loss, TrainConfig(steps=30, minutes=0.0), name="a").step == 1
    config = TrainConfig(steps=100, rate=1.0, last=0.1, warmup=10)
    assert learning_rate(config, 0) == pytest.approx(0.1, rel=0.01)
    assert learning_rate(config, 50) == pytest.approx(0.55)
    assert learning_rate(config, 100) == learning_rate(config, 500) == pytest.approx(0.1)


def test_the_rate_falls_over_the_minutes_where_that_is_asked_for() -> None:
    config = TrainConfig(steps=10**9, rate=1.0, last=0.1, warmup=10, minutes=8.0, by_time=True)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1, rel=0.01)  # Warm-up is one of steps.
    assert learning_rate(config, 50, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 7, 240.0) == pytest.approx(0.8 * 0.55)
    assert learning_rate(config, 9999, 240.0) == pytest.approx(0.55)
    assert learning_rate(config, 9999, 480.0) == learning_rate(config, 10, 900.0) == pytest.approx(0.1)
    assert learning_rate(TrainConfig(rate=1.0, warmup=0), 0, 1e9) == 1.0, "time is nothing to a run of steps"


def test_slow_parameters_learn_at_their_part_of_the_rate() -> None:
    """Under a constant gradient Adam moves every parameter by its rate."""
    model = nn.ModuleDict({"eyes": nn.Linear(2, 2, bias=False), "rest": nn.Linear(2, 2, bias=False)})
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    config = TrainConfig(steps=3, rate=0.1, last=1.0, warmup=0, decay=0.0, clip=1e9, slow=(("eyes", 0.25),))
    train(model, lambda m, step: (sum(p.sum() for p in m.parameters()), {}), config, name="a")
    torch.testing.assert_close(model["rest"].weight, torch.full((2, 2), -0.3), rtol=1e-4, atol=0)
    torch.testing.assert_close(model["eyes"].weight, torch.full((2, 2), -0.075), rtol=1e-4, atol=0)


def test_slow_parts_are_resumed() -> None:
    config = replace(CONFIG, slow=(("0.", 0.1),))
    whole = train(_plain(), _far_loss, config, name="whole")

    def stopping(model: nn.Module, step: int):
        if step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return _far_loss(model, step)
    assert train(_plain(), stopping, config, name="parts").step == 12
    second = train(_plain(), _far_loss, config, name="parts")
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    plain = train(_plain(), _far_loss, CONFIG, name="plain")
    first = _plain().state_dict()["0.weight"]
    assert (whole.best["0.weight"] - first).norm() < 0.5 * (plain.best["0.weight"] - first).norm()


def test_a_staged_loss_on_the_cpu_equals_a_plain_one() -> None:
    seen = []

    def numbers(step: int) -> dict[str, np.ndarray]:
        return {"x": torch.randn(32, 4, generator=torch.Generator().manual_seed(split_seed(0, step))).numpy()}

    def loss(model: nn.Module, got):
        return (model(got["x"])[:, 0] - got["x"].sum(1)).square().mean(), {"mean": got["x"].mean()}

    staged = Staged(numbers, loss, lambda columns: {k: torch.from_numpy(v) for k, v in columns.items()}, seen.append)
    events = []
    one = train(_plain(), staged, CONFIG, name="staged", on_event=events.append)
    two = train(_plain(), _far_loss, CONFIG, name="plain")
    assert all(torch.equal(one.best[k], two.best[k]) for k in two.best)
    assert seen == list(range(CONFIG.steps)) and {"loss", "gradient", "mean", "rate"} <= set(events[0].scalars)


def test_loss_that_is_not_finite_stops_the_run() -> None:
    with pytest.raises(FitError, match="step 3"):
        train(_model(), lambda m, s: (_loss(m, s)[0] * (math.nan if s == 3 else 1), {}), CONFIG, name="a")


def test_foreign_or_broken_checkpoint() -> None:
    train(_model(), _loss, CONFIG, name="a")
    with pytest.raises(FitError, match="not a checkpoint of this network"):
        train(nn.Linear(4, 1), _loss, CONFIG, name="a")
    (folder("a") / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(FitError, match="not a checkpoint"):
        train(_model(), _loss, CONFIG, name="a")


# -------------------------------------------------------------------------------------------------- another device
def _far_loss(model: nn.Module, step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
    """As :func:`_loss`, on the model's device, with numbers that stay there."""
    where = next(model.parameters()).device
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(split_seed(0, step))).to(where)
    return (model(x)[:, 0] - x.sum(1)).square().mean(), {"mean": x.mean(), "plain": 2.0}


def _plain() -> nn.Module:
    """Without dropout, whose numbers are those of a device."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 24, bias=False), nn.Linear(24, 1))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_training_on_another_device(optimiser: str) -> None:
    config = replace(CONFIG, optimiser=optimiser)
    here, events = train(_plain(), _far_loss, config, name="here"), []
    with far_device() as chosen:
        model = _plain().to(chosen.torch)
        there = train(model, _far_loss, config, name="there", on_event=events.append)
        assert all(p.device.type == KIND for p in model.parameters())
    assert all(value.device.type == "cpu" for value in there.best.values())
    for key, value in here.best.items():
        torch.testing.assert_close(there.best[key], value, rtol=1e-5, atol=1e-6)
    assert events[-1].scalars["plain"] == 2.0 and math.isfinite(events[-1].scalars["mean"])
    assert all(isinstance(v, float) for v in events[-1].scalars.values())


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("first", ["cpu", KIND])
def test_a_run_goes_on_on_the_other_device(optimiser: str, first: str) -> None:
    """Half of the steps on one device, half on the other: the weights of an unbroken run."""
    config = replace(CONFIG, optimiser=optimiser)
    whole = train(_plain(), _far_loss, config, name="whole")

    def half(kind: str, stop: bool) -> object:
        def loss(model: nn.Module, step: int):
            if stop and step == 14:
                os.kill(os.getpid(), signal.SIGTERM)
            return _far_loss(model, step)

        if kind == "cpu":
            return train(_plain(), loss, config, name="parts")
        with far_device() as chosen:
            return train(_plain().to(chosen.torch), loss, config, name="parts")

    assert half(first, True).step == 15
    second = half(KIND if first == "cpu" else "cpu", False)
    assert second.finished
    for key, value in whole.best.items():
        torch.testing.assert_close(second.best[key], value, rtol=1e-5, atol=1e-6)


def test_a_loss_that_is_not_finite_is_found_at_the_next_log_line_elsewhere() -> None:
    with far_device() as chosen:
        with pytest.raises(FitError, match=r"not finite in one of the steps 10 to 19.*last checkpoint"):
            train(_plain().to(chosen.torch), lambda m, s: (_far_loss(m, s)[0] * (math.nan if s == 13 else 1), {}),
                  replace(CONFIG, checkpoint_minutes=10), name="a")
    assert not (folder("a") / "checkpoint.pt").exists()


def test_nothing_is_read_between_log_lines() -> None:
    """A step on a device reads no number: reading is only possible through ``.cpu()`` or ``.item()`` there."""
    from dipir.workshop.trainer import _Run

    with far_device() as chosen:
        run = _Run(_plain().to(chosen.torch), CONFIG, folder("a"))
        reads = []
        kept = torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.cpu
        def noted(f):
            return lambda x, *a: (reads.append(f) if isinstance(x, Far) else None, f(x, *a))[1]
        try:
            torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.cpu = map(noted, kept)
            scalars = run.one_step(_far_loss, 0.01)
            assert reads == []
            assert run.read(scalars)["plain"] == 2.0 and len(reads) <= 2
        finally:
            torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.cpu = kept


def test_half_precision_is_for_gpus_unless_told() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for where, wanted, on in ((cpu, None, False), (cpu, True, True), (cpu, False, False), (gpu, False, False)):
        with autocast(where, wanted):
            assert torch.is_autocast_enabled(where.type) == on
    assert autocast(gpu, None).fast_dtype == torch.bfloat16 and autocast(gpu, None).device == "cuda"


def test_sets_are_kept_where_they_are_used() -> None:
    data = {"a": torch.zeros(10), "b": (torch.zeros(3, dtype=torch.uint8), "word")}
    assert size_of(data) == 43
    assert keep_on(data, torch.device("cpu")) is data
    with far_device() as chosen:
        assert keep_on(data, chosen.torch)["b"][0].device.type == KIND


def test_speed() -> None:
    assert speed(_plain(), _far_loss, CONFIG, steps=5, warm=2) > 0
    assert not folder("speed").exists()
