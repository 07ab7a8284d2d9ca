"""Training of the network that guesses surfaces: its error by hand, a few steps, exact resume."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.methods import prior_geometry, training
from dipir.methods.prior_geometry import GeometryConfig, surface_error, train_geometry, validation
from dipir.nets.shading import LayerUNet
from dipir.synth import relit_pairs
from dipir.synth.relit_pairs import PairConfig
from tests.support.relit_sets import balls


def test_error_by_hand():
    true = torch.zeros(1, 4, 1, 2)
    made = true.clone()
    made[0, :3, 0, 0] = torch.tensor([0.0, 0.6, 0.8])
    made[0, 3, 0, 1] = 0.5
    subject = torch.tensor([[[[0.0, 1.0]]]])
    # Left, not the object: normal off by 1, weight 1. Right, the object: shading off by 0.5, weight 4.
    assert float(surface_error(made, true, subject)) == pytest.approx((1.0 + 4 * 2 * 0.5) / 5, abs=2e-3)
    assert float(surface_error(true, true, subject)) < 2e-3


@pytest.fixture(scope="module")
def data():
    return balls()


def test_resumed_training_ends_in_the_same_weights(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    size = data.lit.shape[-1]
    train = training.TrainConfig(steps=6, rate=1e-3, warmup=1, validate_every=3, log_every=1)
    config = GeometryConfig(batch=4, pairs=PairConfig(size=size), train=train)
    held_out = relit_pairs.draw(np.random.default_rng(3), data, 6, replace(config.pairs, augment=False))
    whole = train_geometry(config, data, held_out, name="whole")
    train_geometry(replace(config, train=replace(train, minutes=0.0)), data, held_out, name="parts")
    again = train_geometry(config, data, held_out, name="parts")
    assert whole.finished and again.finished
    assert all(torch.equal(whole.best[k], again.best[k]) for k in whole.best)
    figures = validation(LayerUNet(prior_geometry.LAYERS), held_out)
    assert {"score", "angle_deg", "facing_deg", "shading_stops", "even_stops"} == set(figures)
    assert figures["shading_stops"] == pytest.approx(figures["even_stops"])
