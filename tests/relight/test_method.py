"""relight(): layers that an exact prior asks for are found, colour stays, masks hold, runs resume, files are whole."""
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.diffusion.denoiser import AbstractDenoiser
from dipir.errors import ConfigError, FitError, ImageError, PriorError
from dipir.image.editing import EPS, multiply_divide
from dipir.image.metrics import angular_error_deg, rmse
from dipir.image.palette import parse_palette
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.relight import result as relight_result
from dipir.relight.config import LayerSettings, RelightConfig, RelightGuidance, load_config
from dipir.relight.layers import KINDS, seen_size, shrunk, working_size
from dipir.relight.method import Engine, Picture, Relit, Wish, find_engine, relight
from dipir.scene.direction import LightDirection
from dipir.settings import read
from dipir.settings.yaml import load_yaml
from tests.support.exr import read_layers

LEFT = Wish(LightDirection(-90, 20))


class Sure(AbstractDenoiser):
    """Whatever it is shown, this picture is what it meant: the prior that is one point."""

    sigma_min, sigma_max = 0.02, 40.0

    def __init__(self, picture):
        self.picture = shrunk(picture, seen_size(picture, 64)) * 2 - 1

    def __call__(self, x, sigma, condition):
        return self.picture.expand(len(x), -1, -1, -1)

    def encode(self, image_disp):
        return image_disp * 2 - 1

    def decode(self, latent):
        return ((latent + 1) / 2).clamp(0, 1)


def sure(picture) -> Engine:
    return Engine(Sure(picture))


@pytest.fixture(scope="module")
def photo():
    """A coloured picture with soft shapes, values in 0.15 to 0.6."""
    torch.manual_seed(0)
    low = torch.rand(1, 3, 6, 8) * 0.45 + 0.15
    return torch.nn.functional.interpolate(low, (96, 128), mode="bicubic").clamp(0.15, 0.6)


@pytest.fixture(scope="module")
def wanted(photo):
    """The photo, brighter on the left and darker on the right by up to 1.6."""
    return (photo * torch.exp(torch.linspace(0.45, -0.45, 128))).clamp(0, 1)


def quick(**settings) -> RelightConfig:
    config = RelightConfig(guidance=RelightGuidance(samples=2, sampler_steps=3), **settings)
    return replace(config, layers=replace(config.layers, size=64), fit=replace(config.fit, steps=60))


@pytest.fixture(scope="module")
def relit(photo, wanted):
    return relight(Picture(photo), LEFT, quick(), engine=sure(wanted))


def test_layers_give_what_the_prior_is_sure_of(relit, photo, wanted):
    before, after = float(rmse(photo, wanted)), float(rmse(relit.image, wanted))
    assert after < 0.3 * before
    assert relit.multiply.shape == relit.divide.shape == (1, 1, 96, 128)
    for layer in (relit.multiply, relit.divide):
        assert float(layer.min()) >= 0.1 and float(layer.max()) <= 1


def test_the_result_is_its_layers_and_keeps_colour(relit, photo):
    again = multiply_divide(photo, relit.multiply, relit.divide)
    assert torch.equal(relit.image, again.clamp(0, 1))
    # The angle between colours to float precision, also of what is clipped in the end.
    assert float(angular_error_deg(again.double(), photo.double())) < 1e-4


def test_distillation_goes_the_same_way(photo, wanted):
    config = quick()
    config = replace(config, guidance=replace(config.guidance, kind="sds", noise_start=0.6, noise_end=0.3))
    made = relight(Picture(photo), LEFT, config, engine=sure(wanted))
    assert float(rmse(made.image, wanted)) < 0.5 * float(rmse(photo, wanted))
    assert {"sigma", "residual"} <= set(made.history[0])


@pytest.mark.parametrize("kind", ["gain", "luminosity", "additive"])
def test_other_kinds_of_layer(kind, photo, wanted):
    config = quick(layers=LayerSettings(kind=kind))
    made = relight(Picture(photo), LEFT, config, engine=sure(wanted))
    assert float(rmse(made.image, wanted)) < 0.6 * float(rmse(photo, wanted))
    assert (made.multiply is None) == (kind == "additive")


