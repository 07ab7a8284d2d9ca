"""Fitting IllumiNet to a capture: planes, split, loss, resume, files, and that it learns."""
from __future__ import annotations

import csv
import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dipir.errors import ConfigError, FitError, ImageError, PriorError
from dipir.image.files import read_image
from dipir.image.metrics import LossWeights
from dipir.rti import features as rti_features
from dipir.rti import method as illuminet
from dipir.rti.bases import design, fit
from dipir.rti.method import IllumiNetTrainConfig, learning_rate, load, split_lights, train
from dipir.rti.page import loss_chart
from dipir.workshop.captures.dome import dome_directions
from tests.support.far import KIND, far_device

TINY = IllumiNetTrainConfig(steps=6, crop=16, batch=2, channels=(4, 4, 4, 4), embedding=4, validate_every=2,
                            warm_up=1, first_cycle=2)


def lights(count: int = 12) -> torch.Tensor:
    return dome_directions(count, (20.0, 55.0))


def photos(directions: torch.Tensor, height: int = 24, width: int = 20) -> torch.Tensor:
    """A bumpy matte surface with an attached shadow and a highlight: (n, 3, h, w), 8-bit values."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    slope = torch.stack([0.5 * (5 * x).cos(), 0.5 * (4 * y).sin(), torch.ones_like(x)])
    normal = slope / slope.norm(dim=0)
    cosine = torch.einsum("nc,chw->nhw", directions, normal).clamp_min(0)
    albedo = torch.stack([0.6 + 0.2 * x, 0.5 - 0.2 * y, 0.4 + 0 * x])
    image = albedo * cosine[:, None] + 0.3 * cosine[:, None] ** 30
    return (image.clamp(0, 1) * 255).round() / 255


# ------------------------------------------------------------------------------------------------------------- planes
def test_a_photo_has_no_part_in_its_own_planes():
    near = rti_features.weights(lights())
    assert float(torch.diagonal(near.photos, dim1=0, dim2=2).abs().max()) < 1e-5


@pytest.mark.parametrize("covariance", range(len(rti_features.COVARIANCES)))
def test_leaving_one_out_is_what_it_says(covariance):
    """The closed forms give the planes of the capture without that photo."""
    d, images = lights(), photos(lights())
    near = rti_features.weights(d, None, covariance)
    step = rti_features.spacing(d)
    for i in (0, 7):
        others = [k for k in range(len(d)) if k != i]
        apart = rti_features.weights(d[others], d[i:i + 1], covariance)
        torch.testing.assert_close(near.photos[i, 0, others], apart.photos[0, 0], atol=2e-4, rtol=0)
        harmonics = slice(rti_features.COLOURED, None)
        torch.testing.assert_close(near.photos[i, harmonics][:, others], apart.photos[0, harmonics], atol=1e-3, rtol=0)
        if abs(rti_features.spacing(d[others]) - step) < 1e-6:
            torch.testing.assert_close(near.light[i], apart.light[0])
    assert rti_features.planes(near.photos[0], images).shape == (rti_features.PLANES, 24, 20)


def test_even_surfaces_stay_even():
    """Exactly on the sides, nearly in the prediction between lights; at a light it is the photo."""
    d = lights(40)
    near = rti_features.weights(d, torch.tensor([[0.6, 0.0, 0.8]]))
    torch.testing.assert_close(near.photos[0, 1:5].sum(1), torch.ones(4), atol=1e-5, rtol=0)
    assert float(near.photos[0, 0].sum()) == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(rti_features.weights(d, d).photos[:, 0], torch.eye(40), atol=0.02, rtol=0)


def test_the_best_covariance_is_found():
    """By brute force: fit without each photo in turn."""
    d, images = lights(), photos(lights())
    errors = []
    for k in range(len(rti_features.COVARIANCES)):
        total = 0.0
        for i in range(len(d)):
            others = [j for j in range(len(d)) if j != i]
            row = rti_features.weights(d[others], d[i:i + 1], k).photos[0, 0]
            total += float((torch.tensordot(row, images[others], 1) - images[i]).square().mean())
        errors.append(total)
    assert rti_features.best_covariance(d, images) == errors.index(min(errors))
    assert max(errors) > 1.02 * min(errors)


def test_the_sides_lie_where_they_say():
    """In a capture whose photos hold the light's place, the side planes show the offsets that the numbers give."""
    d, wanted = lights(40), torch.nn.functional.normalize(torch.tensor([[0.3, 0.2, 0.9]]), dim=1)
    place = rti_features.chart(d)
    flat = torch.stack([place[:, 0], place[:, 1], torch.zeros(40)], 1)[:, :, None, None]
    near = rti_features.weights(d, wanted)
    planes = rti_features.planes(near.photos[0], flat)[:15].reshape(5, 3)[1:, :2]
    offsets = (planes - rti_features.chart(wanted)) / rti_features.spacing(d)
    torch.testing.assert_close(offsets, near.light[0, 3:].reshape(4, 2), atol=1e-4, rtol=0)
    assert offsets[0, 0] > 0.5 and offsets[1, 1] > 0.5 and offsets[2, 0] < -0.5 and offsets[3, 1] < -0.5


