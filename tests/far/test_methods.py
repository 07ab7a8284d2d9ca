"""relight(), layout() and what a sequence shares, walked on a far device with their networks there: as on the CPU."""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dipir import device
from dipir.errors import ConfigError
from dipir.image.palette import parse_palette
from dipir.insert import config as insert_config
from dipir.insert import sequence
from dipir.insert.method import insert
from dipir.layout import work as layout_work
from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, layouts
from dipir.layout.regions import Region
from dipir.priors.colour import COLOUR
from dipir.priors.geometry import Geometry
from dipir.priors.insertion import InsertionPrior
from dipir.priors.layout import LayoutPrior
from dipir.priors.nets.illuminet import IllumiNet
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.relight import layers as relight_fit
from dipir.relight.config import RelightConfig, RelightGuidance, load_config
from dipir.relight.method import Engine, Picture, RelightRequest, find_engine, relight
from dipir.scene.direction import LightDirection
from dipir.settings import read
from tests.relight.test_net import SMALL
from tests.support.far import KIND, far_device
from tests.support.looks import SayingPrior
from tests.support.scenes import sphere_scene
from tests.support.toy_layout import ColourToy

CPU = torch.device("cpu")
CLOSE = {"atol": 2e-4, "rtol": 0}
"""Networks sum in another order where torch chooses its way by the device; Adam's first steps make that larger."""
LEFT = RelightRequest(LightDirection(-90, 20))


def picture(cutout: bool = False) -> Picture:
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(1, 3, 5, 6, generator=generator) * 0.6 + 0.2
    image = torch.nn.functional.interpolate(low, (40, 48), mode="bicubic").clamp(0, 1)
    mask = (torch.rand(1, 1, 40, 48, generator=generator) > 0.3).float()
    return Picture(image, mask if cutout else None, (1 - mask) if cutout else None)


def settings(kind: str = "posterior", layers: str = "multiply_divide", steps: int = 3, **more) -> RelightConfig:
    config = load_config("default", overrides=[
        f"guidance.kind={kind}", "guidance.samples=2", "guidance.sampler_steps=2", "guidance.size=32",
        f"layers.kind={layers}", "layers.size=32", f"fit.steps={steps}", "fit.preview_every=1", "net_size=32"])
    return replace(config, **more)


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    """Untrained networks answer 0: here their last layers say something."""
    generator = torch.Generator().manual_seed(3)
    for value in net.parameters():
        value.data += 0.02 * torch.randn(value.shape, generator=generator)
    return net


def engine_of(kind: str, where: torch.device) -> Engine:
    if kind == "net":
        torch.manual_seed(1)
        net, geometry = shaken(IllumiNet(SMALL).eval().requires_grad_(False)), Geometry.untrained()
        shaken(geometry.nets).to(where)
        return Engine(net.to(where), geometry)
    prior = PicturePrior.untrained(COLOUR if kind == "colour" else RELIGHT)
    shaken(prior.net).to(where)
    geometry = Geometry.untrained()
    shaken(geometry.nets).to(where)
    return Engine(prior, None if kind == "colour" else geometry)


@pytest.mark.parametrize("kind, cutout, config, wish", [
    ("layers", False, settings(), LEFT), ("layers", True, settings(layers="gain"), LEFT),
    ("layers", False, settings("sds"), LEFT), ("layers", False, settings(layers="additive"), LEFT),
    ("net", True, settings(engine="net"), LEFT), ("net", False, settings(engine="net"), LEFT),
    ("colour", False, settings(), RelightRequest(None, "a red apple", parse_palette("a red apple on a blue plate")))])
