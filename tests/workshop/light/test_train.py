"""The light prior's trainer with batches assembled on another device; its losses are in test_loss.py."""
from __future__ import annotations

import json
import math

import pytest
import torch

from dipir.image import latlong
from dipir.priors.nets.light_unet import LightUNet
from dipir.scene.camera import Camera
from dipir.workshop import trainer as training
from dipir.workshop.light import train as prior_light
from dipir.workshop.light.sources import Assembled
from dipir.workshop.light.train import Case, step_loss, train_on, training_speed, validation
from tests.support.far import KIND, far_device
from tests.support.light_sets import CONFIG, NET

CPU = torch.device("cpu")


def cases() -> list[Case]:
    plate = torch.rand(1, 3, 144, 192, generator=torch.Generator().manual_seed(0))
    rays = torch.from_numpy(Camera.looking(192, 144, 60, pitch_deg=5).directions()).float()[None]
    return [Case(plate, rays, 0.6 + 0.4 * latlong.directions(16, 32)),
            Case(plate.flip(-1), rays, torch.ones(16, 32, 3))]


def test_training_on_another_device(panoramas, pairs):
    """``train_on`` there against the same steps with the same batches on the CPU."""
    torch.manual_seed(CONFIG.seed)
    net = LightUNet(NET)
    training.train(net, step_loss(CONFIG, Assembled.of(CONFIG, panoramas, pairs, CPU), CPU), CONFIG.train, name="here")
    with far_device():
        prior, trained = train_on(CONFIG, panoramas, pairs, cases(), name="there")
    assert trained.finished and math.isfinite(trained.best_score)
    assert next(prior.net.parameters()).device == CPU
    rows = [[json.loads(line) for line in (training.folder(name) / "log.jsonl").read_text().splitlines()]
            for name in ("here", "there")]
    ours, theirs = ([row for row in r if "loss" in row] for r in rows)
    for a, b in zip(ours, theirs, strict=True):
        assert set(CONFIG.weights) < set(a)
        for key in ("loss", "gradient", *CONFIG.weights):
            assert b[key] == pytest.approx(a[key], rel=2e-2, abs=1e-3), key


def test_validation_of_all_at_once(panoramas):
    torch.manual_seed(0)
    net = LightUNet(NET)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    prior = prior_light.LightPrior(net)
    here = validation(prior, cases(), CPU)
    with far_device() as chosen:
        there = validation(prior, cases(), chosen.torch)
        assert next(prior.net.parameters()).device.type == KIND
    assert there == pytest.approx(here, rel=1e-3, abs=1e-3, nan_ok=True)


def test_speed_needs_no_files(tmp_path):
    assert training_speed(steps=1, batch=4, where=CPU, config=CONFIG) > 0
    assert list(tmp_path.iterdir()) == []