def test_a_strong_regulariser_keeps_the_picture(photo, wanted):
    config = quick()
    config = replace(config, layers=replace(config.layers, keep=10.0), fit=replace(config.fit, steps=250))
    made = relight(Picture(photo), LEFT, config, engine=sure(wanted))
    assert float(rmse(made.image, photo)) < 0.25 * float(rmse(wanted, photo))


def test_colours_for_a_drawing(photo):
    grey = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    blue = grey * torch.tensor([0.4, 0.5, 1.0])[:, None, None]
    made = relight(Picture(grey), Wish(palette=parse_palette("blue"), prompt="blue"), quick(), engine=sure(blue))
    assert float(rmse(made.image, blue)) < 0.3 * float(rmse(grey, blue))
    assert made.multiply.shape[1] == 3 and made.divide.shape[1] == 1


def test_a_mask_limits_the_change(photo, wanted):
    mask = torch.zeros(1, 1, 96, 128)
    mask[..., :64] = 1
    made = relight(Picture(photo, mask), LEFT, quick(), engine=sure(wanted))
    assert float((made.image - photo)[..., 64:].abs().max()) < 2e-6
    assert float((made.image - photo)[..., :50].abs().mean()) > 0.02
    net = IllumiNet(IllumiNetConfig(planes=PLANES, light=4, channels=(4, 4, 4, 4), embedding=8)).eval()
    torch.nn.init.constant_(net.head.bias, 1.0)
    by_net = relight(Picture(photo, mask), LEFT, RelightConfig(engine="net"), engine=Engine(net, Geometry.untrained()))
    assert torch.equal(by_net.image[..., 64:], photo[..., 64:]) and float((by_net.image - photo)[..., :64].min()) > 0.05


def test_same_seed_same_result_and_resume(photo, wanted, tmp_path):
    config = replace(quick(), checkpoint_every=20)
    config = replace(config, fit=replace(config.fit, steps=30))
    whole = relight(Picture(photo), LEFT, config, engine=sure(wanted))

    def stop(event):
        if event.stage == "fit" and event.step == 25:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        relight(Picture(photo), LEFT, config, engine=sure(wanted), on_event=stop, out=tmp_path)
    steps = []
    resumed = relight(Picture(photo), LEFT, config, engine=sure(wanted), out=tmp_path, resume=True,
                      on_event=lambda e: steps.append(e.step) if e.stage == "fit" else None)
    assert torch.equal(whole.image, resumed.image) and steps == list(range(21, 31))
    with pytest.raises(FitError):
        relight(Picture(photo * 0.9), LEFT, config, engine=sure(wanted), out=tmp_path, resume=True)


def test_files(relit, photo, tmp_path):
    out = relight_result.save(relit, tmp_path / "out")
    assert {p.name for p in out.iterdir()} == {"relit.png", "layers.exr", "layers.psd", "config.yaml", "result.json",
                                               "history.csv", "report.html"}
    layers = read_layers(out / "layers.exr")
    assert set(layers) == {"beauty", "input", "multiply", "divide", "shading"}
    assert float((layers["shading"] - relit.multiply / (relit.divide + EPS)).abs().max()) < 5e-3
    assert json.loads((out / "result.json").read_text())["direction"]["azimuth_deg"] == -90
    assert read.from_dict(RelightConfig, load_yaml(out / "config.yaml")) == quick()
    assert len((out / "history.csv").read_text().splitlines()) == 61
    pixels = torch.from_numpy(np.array(Pillow.open(out / "relit.png"))).permute(2, 0, 1)[None] / 255
    assert float((pixels - relit.image).abs().max()) <= 0.5 / 255 + 1e-6


def test_the_psd_gives_the_result(relit, tmp_path):
    psd_tools = pytest.importorskip("psd_tools")
    out = relight_result.save(relit, tmp_path)
    document = psd_tools.PSDImage.open(out / "layers.psd")
    assert [layer.blend_mode.name.lower() for layer in document] == ["normal", "multiply", "divide"]
    pixels = [torch.from_numpy(np.ascontiguousarray(layer.numpy()[..., :3])).permute(2, 0, 1)[None]
              for layer in document]
    y = (pixels[0] * pixels[1] / pixels[2]).clamp(0, 1)
    assert float((y - relit.image).abs().max()) < 1 / 255


