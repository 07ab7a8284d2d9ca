"""Fitting IllumiNet to a capture: planes, split, loss, resume, files, and that it learns."""
from __future__ import annotations

import csv
import json
import math
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch

from dipir.errors import ConfigError, FitError, ImageError
from dipir.image.files import read_image
from dipir.rti import method as illuminet
from dipir.rti.method import IllumiNetTrainConfig, learning_rate, split_lights, train
from dipir.workshop.captures.dome import dome_directions
from tests.support.far import KIND, far_device
from tests.support.rti_captures import TINY, lights, photos


# -------------------------------------------------------------------------------------------------------------- pieces
def test_the_split_is_whole_and_spread():
    d = dome_directions(60, (15.0, 32.0, 50.0, 70.0))
    split = split_lights(d)
    assert len(split.held_out) == 12 and len(split.validation) == 4
    assert sorted(split.fitted + split.validation + split.held_out) == list(range(60))
    assert split_lights(d) == split
    chosen = d[list(split.held_out)]
    apart = torch.rad2deg(torch.acos((chosen @ chosen.T).clamp(-1, 1))).fill_diagonal_(180)
    assert float(apart.min()) > 20
    none = split_lights(d, IllumiNetTrainConfig(held_out=0))
    assert none.held_out == () and len(none.training) == 60


def test_few_lights_leave_three_to_learn_from():
    split = split_lights(lights(4), IllumiNetTrainConfig(held_out=0.5))
    assert len(split.training) == 3 and len(split.held_out) == 1 and len(split.fitted) == 2


def test_learning_rate_is_that_of_torch():
    config = IllumiNetTrainConfig(rate=0.1, last=0.1, warm_up=0, first_cycle=3, cycle_factor=2)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, 3, 2, 0.01)
    for step in range(22):
        assert learning_rate(config, step) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-6)
        optimiser.step()
        schedule.step()
    assert learning_rate(replace(config, warm_up=4), 0) == pytest.approx(0.025)


# --------------------------------------------------------------------------------------------------------------- train
def test_files_of_a_fit(trained):
    fitted, out, events = trained
    assert {p.name for p in out.iterdir()} == {"illuminet.safetensors", "features.safetensors", "config.yaml",
                                               "history.csv", "report.json", "comparison.png", "loss.png"}
    rows = list(csv.DictReader((out / "history.csv").open()))
    assert [int(r["step"]) for r in rows] == list(range(1, 7)) and all(float(r["loss"]) > 0 for r in rows)
    assert [bool(r["validation_psnr"]) for r in rows] == [False, True] * 3
    report = json.loads((out / "report.json").read_text())
    assert report["split"]["held_out"] == list(split_lights(lights(), TINY).held_out)
    assert report["training"]["steps"] == 6 and math.isfinite(report["methods"]["net"]["psnr"])
    assert read_image(out / "comparison.png").pixels.shape == (1, 3, 4 * 24, 2 * 20)
    assert events[-1].step == 6 and events[-1].stage == "illuminet"


def test_held_out_photos_play_no_part(trained):
    """Other held-out photos change the verdict, not the pictures."""
    fitted, _, _ = trained
    images = photos(lights())
    images[list(split_lights(lights(), TINY).held_out)] = 0.5
    other = train(lights(), images, TINY)
    d = torch.tensor([0.5, 0.2, 0.8])
    assert torch.equal(other.relight(d), fitted.relight(d))
    assert other.verdict["methods"]["net"] != fitted.verdict["methods"]["net"]


def test_a_run_that_was_stopped_goes_on_exactly(trained, tmp_path):
    fitted, _, _ = trained
    train_again = partial(train, lights(), photos(lights()), TINY, out=tmp_path)
    steps = illuminet._Run._one_step

    def interrupted(self):
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return steps(self)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(illuminet._Run, "_one_step", interrupted)
        with pytest.raises(SystemExit) as end:
            train_again()
    assert end.value.code == 143 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    again = train_again(resume=True)
    for name, value in fitted.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], value), name
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_another_run_cannot_be_continued(tmp_path):
    run = illuminet._Run(lights(), photos(lights()), split_lights(lights(), TINY), TINY)
    run._one_step()
    run.history.append({"step": 1, "loss": 1.0})
    from dipir.fit import checkpoint as files

    files.save(tmp_path / "checkpoint.safetensors", run._state(), "another")
    with pytest.raises(FitError, match="another run"):
        train(lights(), photos(lights()), TINY, out=tmp_path, resume=True)


def test_patience_and_time_end_a_run():
    fitted = train(lights(), photos(lights()), replace(TINY, steps=50, validate_every=1, patience=1, rate=1e-12))
    assert fitted.verdict["training"]["steps"] < 50
    fitted = train(lights(), photos(lights()), replace(TINY, steps=10_000, minutes=1e-9))
    assert fitted.verdict["training"]["steps"] == 1


def test_it_learns():
    """On a smooth glossy surface the net ends nearer to unseen lights than the prediction it starts from."""
    d = lights(20)
    images = photos(d, 32, 32)
    config = replace(TINY, steps=80, crop=32, batch=2, channels=(8, 8, 8, 8), rate=1e-2, validate_every=40, stem=1,
                     first_cycle=80, warm_up=5)
    fitted = train(d, images, config)
    start = train(d, images, replace(config, steps=1, rate=1e-12))
    better = fitted.verdict["methods"]["net"]["psnr"] - start.verdict["methods"]["net"]["psnr"]
    assert better > 0.5


# ----------------------------------------------------------------------------------------------------------- bad input
def test_bad_data_before_anything_is_written(tmp_path):
    d, images = lights(), photos(lights())
    for kind, problem, bad in ((ConfigError, "for 12 lights", images[:5]), (ImageError, "values from", images + 1),
                               (ImageError, "at least 16", images[..., :8]), (ConfigError, "float", images.byte())):
        with pytest.raises(kind, match=problem):
            train(d, bad, TINY, out=tmp_path)
    with pytest.raises(ConfigError, match="at least 4"):
        train(d[:3], images[:3], TINY, out=tmp_path)
    broken = images.clone()
    broken[0, 0, 0, 0] = math.nan
    with pytest.raises(ImageError):
        train(d, broken, TINY, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_device(tmp_path):
    """A fit, its files and a picture: as on the CPU."""
    directions = lights()
    (tmp_path / "far").mkdir()
    here = illuminet.train(directions, photos(directions), TINY, out=tmp_path)
    with far_device():
        fitted = illuminet.train(directions, photos(directions), TINY, out=tmp_path / "far")
        assert fitted.photos.device.type == next(fitted.net.parameters()).device.type == KIND
        again = illuminet.load(tmp_path / "far")
        pictures = [f.relight(torch.tensor([0.3, 0.2, 0.9])) for f in (fitted, again)]
    assert torch.equal(*pictures) and pictures[0].device.type == "cpu"
    torch.testing.assert_close(pictures[0], here.relight(torch.tensor([0.3, 0.2, 0.9])), rtol=1e-3, atol=1e-3)
    for name, figures in here.verdict["methods"].items():
        assert fitted.verdict["methods"][name]["psnr"] == pytest.approx(figures["psnr"], abs=0.05), name
    assert illuminet.load(tmp_path / "far").photos.device.type == "cpu"
