"""On a real GPU: the light prior's trainer and batches, runs that go from one device to the other, Muon, RTI."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dipir import device
from dipir.image import latlong
from dipir.priors.light import features
from dipir.priors.nets.light_unet import LightUNet, LightUNetConfig
from dipir.rti import method as illuminet
from dipir.scene.camera import Camera
from dipir.workshop import crops
from dipir.workshop import trainer as training
from dipir.workshop.captures.dome import dome_directions
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light.batches import Framed, Stored
from dipir.workshop.light.pairs import PairSet
from dipir.workshop.light.sources import Assembled, LightPriorConfig
from dipir.workshop.light.train import Case, _drawn_panorama, step_loss, train_on, training_speed
from dipir.workshop.trainer import TrainConfig

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NET = LightUNetConfig(widths=(16, 16, 16), plate_widths=(8, 16, 16, 16), plate_blocks=(0, 1, 1, 1), heads=2,
                      embedding=16, dropout=0.0)
CONFIG = LightPriorConfig(TrainConfig(steps=12, rate=1e-3, warmup=2, validate_every=6, log_every=4), NET, batch=8)


@pytest.fixture(autouse=True)
def _cuda(tmp_path, monkeypatch):
    """The run's device is the GPU for torch, whatever the renderer can use."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    chosen = device.Device("cuda", device.LLVM, "cuda", "a test")
    monkeypatch.setattr(device, "current", lambda: chosen)


@pytest.fixture(scope="module")
def panoramas() -> list[crops.Panorama]:
    rng = np.random.default_rng(1)
    return [crops.prepare(_drawn_panorama(rng, 128)) for _ in range(3)]


@pytest.fixture(scope="module")
def pairs(panoramas) -> PairSet:
    framed = Framed(panoramas, CPU)
    plate, env, camera = framed.plates(light_batches.ship(framed.columns(np.random.default_rng(3), 12), CPU))
    return PairSet(plate.half(), env, camera, torch.ones(12))


def test_crops_are_those_of_the_cpu(panoramas):
    columns = Framed(panoramas, CPU).columns(np.random.default_rng(0), 16)
    here, there = (Framed(panoramas, where).crops(light_batches.ship(columns, where)) for where in (CPU, CUDA))
    off = (there.cpu() - here).abs() / (1 + here)
    # Where a sun's edge is steep the last bit of a direction shows.
    assert off.mean() < 1e-4 and (off > 1e-3).float().mean() < 1e-3


def test_batches_are_those_of_the_cpu(panoramas, pairs):
    """Photos but for the rounding to 256 steps, light, directions, and what the network reads of them."""
    made = {}
    for where in (CPU, CUDA):
        sources = [(4, Framed(panoramas, where)), (4, Stored(pairs, where))]
        made[where.type] = light_batches.draw(np.random.default_rng(5), sources)
    here, there = made["cpu"], device.moved(made["cuda"], CPU)
    off = (there.plate_disp - here.plate_disp).abs()
    assert (off > 1e-4).float().mean() < 5e-3 and off.mean() < 1e-4
    assert (there.directions - here.directions).abs().max() < 1e-4
    assert ((there.env - here.env).abs() / (1 + here.env)).mean() < 1e-3
    near, far = features(here.plate_disp, here.directions), features(*device.moved(
        (here.plate_disp, here.directions), CUDA))
    for key in ("sphere", "plate", "base"):
        a, b = getattr(near, key), getattr(far, key).cpu()
        # A pixel on the border of two texels may count for the other one.
        assert ((a - b).abs() > 1e-3).float().mean() < 5e-3, key


def test_light_prior_trains(panoramas, pairs):
    events = []
    batches = Assembled.of(CONFIG, panoramas, pairs, CUDA)
    torch.manual_seed(0)
    net = LightUNet(NET).to(CUDA)
    config = replace(CONFIG.train, steps=60, log_every=20)
    trained = training.train(net, step_loss(CONFIG, batches, CUDA), config, name="a", on_event=events.append)
    losses = [e.scalars["loss"] for e in events]
    assert trained.finished and len(losses) == 3 and all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
    assert all(value.device.type == "cpu" and bool(torch.isfinite(value).all()) for value in trained.best.values())