def test_a_cut_out_keeps_its_alpha(photo, wanted, tmp_path):
    alpha = torch.zeros(1, 1, 96, 128)
    alpha[..., 20:70, 30:100] = 1
    made = relight(Picture(photo, alpha=alpha), LEFT, quick(), engine=sure(wanted))
    relight_result.save(made, tmp_path)
    assert np.array_equal(np.asarray(Pillow.open(tmp_path / "relit.png"))[..., 3] / 255, alpha[0, 0].numpy())
    assert read_layers(tmp_path / "layers.exr")["beauty"].shape[1] == 4


def test_a_net_result_saves(photo, tmp_path):
    net = IllumiNet(IllumiNetConfig(planes=PLANES, light=4, channels=(4, 4, 4, 4), embedding=8)).eval()
    made = relight(Picture(photo), LEFT, RelightConfig(engine="net"), engine=Engine(net, Geometry.untrained()))
    assert isinstance(made, Relit) and float((made.image - photo).abs().max()) < 1e-5 and made.multiply is None
    relight_result.save(made, tmp_path)
    assert (tmp_path / "layers.psd").stat().st_size > 1000


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("image, text", [
    (torch.zeros(1, 3, 64, 64), "black everywhere"), (torch.full((1, 3, 64, 64), float("nan")), "NaN"),
    (torch.ones(1, 3, 20, 64), "at least 32")])
def test_pictures_that_cannot_be_used(image, text):
    with pytest.raises(ImageError, match=text):
        Picture(image)


def test_wishes_that_cannot_be_met(tmp_path):
    with pytest.raises(ConfigError, match="no direction"):
        find_engine(RelightConfig(), Wish(prompt="cosy"))
    with pytest.raises(ConfigError, match="leave --prior"):
        find_engine(RelightConfig(engine="net"), Wish(palette=parse_palette("red")))
    with pytest.raises(ConfigError, match="network of its own"):
        find_engine(RelightConfig(engine="net", prior=str(tmp_path)), LEFT)
    with pytest.raises(PriorError, match="no such folder"):
        find_engine(RelightConfig(prior=str(tmp_path / "none")), LEFT)
    wrong = tmp_path / "relight.safetensors"
    wrong.write_bytes(b"no weights")
    with pytest.raises(PriorError, match="safetensors"):
        find_engine(RelightConfig(prior=str(wrong)), LEFT)


@pytest.mark.parametrize("overrides, text", [(["layers.size=8"], "the least is 32"), (["layer.size=64"], "layers"),
                                             (["engine=nett"], "net"), (["fit.steps=0"], "the least is 1")])
def test_settings_that_cannot_be_used(overrides, text):
    with pytest.raises(ConfigError, match=text):
        load_config("default", (), overrides)


def test_presets():
    assert load_config("default") == RelightConfig()
    assert load_config("fast").fit.steps < RelightConfig().fit.steps
    paper = load_config("paper")
    assert (paper.guidance.kind, paper.fit.steps, paper.guidance.scale) == ("sds", 500, 13.0)
    with pytest.raises(ConfigError, match="fast"):
        load_config("fats")


def test_an_untrained_prior_sees_the_picture(photo):
    prior = PicturePrior.untrained(RELIGHT)
    made = relight(Picture(photo), LEFT, quick(), engine=Engine(prior, Geometry.untrained()))
    assert float(rmse(made.image, photo)) < 0.2 and made.provenance["prior"] == "untrained"


@pytest.mark.parametrize("size, longest, expected", [((96, 128), 64, (48, 64)), ((1000, 30), 64, (64, 16)),
                                                     ((512, 512), 128, (128, 128))])
def test_working_size(size, longest, expected):
    assert working_size(*size, longest) == expected


def test_every_kind_starts_near_the_picture(photo):
    for name, kind in KINDS.items():
        raw = tuple(torch.zeros(1, n, *photo.shape[2:]) for n in kind.channels)
        assert float((kind.compose(photo, kind.shape(raw)) - photo).abs().max()) < 1e-4, name
