"""Image mathematics, relight and layout on a CUDA device against the CPU. Needs a GPU, and no data but what ships.

Both devices are walked in one process: the run's device is set by hand, since it is decided once a process.
"""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dipir import device
from dipir.device import moved
from dipir.diffusion.pretrained import load_pretrained
from dipir.image import color, composite, latlong
from dipir.image.guided import guided_upsample
from dipir.image.metrics import ssim_loss
from dipir.image.palette import parse_palette
from dipir.image.tone import ToneCurve
from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, layouts
from dipir.layout.regions import Region
from dipir.priors.colour import COLOUR
from dipir.priors.geometry import Geometry
from dipir.priors.layout import LayoutPrior
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.relight.config import load_config
from dipir.relight.method import Engine, Picture, RelightRequest, relight
from dipir.relight.net import load_net
from dipir.scene.direction import LightDirection
from dipir.scene.light import SphericalGaussians, fit_gaussians
from dipir.settings import read
from tests.support.tiny_diffusion import build_pipeline
from tests.support.toy_layout import ColourToy

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
CPU, CUDA = device.Device("cpu", device.LLVM, "cpu"), device.Device("cuda", device.LLVM, "cuda")
LEFT = RelightRequest(LightDirection(-90, 20))


@pytest.fixture(autouse=True)
def full_precision():
    """TF32 would hide mistakes of the size that is looked for."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


@pytest.fixture
def on(monkeypatch):
    """``on(CUDA)`` makes that the run's device."""
    return lambda chosen: monkeypatch.setattr(device, "current", lambda: chosen)


