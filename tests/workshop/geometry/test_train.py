"""Training of the networks that guess surfaces and light: errors by hand, a few steps, exact resume."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.priors.geometry import Geometry, GeometryNets
from dipir.workshop import trainer as training
from dipir.workshop.geometry import train as prior_geometry
from dipir.workshop.geometry.train import (
    PARTS,
    GeometryTraining,
    lit_error,
    loss,
    surface_error,
    train_geometry,
    validation,
)
from dipir.workshop.relight import pairs as relit_pairs
from dipir.workshop.relight.pairs import PairConfig
from dipir.workshop.relight.train import validation_pairs
from tests.support.far_training import same_on_another_device
from tests.support.relit_sets import balls

TRAIN = training.TrainConfig(steps=4, rate=1e-3, warmup=1, validate_every=2, log_every=1)
CONFIG = GeometryTraining(batch=4, lights=2, pairs=PairConfig(size=32), train=TRAIN)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def data():
    return balls()


@pytest.fixture(scope="module")
def held_out(data):
    return validation_pairs(data, CONFIG.pairs, 6)


def test_surface_error_by_hand():
    true = torch.zeros(1, 4, 1, 2)
    made = true.clone()
    made[0, :3, 0, 0] = torch.tensor([0.0, 0.6, 0.8])
    made[0, 3, 0, 1] = 0.5
    subject = torch.tensor([[[[0.0, 1.0]]]])
    # Left, not the object: normal off by 1, weight 1. Right, the object: shading off by 0.5, weight 4.
    assert float(surface_error(made, true, subject)) == pytest.approx((1.0 + 4 * 2 * 0.5) / 5, abs=2e-3)
    assert float(surface_error(true, true, subject)) < 2e-3


def test_lit_error_by_hand():
    true, made = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    made[0, :, :2] = 0.4  # RMSE 0.4 / sqrt(2), mean difference 0.2, in one of two pictures.
    assert float(lit_error(made, true)) == pytest.approx((0.4 / 2**0.5 + 1e-3) / 2 + 0.5 * 0.1, abs=1e-3)


def test_each_part_trains_its_own_network(data):
    nets = GeometryNets()
    for parameter in nets.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    batch = relit_pairs.draw(np.random.default_rng(0), data, 4, replace(CONFIG.pairs, targets=2))
    for part, moved in (("surfaces", {"surfaces"}), ("light", {"light"}), ("both", {"surfaces", "light"})):
        nets.zero_grad()
        loss(nets, batch, part, 2, 0.2)[0].backward()
        touched = {name.split(".")[0] for name, p in nets.named_parameters()
                   if p.grad is not None and float(p.grad.abs().max()) > 0}
        assert touched == moved, part


@pytest.mark.parametrize("part", PARTS)
def test_resumed_training_ends_in_the_same_weights(part, data, held_out):
    whole = train_geometry(part, CONFIG, data, held_out, name="whole")
    train_geometry(part, replace(CONFIG, train=replace(TRAIN, minutes=0.0)), data, held_out, name="parts")
    again = train_geometry(part, CONFIG, data, held_out, name="parts")
    assert whole.finished and again.finished
    assert all(torch.equal(whole.best[k], again.best[k]) for k in whole.best)


def test_training_the_light_lowers_its_error_and_leaves_the_surfaces(data, held_out):
    config = replace(CONFIG, batch=8, train=replace(TRAIN, steps=25, rate=4e-3, ema=0.6, validate_every=25))
    torch.manual_seed(0)
    start = GeometryNets()
    before = validation(start, held_out)
    trained = train_geometry("light", config, data, held_out, start=start)
    assert trained.best_score < 0.97 * before["score"]
    assert all(torch.equal(trained.best[k], v) for k, v in start.state_dict().items() if k.startswith("surfaces"))


def test_validation_of_untrained_ones(held_out):
    figures = validation(GeometryNets(), held_out)
    assert set(figures) == {"score", "angle_deg", "facing_deg", "shading_stops", "even_stops", "rmse", "input_rmse"}
    assert figures["shading_stops"] == pytest.approx(figures["even_stops"])
    assert figures["rmse"] == pytest.approx(figures["input_rmse"], rel=1e-4)
    surfaces = validation(GeometryNets(), held_out, "surfaces")
    assert surfaces["score"] != figures["score"]


def test_unknown_parts_and_parts_without_a_start(data, held_out):
    with pytest.raises(ConfigError, match="surfaces, light, both"):
        train_geometry("shadows", CONFIG, data, held_out)
    with pytest.raises(ConfigError, match="--start"):
        prior_geometry.main(["--part", "light"])


def test_the_command_trains_all_parts_and_writes_weights(data, held_out, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prior_geometry, "training_scenes", lambda *args: data)
    monkeypatch.setattr(prior_geometry, "validation_scenes", lambda *args: data)
    monkeypatch.setattr(prior_geometry, "RECIPE", replace(prior_geometry.RECIPE, config=CONFIG))
    path = tmp_path / "g.safetensors"
    prior_geometry.RECIPE.main(["--steps", "2", "--out", str(path), "--minutes", "5"])
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    Geometry.load(path)
    prior_geometry.RECIPE.main(["--evaluate", str(path)])
    assert "shading_stops" in capsys.readouterr().out


@pytest.mark.parametrize("part", PARTS)
def test_another_device(part, data, held_out):
    same_on_another_device(lambda name: train_geometry(part, CONFIG, data, held_out, name=name))