def test_relight_is_the_same_on_the_far_device(kind, cutout, config, wish, tmp_path):
    here = relight(picture(cutout), wish, config, engine=engine_of(kind, CPU))
    seen = []
    with far_device() as far:
        there = relight(picture(cutout), wish, config, engine=engine_of(kind, far.torch), on_event=seen.append,
                        out=tmp_path)
    assert there.picture.image.device == CPU and there.provenance["device"]["torch"] == KIND
    for name in ("image", "multiply", "divide"):
        a, b = getattr(here, name), getattr(there, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert type(b) is torch.Tensor and b.device == CPU
            torch.testing.assert_close(a, b, **CLOSE)
    assert len(here.history) == len(there.history) == (0 if kind == "net" else 3)
    for a, b in zip(here.history, there.history, strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-6)
    assert not torch.equal(here.image, picture(cutout).image), "something was changed"
    assert all(image.device == CPU for event in seen for image in event.images.values())


def test_a_step_of_a_fit_reads_nothing_from_the_device(monkeypatch):
    """Its numbers are handed on as tensors; who logs them reads them."""
    config, engine = settings(), engine_of("layers", CPU)
    steps = []
    monkeypatch.setattr(relight_fit, "minimise", lambda objective, *a, **k: steps.append(objective(0)) or [])
    relight(picture(), LEFT, config, engine=engine)
    (_, logged, _), = steps
    assert all(isinstance(logged[name], torch.Tensor) and not logged[name].requires_grad
               for name in ("guidance", "layers"))


def test_networks_are_loaded_to_the_run_s_device():
    with far_device():
        posterior = RelightConfig(guidance=RelightGuidance(kind="posterior"))
        for config, wish in ((RelightConfig(), LEFT), (posterior, LEFT), (RelightConfig(engine="net"), LEFT),
                             (RelightConfig(), RelightRequest(None, "red", parse_palette("red")))):
            engine = find_engine(config, wish)
            nets = [getattr(engine.network, "net", engine.network), getattr(engine.geometry, "nets", None)]
            values = [v for net in nets if net is not None for v in net.parameters()]
            assert values and all(v.device.type == KIND for v in values)
        assert LayoutPrior.load().device.type == KIND


# ------------------------------------------------------------------------------------------------------------- layout
PLAIN = ["attention=false", "width=8", "height=8", "sampler.steps=6", "sampler.scale=2", "guidance.strength=0.5"]
LEFT_BOX, RIGHT_BOX = (0.0, 0.0, 0.5, 1.0), (0.4, 0.1, 1.0, 0.9)
MASKED = torch.zeros(1, 1, 24, 24)
MASKED[..., 4:16, 6:20] = 1


def request(*regions: Region, **more) -> LayoutRequest:
    return LayoutRequest("a red cube and a blue cube", regions, **more)


TWO = request(Region("a red cube", LEFT_BOX), Region("a blue cube", RIGHT_BOX))
MASKS = request(Region("a red cube", mask=MASKED), Region("a blue cube", RIGHT_BOX))
PHOTO = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(5))


def equal(here, there, **close) -> None:
    close = close or {"atol": 0, "rtol": 0}
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):
        assert b.image.device == CPU and type(b.image) is torch.Tensor
        torch.testing.assert_close(a.image, b.image, **close)
        for ours, theirs in ((a.layers, b.layers), (a.attention, b.attention)):
            assert [n for n, _ in ours] == [n for n, _ in theirs]
            for (_, x), (_, y) in zip(ours, theirs, strict=True):
                assert type(y) is torch.Tensor
                torch.testing.assert_close(x, y, **close)
        for name, delta in a.provenance["deltas"].items():
            assert b.provenance["deltas"][name] == pytest.approx(delta, abs=close["atol"])
        assert b.provenance["device"]["torch"] == KIND and b.request.regions == a.request.regions


@pytest.mark.parametrize("asked, pairs", [
    ([TWO], ("guidance.delta=constant",)), ([TWO, MASKS, request()], ("guidance.delta=constant", "layers.edge=1")),
    ([TWO], ("guidance.kind=multidiffusion", "guidance.bootstrap=0.5")), ([TWO], ("guidance.kind=paste",)),
    ([MASKS], ("guidance.delta=constant", "sampler.kind=heun")),
    ([MASKS], ("guidance.delta=constant", "sampler.kind=ddim", "sampler.eta=0.5")),
    ([replace(MASKS, image=PHOTO, source="a grey cube")], ("guidance.delta=constant",)),
    ([replace(MASKS, image=PHOTO)], ("guidance.delta=constant", "edit.noise=fresh", "edit.context=1.5"))])
def test_layout_is_the_same_on_the_far_device(asked, pairs):
    config = read.override(LayoutConfig(), [*PLAIN, *pairs])
    here = layouts(asked, config, prior=ColourToy(size=8))
    seen = []
    with far_device() as far:
        there = layouts(asked, config, prior=ColourToy(size=8, device=far.torch), on_event=seen.append)
    equal(here, there)
    assert seen and all(image.device == CPU for event in seen for image in event.images.values())