def uniform(*shape, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def close(a: torch.Tensor, b: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(a, b.cpu(), atol=atol, rtol=atol)


# -------------------------------------------------------------------------------------------------------- mathematics
def inserted(plate, colour, alpha, shadow, tone):
    layers = composite.insert_layers(color.srgb_to_linear(plate), plate, colour * alpha, alpha, shadow, tone_fg=tone,
                                     tone_shadow=tone)
    return composite.flatten_disp(layers)


def test_composite_and_its_gradients():
    plate, colour, shadow = (uniform(1, 3, 64, 80, seed=k) for k in range(3))
    alpha = (uniform(1, 1, 64, 80, seed=3) * 2 - 0.5).clamp(0, 1)
    shadow[..., :20] = 1
    alpha[..., :20] = 0
    curve = ToneCurve(uniform(3, 5, seed=4), uniform(3, 5, seed=5), uniform(3, 6, seed=6))
    found = []
    for where in ("cpu", "cuda"):
        given = [x.detach().clone() for x in moved((plate, colour, alpha, shadow), torch.device(where))]
        parameters = {k: v.detach().to(where).clone().requires_grad_() for k, v in curve.parameters().items()}
        given[1].requires_grad_()
        image = inserted(*given, ToneCurve(**parameters))
        image.square().sum().backward()
        assert torch.equal(image[..., :20], given[0][..., :20]), "the plate stays, bit for bit, on each device"
        found.append([image.detach(), given[1].grad, *(p.grad for p in parameters.values())])
    close(found[0][0], found[1][0], 2e-6)
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        # Tone gradients are sums over all pixels in another order.
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-3 * float(a.abs().max()))


def test_tone_there_and_back():
    curve, x = ToneCurve(uniform(1, 5), uniform(1, 5, seed=1), uniform(1, 6, seed=2)), uniform(1, 3, 32, 32) * 3 - 1
    there = moved(curve, torch.device("cuda"))
    close(curve(x), there(x.cuda()), 1e-6)
    close(x, there.inverse(there(x.cuda())), 1e-4)


def test_latlong_light_and_filters():
    env = uniform(16, 32, 3)
    for function in (lambda e: latlong.sample(e, latlong.directions(9, 11, device=e.device)),
                     lambda e: latlong.rotate_yaw(e, 33.0), lambda e: latlong.resize(e, 4, 8),
                     lambda e: SphericalGaussians.uniform(e[0, 0]).envmap(16, 32)):
        close(function(env), function(env.cuda()), 1e-5)
    assert fit_gaussians(env.cuda(), 6, 5).axis.device.type == "cuda"
    close(fit_gaussians(env, 6, 5).envmap(16, 32), fit_gaussians(env.cuda(), 6, 5).envmap(16, 32), 5e-3)
    low, small, photo = uniform(1, 2, 16, 20), uniform(1, 3, 16, 20, seed=1), uniform(1, 3, 64, 80, seed=2)
    close(guided_upsample(low, small, photo), guided_upsample(low.cuda(), small.cuda(), photo.cuda()), 1e-4)
    close(ssim_loss(photo, photo.flip(-1)), ssim_loss(photo.cuda(), photo.flip(-1).cuda()), 1e-4)


# ------------------------------------------------------------------------------------------------------------- relight
def picture() -> Picture:
    image = torch.nn.functional.interpolate(uniform(1, 3, 6, 8) * 0.6 + 0.2, (96, 128), mode="bicubic").clamp(0, 1)
    mask = torch.ones(1, 1, 96, 128)
    mask[..., :16] = 0
    return Picture(image, mask)


def engine_of(name: str) -> Engine:
    """With the weights that ship, on the run's device."""
    if name == "net":
        return Engine(load_net()[0], Geometry.load())
    if name == "colour":
        return Engine(PicturePrior.load(COLOUR))
    return Engine(PicturePrior.load(RELIGHT), Geometry.load())


@pytest.mark.parametrize("name, pairs, wish, atol", [
    ("net", (), LEFT, 2e-3), ("layers", ("guidance.kind=posterior",), LEFT, 5e-3),
    ("layers", ("guidance.kind=sds",), LEFT, 5e-3),
    ("colour", (), RelightRequest(None, "red and blue", parse_palette("red and blue")), 1e-2)])
def test_relight(on, name, pairs, wish, atol):
    """Tolerances: Adam turns rounding of small gradients into steps of its rate, 3e-3."""
    config = load_config("default", overrides=["fit.steps=10", *pairs])
    config = replace(config, engine="net") if name == "net" else config
    made = []
    for chosen in (CPU, CUDA):
        on(chosen)
        engine = engine_of(name)
        weights = next(getattr(engine.network, "net", engine.network).parameters())
        assert weights.device.type == chosen.kind
        made.append(relight(picture(), wish, config, engine=engine))
    here, there = made
    assert there.image.device.type == "cpu" and there.provenance["device"]["torch"] == torch.cuda.get_device_name(0)
    assert float((here.image - there.image).abs().mean()) < atol
    # M / (D + 1e-6) of layers that are 1.
    close(picture().image[..., :16], there.image[..., :16], 2e-6)
    assert float((there.image - picture().image).abs().mean()) > 1e-3
    for a, b in zip(here.history[:1], there.history[:1], strict=True):
        assert b == pytest.approx(a, rel=1e-2, abs=1e-4)


# -------------------------------------------------------------------------------------------------------------- layout
BOXES = (Region("a red cube", (0.0, 0.1, 0.5, 0.9)), Region("a blue cube", (0.5, 0.1, 1.0, 0.9)))
ASKED = LayoutRequest("a red cube and a blue cube", BOXES)


def both(on, prior_of, config, asked=(ASKED,)):
    made = []
    for chosen in (CPU, CUDA):
        on(chosen)
        made.append(layouts(asked, config, prior=prior_of(chosen.torch)))
    for result in made[1]:
        assert result.image.device.type == "cpu" and result.provenance["device"]["torch"] != "cpu"
    return made


@pytest.mark.parametrize("pairs", [("guidance.delta=constant",), ("guidance.kind=multidiffusion",),
                                   ("guidance.kind=paste",), ("guidance.delta=constant", "sampler.kind=heun")])
def test_layout_of_a_known_prior(on, pairs):
    config = read.override(LayoutConfig(), ["attention=false", "width=8", "height=8", "sampler.steps=10", *pairs])
    photo = replace(ASKED, image=uniform(1, 3, 24, 24))
    here, there = both(on, lambda where: ColourToy(size=8, device=where), config, (ASKED, photo))
    for a, b in zip(here, there, strict=True):
        close(a.image, b.image, 1e-4)


def test_layout_with_the_weights_that_ship(on):
    config = read.override(LayoutConfig(), ["sampler.steps=12"])
    (here,), (there,) = both(on, lambda where: LayoutPrior.load(), config)
    assert [words for words, _ in here.attention] == [words for words, _ in there.attention]
    for (_, a), (_, b) in zip(here.attention, there.attention, strict=True):
        close(a, b, 1e-3)
    # A top cell may be another one by rounding; the pictures are the same for the eye.
    assert float((here.image - there.image).abs().mean()) < 0.02


def test_layout_with_a_tiny_stable_diffusion(on, tmp_path):
    folder = build_pipeline(tmp_path / "tiny")
    config = read.override(LayoutConfig(), ["width=32", "height=16", "sampler.steps=4", "guidance.delta=constant",
                                             "sampler.scale=2"])
    (here,), (there,) = both(on, lambda where: load_pretrained(folder, where, torch.float32), config)
    assert float((here.image - there.image).abs().mean()) < 0.02
