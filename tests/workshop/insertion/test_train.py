"""Training of the insertion prior: batches, loss and validation by hand, resuming, what is asked for."""
from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dipir.image import latlong
from dipir.priors.nets.composite_unet import CompositeUNet, CompositeUNetConfig
from dipir.workshop import crops
from dipir.workshop.insertion.composites import Composites, draw
from dipir.workshop.insertion.surroundings import Panoramas
from dipir.workshop.insertion.train import InsertPriorConfig, assemble, denoising_loss, train_insert_prior, validation
from dipir.workshop.trainer import TrainConfig
from tests.support.far_training import same_on_another_device
from tests.support.stages import card_stage

CONFIG = InsertPriorConfig(batch=2, net=CompositeUNetConfig(channels=(8, 16), blocks=1, embedding=16, detail=2),
                           train=TrainConfig(steps=6, rate=1e-3, warmup=1, validate_every=3, log_every=1))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))


class _Pool:
    """Two stages, whatever the step."""

    def at(self, step: int) -> list:
        return [card_stage(), card_stage((0.1, 0.5, 0.9), side=26)]


def _sources() -> list:
    return [(1.0, Panoramas([crops.prepare(0.2 + latlong.directions(64, 128).abs())]))]


def _batch(count: int = 4) -> Composites:
    return draw(np.random.default_rng(0), _Pool().at(0), _sources(), count)


def test_planes_are_in_the_order_that_the_weights_know() -> None:
    batch = _batch()
    x0, planes = assemble(batch)
    assert planes.shape == (4, 21, 64, 64)
    for k, image in enumerate((batch.plate, batch.hint, batch.wide)):
        torch.testing.assert_close(planes[:, 3 * k:3 * k + 3], image * 2 - 1)
    assert torch.equal(planes[:, 9:], batch.gbuffers) and torch.equal(x0, batch.target * 2 - 1)
    # Shipped weights: plane 9 is the coverage, 11 the world x of the normal, 14-16 the albedo.
    assert set(planes[:, 9].unique().tolist()) == {0.0, 1.0}
    assert planes[:, 11].abs().max() == pytest.approx(0.6, abs=1e-3)


def test_loss_of_a_perfect_and_of_a_constant_answer() -> None:
    batch = assemble(_batch())
    def perfect(x, sigma, planes):
        return batch[0]
    assert float(denoising_loss(perfect, batch, np.random.default_rng(0), CONFIG)[0]) == 0
    figures = validation(lambda x, sigma, planes: planes[:, 3:6], _batch(), replace(CONFIG, batch=4))
    x0, planes = batch
    d, s = CONFIG.net.sigma_data, 0.5
    weight = 0.15 + 0.85 * planes[:, 9:10]
    square = ((planes[:, 3:6] - x0) ** 2 * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    assert figures["sigma_0.5"] == pytest.approx(float(square.mean()) * (s**2 + d**2) / (s * d) ** 2, rel=1e-4)
    assert figures["object_rmse"] == pytest.approx(figures["hint_rmse"]) and figures["hint_rmse"] > 0


def test_validation_does_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    net = CompositeUNet(CONFIG.net)
    for p in net.parameters():
        nn.init.normal_(p, 0, 0.1)
    one, all_at_once = (validation(net, _batch(5), replace(CONFIG, batch=b)) for b in (2, 5))
    assert one == pytest.approx(all_at_once, rel=1e-4)


def test_interrupted_training_ends_in_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    whole = train_insert_prior(CONFIG, _Pool(), _sources(), _batch(), name="whole", on_event=events.append)
    stopped = iter([False, False, True])

    class Stopping(_Pool):
        def at(self, step: int) -> list:
            if next(stopped, False):
                os.kill(os.getpid(), signal.SIGTERM)
            return super().at(step)

    first = train_insert_prior(CONFIG, Stopping(), _sources(), _batch(), name="parts")
    assert first.step == 3 and not first.finished
    second = train_insert_prior(CONFIG, _Pool(), _sources(), _batch(), name="parts")
    assert second.finished and second.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    assert all(e.scalars["composites_per_s"] > 0 for e in events if e.stage == "whole")


def test_a_new_run_begins_with_the_given_weights() -> None:
    torch.manual_seed(3)
    start = CompositeUNet(CONFIG.net)
    config = replace(CONFIG, train=replace(CONFIG.train, steps=1, rate=0.0))
    trained = train_insert_prior(config, _Pool(), _sources(), _batch(), name="a", start=start)
    assert all(torch.allclose(trained.best[k], v) for k, v in start.state_dict().items())


def test_another_device() -> None:
    same_on_another_device(lambda name: train_insert_prior(CONFIG, _Pool(), _sources(), _batch(), name=name))
