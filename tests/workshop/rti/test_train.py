"""Training of the general relighting network: loss and validation by hand, resuming, the written file."""
from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dipir.errors import PriorError
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight.net import load_net, net_planes
from dipir.workshop.relight import pairs as relit_pairs
from dipir.workshop.relight.pairs import PairConfig, Pairs
from dipir.workshop.relight.train import seen, validation_pairs
from dipir.workshop.rti import train as prior_illuminet
from dipir.workshop.rti.train import GeneralNetConfig, train_general, validation
from dipir.workshop.trainer import TrainConfig
from tests.support.far_training import same_on_another_device
from tests.support.relit_sets import balls

NET = IllumiNetConfig(planes=PLANES, light=4, channels=(4, 6, 8, 8), embedding=8, stem=2)
CONFIG = GeneralNetConfig(batch=2, scenes=4, val_pairs=4, pairs=PairConfig(size=32), net=NET,
                          train=TrainConfig(steps=6, rate=1e-3, warmup=1, validate_every=3, log_every=1))
BLIND = Geometry.untrained()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


def _pairs(count: int = 4) -> Pairs:
    return validation_pairs(balls(), CONFIG.pairs, count)


# ---- loss and validation ---------------------------------------------------------------------------------------------

def test_validation_by_hand() -> None:
    """A fresh network answers with the picture."""
    batch = _pairs(20)
    told = net_planes(seen(batch, BLIND))
    figures = validation(IllumiNet(NET).eval(), batch, told, CONFIG)
    assert set(figures) == {"score", "rmse", "guess_rmse", "input_rmse", "psnr"}
    per_image = (batch.image - batch.target).square().mean((1, 2, 3))
    assert figures["input_rmse"] == pytest.approx(float(per_image.sqrt().mean()), rel=1e-4)
    assert figures["rmse"] == pytest.approx(figures["input_rmse"], rel=5e-3)  # It cannot show 0 and 1 quite.
    assert figures["psnr"] == pytest.approx(float((-10 * per_image.log10()).mean()), rel=0.02)
    assert figures["score"] == pytest.approx(float(CONFIG.loss(batch.image, batch.target)), rel=0.02)

    class Perfect(nn.Module):
        def forward(self, planes, light):
            row = [k for x in planes[:, :3] for k in range(20) if torch.allclose(x, batch.image[k], atol=1e-4)]
            return batch.target[row]

    perfect = validation(Perfect(), batch, told, CONFIG)
    assert perfect["score"] == pytest.approx(0, abs=1e-6) and perfect["rmse"] == 0 < perfect["input_rmse"]


# ---- training --------------------------------------------------------------------------------------------------------

def test_interrupted_training_ends_in_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    events, data, held_out = [], balls(), _pairs(2)
    whole = train_general(CONFIG, data, held_out, BLIND, name="whole", on_event=events.append)
    draw, calls = relit_pairs.draw, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args)

    monkeypatch.setattr(relit_pairs, "draw", stopping)
    first = train_general(CONFIG, data, held_out, BLIND, name="parts")
    assert first.step == 3 and not first.finished
    second = train_general(CONFIG, data, held_out, BLIND, name="parts")
    assert second.finished and second.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    assert [e.step for e in events if e.stage == "whole/val"] == [3, 6]


def test_a_new_run_begins_with_the_given_weights() -> None:
    torch.manual_seed(3)
    start = IllumiNet(NET)
    config = replace(CONFIG, train=replace(CONFIG.train, steps=1, rate=0.0))
    trained = train_general(config, balls(), _pairs(2), BLIND, name="a", start=start)
    weights = dict(start.named_parameters())
    assert all(torch.allclose(trained.best[k], v.detach()) for k, v in weights.items())


def test_half_floats_train_too() -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, steps=2, bf16=True))
    trained = train_general(config, balls(), _pairs(2), BLIND, name="half")
    assert trained.finished and all(bool(torch.isfinite(v).all()) for v in trained.best.values())


def test_training_lowers_the_error() -> None:
    data = balls().part(slice(1, 2))
    held_out = validation_pairs(data, CONFIG.pairs, 8)
    config = replace(CONFIG, batch=6, train=replace(CONFIG.train, steps=60, rate=1e-2, ema=0.6, validate_every=60))
    events = []
    train_general(config, data, held_out, BLIND, name="learns", on_event=events.append)
    end = [e.scalars for e in events if e.stage == "learns/val"][-1]
    assert end["rmse"] < 0.9 * end["input_rmse"]


# ---- the whole run ---------------------------------------------------------------------------------------------------

def test_run_writes_a_network_that_loads_and_can_be_gone_on_from(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prior_illuminet, "training_scenes", lambda *args: balls())
    monkeypatch.setattr(prior_illuminet, "validation_scenes", lambda *args: balls())
    monkeypatch.setattr(prior_illuminet.Geometry, "load", staticmethod(Geometry.untrained))
    path = tmp_path / "net.safetensors"
    assert prior_illuminet.run(10, CONFIG, path, "one") == path
    net, digest = load_net(path)
    assert net.config == NET and len(digest) == 16
    other = replace(CONFIG, net=IllumiNetConfig(planes=PLANES, light=4), train=replace(CONFIG.train, steps=1, rate=0.0))
    again, _ = load_net(prior_illuminet.run(10, other, tmp_path / "again.safetensors", "two", start=path))
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(again.parameters(), net.parameters(), strict=True))


def test_weights_to_begin_with_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_illuminet, "validation_scenes", lambda *args: pytest.fail("long work began"))
    with pytest.raises(PriorError, match="no such file"):
        prior_illuminet.run(1, CONFIG, tmp_path / "a.safetensors", start=tmp_path / "absent.safetensors")


def test_another_device() -> None:
    same_on_another_device(lambda name: train_general(CONFIG, balls(), _pairs(), Geometry.untrained(), name=name))