def test_light_prior_is_judged_and_kept_on_the_cpu(panoramas, pairs):
    """The whole of ``train_on``: batches there, validation there, weights here."""
    case = Case(torch.rand(1, 3, 144, 192, generator=torch.Generator().manual_seed(0)),
                torch.from_numpy(Camera.looking(192, 144, 60).directions()).float()[None], panoramas[0].env[::4, ::4])
    events = []
    prior, trained = train_on(CONFIG, panoramas, pairs, [case, case], name="b", on_event=events.append)
    assert trained.finished and math.isfinite(trained.best_score)
    assert [e.stage for e in events] == ["b", "b/val", "b", "b", "b/val"]
    assert next(prior.net.parameters()).device == CPU


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 32, bias=False), nn.Linear(32, 1))


def _loss(model: nn.Module, step: int):
    where = next(model.parameters()).device
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(step)).to(where)
    return (model(x)[:, 0] - x.sum(1)).square().mean(), {}


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("first, second", [(CPU, CUDA), (CUDA, CPU)])
def test_a_run_goes_on_on_the_other_device(optimiser, first, second):
    config = TrainConfig(steps=40, rate=0.01, warmup=5, optimiser=optimiser, bf16=False)
    whole = training.train(_model(), _loss, config, name="whole")
    training.train(_model().to(first), _stopping(20), config, name="parts")
    trained = training.train(_model().to(second), _loss, config, name="parts")
    assert trained.finished
    def flat(state):
        return torch.cat([state[key].flatten() for key in whole.best])
    assert (flat(trained.best) - flat(whole.best)).norm() < 0.05 * flat(whole.best).norm()


def _stopping(at: int):
    import os
    import signal

    def loss(model, step):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return _loss(model, step)
    return loss


def test_optimiser_is_fused_and_the_pass_in_bfloat16():
    model = _model().to(CUDA)
    run = training._Run(model, TrainConfig(steps=3), training.folder("a"))
    seen = []
    hook = model[0].register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    run.one_step(_loss)
    hook.remove()
    assert run.optimiser.param_groups[0]["fused"] and seen == [torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_step_waits_for_nothing(panoramas, pairs):
    """No number is read and no memory is copied back while a step is made, after the constants are there."""
    batches = Assembled.of(CONFIG, panoramas, pairs, CUDA)
    net = LightUNet(NET).to(CUDA)
    run = training._Run(net, CONFIG.train, training.folder("a"))
    loss = step_loss(CONFIG, batches, CUDA)
    for _ in range(3):
        run.one_step(loss)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.one_step(loss)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_speed_is_measured():
    assert training_speed(steps=5, batch=8, where=CUDA, config=CONFIG) > 0


def test_rti_fit():
    directions = dome_directions(12)
    shade = (directions @ torch.tensor([0.2, 0.3, 0.93])).clamp_min(0)
    texture = torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(0))
    images = shade[:, None, None, None] * texture
    config = illuminet.IllumiNetTrainConfig(steps=6, crop=16, batch=2, channels=(4, 4, 4, 4), embedding=4,
                                            validate_every=2)
    fitted = illuminet.train(directions, images, config)
    assert fitted.photos.is_cuda and next(fitted.net.parameters()).is_cuda
    picture = fitted.relight(torch.tensor([0.3, 0.2, 0.9]))
    assert picture.device == CPU and bool(torch.isfinite(picture).all())
    assert math.isfinite(fitted.verdict["methods"]["net"]["psnr"])


def test_constants_are_made_once():
    assert latlong.directions(16, 32, device=CUDA) is latlong.directions(16, 32, device=CUDA)