def test_harmonics_are_the_least_squares_fit():
    d, images = lights(30), photos(lights(30))
    rows = rti_features.weights(d, d[:1]).photos[0, rti_features.COLOURED:]
    ours = torch.tensordot(rows, images.mean(1), 1)
    torch.testing.assert_close(ours, fit(d, images, "hsh9").values.mean(1), atol=5e-3, rtol=0)
    assert design(d, "hsh9").shape == (30, 9)


@pytest.mark.parametrize("symmetry", range(8))
def test_turning_pixels_and_lights_agree(symmetry):
    """A light on the right of a picture that is turned must stand where the picture's right has gone."""
    ramp = torch.linspace(-1, 1, 9)
    y, x = torch.meshgrid(-ramp, ramp, indexing="ij")  # Row 0 is up.
    picture = torch.stack([x, y])
    d = torch.tensor([[0.6, 0.48, 0.64]])
    brightness = d[0, 0] * picture[0] + d[0, 1] * picture[1]
    turned = rti_features.turned(d, symmetry)[0]
    again = turned[0] * picture[0] + turned[1] * picture[1]
    torch.testing.assert_close(rti_features.turned_picture(brightness, symmetry), again)
    torch.testing.assert_close(rti_features.turned_back(rti_features.turned_picture(picture, symmetry), symmetry),
                               picture)


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


def test_loss_chart_draws_the_curve():
    chart = loss_chart([(i, 10.0 ** (-i / 50)) for i in range(1, 100)])
    assert chart.shape == (1, 3, 360, 640)
    blue = (chart[0, 2] > 0.6) & (chart[0, 0] < 0.5)
    columns = blue.nonzero()
    left, right = columns[columns[:, 1] < 150][:, 0], columns[columns[:, 1] > 550][:, 0]
    assert left.float().mean() < right.float().mean() - 100  # Falls: rows grow.
    assert loss_chart([]).shape == (1, 3, 360, 640)


# --------------------------------------------------------------------------------------------------------------- train
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    events = []
    fitted = train(lights(), photos(lights()), TINY, out=out, on_event=events.append)
    return fitted, out, events


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


def test_a_saved_network_relights_the_same(trained):
    fitted, out, _ = trained
    again = load(out)
    d = torch.tensor([-0.3, 0.5, 2.0])
    assert torch.equal(again.relight(d), fitted.relight(d))
    assert again.relight(d).shape == (1, 3, 24, 20) and again.config == fitted.config
    assert again.verdict["methods"]["ptm"]["psnr"] == pytest.approx(fitted.verdict["methods"]["ptm"]["psnr"])
    torch.testing.assert_close(again.relight(d), again.relight(3 * d), atol=1e-6, rtol=0)


def test_all_views_are_averaged(trained):
    fitted, _, _ = trained
    d = torch.tensor([0.5, 0.2, 0.8])
    eight = replace(fitted, config=replace(fitted.config, views=8)).relight(d)
    assert eight.shape == (1, 3, 24, 20) and 0 < float((eight - fitted.relight(d)).abs().max()) < 0.1


def test_a_run_that_was_stopped_goes_on_exactly(trained, tmp_path):
    fitted, _, _ = trained
    train_again = lambda **rest: train(lights(), photos(lights()), TINY, out=tmp_path, **rest)
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
@pytest.mark.parametrize("change, problem", [
    ({"steps": 0}, "steps is 0"), ({"rate": 0.0}, "rate is 0"), ({"held_out": 0.9}, r"in \[0, 0.5\]"),
    ({"views": 9}, "at most 8"), ({"channels": (0, 1, 1, 1)}, "channels"), ({"last": 2.0}, "last is 2"),
    ({"loss": LossWeights(0, 0, 0, 0)}, "weights"), ({"minutes": -1.0}, "minutes is -1")])
def test_bad_settings(change, problem):
    with pytest.raises(ConfigError, match=problem):
        IllumiNetTrainConfig(**change)


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


def test_bad_direction(trained):
    for bad in ([0.0, 0, 0], [math.nan, 0, 1], [1.0, 2.0]):
        with pytest.raises(ConfigError, match="direction"):
            trained[0].relight(torch.tensor(bad))


def test_damaged_folders(trained, tmp_path):
    _, out, _ = trained
    names = ("illuminet.safetensors", "features.safetensors")

    def restore():
        for name in names:
            (tmp_path / name).write_bytes((out / name).read_bytes())
    with pytest.raises(PriorError, match="no such folder"):
        load(tmp_path / "none")
    with pytest.raises(PriorError, match="illuminet.safetensors: no such file"):
        load(tmp_path)
    for name in names:
        restore()
        (tmp_path / name).write_bytes((out / name).read_bytes()[:-9])
        with pytest.raises(PriorError, match=f"{name}: damaged"):
            load(tmp_path)
    restore()
    assert not load(tmp_path).verdict
    tensors = load_file(tmp_path / names[1])
    tensors["photos"][0, 0, 0, 0] += 1
    save_file(tensors, tmp_path / names[1], {"architecture": "dipir illuminet 1"})
    with pytest.raises(PriorError, match="checksums"):
        load(tmp_path)
    save_file(tensors, tmp_path / names[1], {"architecture": "other"})
    with pytest.raises(PriorError, match="'other'"):
        load(tmp_path)
    assert np.isfinite(load(out).planes[0])


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