@pytest.mark.parametrize("delta", ["dynamic", "dynamic_colour"])
def test_layout_by_attention_is_the_same_on_the_far_device(delta):
    config = read.override(LayoutConfig(), ["sampler.steps=3", f"guidance.delta={delta}", "guidance.strength=0.5"])
    asked = [request(Region("a red cube", LEFT_BOX), Region("a blue cube", (0.5, 0.0, 1.0, 1.0)))]
    here = layouts(asked, config, prior=LayoutPrior.load())
    with far_device():
        there = layouts(asked, config)  # Loaded there.
    equal(here, there, **CLOSE)
    assert here[0].attention and here[0].layers


def test_start_noise_means_the_same_everywhere():
    config = read.override(LayoutConfig(), PLAIN)
    here = layout_work.start_noise(layout_work.canvas_of(ColourToy(size=8), config), 4)
    with far_device() as far:
        there = layout_work.start_noise(layout_work.canvas_of(ColourToy(size=8, device=far.torch), config), 4)
        assert there.device.type == KIND and torch.equal(there.cpu(), here)


# ------------------------------------------------------------------------------------------- memory, and sequences
@pytest.mark.parametrize("module, call, setting", [
    ("dipir.relight.method._by_layers", lambda: relight(picture(), LEFT, settings(), engine=engine_of("layers", CPU)),
     "guidance.size"),
    ("dipir.layout.method.generate", lambda: layouts([TWO], read.override(LayoutConfig(), PLAIN), prior=ColourToy()),
     "width and height"),
    ("dipir.insert.sequence.find_prior", lambda: sequence.insert_sequence([]), "fewer frames")])
def test_too_little_memory_names_what_lowers_it(monkeypatch, module, call, setting):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(module, full)
    with pytest.raises(device.DeviceMemoryError, match=f"20.00 GiB were asked for.*{setting}.*CPU"):
        call()


def test_a_sequence_s_mean_is_as_precise_as_python_s():
    numbers = [0.1, 1 / 3, 7e-9]
    as_tensors = [torch.tensor(v) for v in numbers]
    def frame(v):
        return lambda step: (torch.tensor(1.0), {"a": v}, dict)
    exact = sum(float(v) for v in as_tensors) / 3
    _, logged, _ = sequence._Together([frame(v) for v in as_tensors])(0)
    assert float(logged["a"]) == exact
    _, logged, _ = sequence._Together([frame(float(v)) for v in as_tensors])(0)
    assert logged["a"] == exact


def test_an_engine_without_a_light_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(PicturePrior, "load", lambda *a: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match="no direction of light"):
        find_engine(RelightConfig(), RelightRequest())


# ---- insert ----------------------------------------------------------------------------------------------------------
TINY = ["light.start=ambient", "guidance.kind=posterior", "guidance.samples=2", "guidance.sampler_steps=2",
        "fit.steps=3", "final.spp=4", "final.env_height=32", "transport.samples=1", "transport.bsdf_samples=2",
        "transport.light_samples=2"]


@pytest.mark.parametrize("settings", [[], ["optimize=[light,tone,material]", "material.spp=4"],
                                      ["light.start=mirrored", "light.two_maps=true", "guidance.kind=none"],
                                      pytest.param(["light.start=prior"], marks=pytest.mark.slow),
                                      ["light.start=prior", "optimize=[light,material]", "material.spp=4"]])
def test_insert(settings):
    """A whole run; the fitted numbers go through networks and Adam, the pictures through the renderer."""
    config = insert_config.load_config("default", None, [*TINY, *settings])
    prior = InsertionPrior.untrained() if "guidance.kind=none" not in settings else None
    said = SayingPrior() if "light.start=prior" in settings else None
    with torch.backends.mkldnn.flags(enabled=False):
        theirs = insert(sphere_scene("glossy", size=48), config, prior=prior, light_prior=said)
        with far_device():
            prior = InsertionPrior.untrained() if prior else None
            ours = insert(sphere_scene("glossy", size=48), config, prior=prior, light_prior=said)
    assert ours.composite_disp.device == CPU and ours.provenance["device"]["torch"] == KIND
    # Fits drift apart by rounding, pictures hardly.
    assert float((ours.composite_disp - theirs.composite_disp).abs().max()) < 0.02
    assert torch.equal(ours.passes.gbuffers.object_id, theirs.passes.gbuffers.object_id)
    assert [row["step"] for row in ours.history] == [row["step"] for row in theirs.history]
