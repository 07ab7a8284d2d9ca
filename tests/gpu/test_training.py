"""On a real GPU: the light prior's trainer and batches, runs that go from one device to the other, Muon, RTI."""
from __future__ import annotations

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dipir import device
from dipir.image import latlong
from dipir.priors.light_input import features
from dipir.priors.nets.efficientnet import EfficientNetLite
from dipir.priors.nets.light_unet import LightUNet
from dipir.rti import method as illuminet
from dipir.workshop import trainer as training
from dipir.workshop.captured import Staged
from dipir.workshop.captures.dome import dome_directions
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light import pack
from dipir.workshop.light.framed import Framed
from dipir.workshop.light.places import Places
from dipir.workshop.light.pool import dress
from dipir.workshop.light.sources import Stored, sources_of, staged
from dipir.workshop.light.train import train_on
from dipir.workshop.trainer import TrainConfig
from tests.support.light_sets import CONFIG as SMALL
from tests.support.light_sets import NET, drawn, raw_plates

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIG = replace(SMALL, train=TrainConfig(steps=12, rate=1e-3, warmup=2, validate_every=6, log_every=4), batch=8,
                 pool=64)


@pytest.fixture(autouse=True)
def _cuda(tmp_path, monkeypatch):
    """The run's device is the GPU for torch, whatever the renderer can use."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    chosen = device.Device("cuda", device.LLVM, "cuda", "a test")
    monkeypatch.setattr(device, "current", lambda: chosen)


@pytest.fixture(scope="module")
def places() -> Places:
    return drawn(4)


def on(data, where: torch.device):
    return type(data)(*(v.to(where) for v in vars(data).values()))


def test_batches_are_those_of_the_cpu(places):
    """Photos but for the rounding to 256 steps, light, directions, and what the network reads of them."""
    made = {}
    for where in (CPU, CUDA):
        sources = [(4, Framed(on(places, where))), (4, Stored(on(raw_plates(3), where)))]
        made[where.type] = light_batches.draw(np.random.default_rng(5), sources)
    here, there = made["cpu"], device.moved(made["cuda"], CPU)
    off = (there.plate_disp - here.plate_disp).abs()
    assert (off > 1e-4).float().mean() < 5e-3 and off.mean() < 1e-4
    assert (there.directions - here.directions).abs().max() < 1e-4
    for key, value in vars(here.truth).items():
        assert ((getattr(there.truth, key) - value).abs() / (1 + value.abs())).mean() < 1e-3, key
    near, far = features(here.plate_disp, here.directions, here.place), features(*device.moved(
        (here.plate_disp, here.directions, here.place), CUDA))
    for key, a in vars(near).items():
        # A pixel on the border of two texels may count for the other one.
        assert ((a - getattr(far, key).cpu()).abs() > 1e-3).float().mean() < 5e-3, key


def test_dressed_plates_are_lit_as_on_the_cpu(places):
    """The same things in the same light; the rays of soft light are those of the device's own generator."""
    here, there = dress(places, 3, 2), device.moved(dress(on(places, CUDA), 3, 2), CPU)
    for key in ("direction", "sigma", "camera", "place"):
        torch.testing.assert_close(getattr(there, key), getattr(here, key), rtol=1e-4, atol=1e-4)
    assert ((there.plate - here.plate).abs() / (1 + here.plate)).median() < 0.02


def test_light_prior_trains_by_replayed_steps(places):
    events = []
    torch.manual_seed(0)
    net = LightUNet(NET).to(CUDA)
    config = replace(CONFIG.train, steps=60, log_every=20)
    run = staged(CONFIG, sources_of(CONFIG, on(places, CUDA)))
    trained = training.train(net, run, config, name="a", on_event=events.append)
    losses = [e.scalars["loss"] for e in events]
    assert trained.finished and len(losses) == 3 and all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]
    assert all(value.device.type == "cpu" and bool(torch.isfinite(value).all()) for value in trained.best.values())


def _pieces(where: torch.device):
    """A small staged loss."""
    def numbers(step):
        return {"x": np.random.default_rng(step).normal(size=(32, 4)).astype(np.float32)}

    def loss(model, got):
        return (model(got["x"])[:, 0] - got["x"].sum(1)).square().mean(), {"mean": got["x"].mean()}
    return Staged(numbers, loss, lambda columns: light_batches.ship(columns, where))


def test_replayed_steps_are_ordinary_ones():
    """The weights of a run of graphs are those of a run of kernels on the CPU; slow parts and averages too."""
    config = TrainConfig(steps=40, rate=0.01, warmup=5, bf16=False, slow=(("0.", 0.25),))
    here = training.train(_model(), _pieces(CPU), config, name="here")
    there = training.train(_model().to(CUDA), _pieces(CUDA), config, name="there")
    for key, value in here.best.items():
        torch.testing.assert_close(there.best[key], value, rtol=1e-2, atol=1e-3)


def test_a_graph_is_captured_and_waits_for_nothing(places):
    """After the first steps one graph is replayed, and nothing is read back or copied in between."""
    net = LightUNet(NET).to(CUDA)
    run = training._Run(net, CONFIG.train, training.folder("a"))
    steps = staged(replace(CONFIG, renew=10**6), sources_of(replace(CONFIG, renew=10**6), on(places, CUDA)))
    for _ in range(8):
        run.one_step(steps, 1e-3)
    assert run.captured.graph is not None
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.one_step(steps, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _until(steps: Staged, last: int) -> Staged:
    """The same, stopped by a signal so that ``last`` steps are taken."""
    def before(step):
        if step == last - 1 < 29:
            os.kill(os.getpid(), signal.SIGTERM)
    return replace(steps, before=before)


def test_a_run_of_graphs_goes_on():
    """Stopped and resumed on the GPU, and then on the CPU."""
    config = TrainConfig(steps=30, rate=0.01, warmup=5, bf16=False, slow=(("0.", 0.25),))
    whole = training.train(_model(), _pieces(CPU), config, name="whole")
    for where, last in ((CUDA, 12), (CUDA, 20), (CPU, 30)):
        trained = training.train(_model().to(where), _until(_pieces(where), last), config, name="parts")
        assert trained.step == last
    def flat(state):
        return torch.cat([state[key].flatten() for key in whole.best])
    assert (flat(trained.best) - flat(whole.best)).norm() < 0.05 * flat(whole.best).norm()


def test_light_prior_is_judged_and_kept_on_the_cpu(places):
    """The whole of ``train_on``: batches there, validation there, weights here."""
    events = []
    data = pack.Pack(places, places, {"train": list("abcd"), "val": list("abcd")}, None, None,
                     EfficientNetLite().state_dict())
    prior, trained = train_on(CONFIG, data, name="b", on_event=events.append)
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
    run.one_step(_loss, 1e-3)
    hook.remove()
    assert run.optimiser.param_groups[0]["fused"] and seen == [torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in model.parameters())


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
