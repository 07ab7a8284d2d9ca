"""relight(): layers that an exact prior asks for are found, colour stays, masks hold, runs resume, files are whole."""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dipir.errors import ConfigError, FitError, ImageError, PriorError
from dipir.image.editing import multiply_divide
from dipir.image.metrics import angular_error_deg, rmse
from dipir.image.palette import parse_palette
from dipir.priors.geometry import PLANES, Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.priors.nets.surface_net import SurfaceNet
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.priors.relit.relighting import RelightingNet, lit
from dipir.relight.change import factor_of
from dipir.relight.config import RelightConfig, RelightLayers
from dipir.relight.method import Engine, Picture, RelightRequest, find_engine, relight
from tests.relight.test_reading import disc
from tests.support.sure_prior import LEFT, quick, sure


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
    config = quick(layers=RelightLayers(kind=kind))
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
    request = RelightRequest(palette=parse_palette("blue"), prompt="blue")
    made = relight(Picture(grey), request, quick(), engine=sure(blue))
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


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("image, text", [
    (torch.zeros(1, 3, 64, 64), "black everywhere"), (torch.full((1, 3, 64, 64), float("nan")), "NaN"),
    (torch.ones(1, 3, 20, 64), "at least 32")])
def test_pictures_that_cannot_be_used(image, text):
    with pytest.raises(ImageError, match=text):
        Picture(image)


def test_wishes_that_cannot_be_met(tmp_path):
    with pytest.raises(ConfigError, match="no direction"):
        find_engine(RelightConfig(), RelightRequest(prompt="cosy"))
    with pytest.raises(ConfigError, match="leave --prior"):
        find_engine(RelightConfig(engine="net"), RelightRequest(palette=parse_palette("red")))
    with pytest.raises(ConfigError, match="network of its own"):
        find_engine(RelightConfig(engine="net", prior=str(tmp_path)), LEFT)
    with pytest.raises(PriorError, match="no such folder"):
        find_engine(RelightConfig(prior=str(tmp_path / "none")), LEFT)
    wrong = tmp_path / "relight.safetensors"
    wrong.write_bytes(b"no weights")
    with pytest.raises(PriorError, match="safetensors"):
        find_engine(RelightConfig(prior=str(wrong)), LEFT)


def test_an_untrained_prior_sees_the_picture(photo):
    prior = PicturePrior.untrained(RELIGHT)
    made = relight(Picture(photo), LEFT, quick(), engine=Engine(prior, Geometry.untrained()))
    assert float(rmse(made.image, photo)) < 0.2 and made.provenance["prior"] == "untrained"


# ------------------------------------------------------------------------------------------------------- cut-outs
class ThingBeforeGrey(Geometry):
    """Makes what is not grey a stop brighter and the grey that cut-outs stand before three stops darker."""

    def __init__(self):
        super().__init__(SurfaceNet(), RelightingNet())

    def guess(self, image, light, fill=0.2, longest=128):
        made = super().guess(image, light, fill, longest)
        grey = (made.image - 0.5).abs().amax(1, keepdim=True)
        return replace(made, gain=(1 - 4 * (1 - grey / 0.05).clamp(0, 1)))


@pytest.mark.parametrize("engine", ["layers", "net"])
@pytest.mark.parametrize("size, soft", [(96, 12.0), (300, 3.0)])
def test_the_edge_of_a_cut_out_has_no_fringe(engine, size, soft):
    """Over any background it is the relit thing as far as it covers, whatever lies under an alpha of 0."""
    alpha, thing = disc(size, soft), torch.tensor([0.5, 0.3, 0.2])[:, None, None].expand(1, 3, size, size)
    net = IllumiNet(IllumiNetConfig(planes=PLANES, light=4, channels=(4, 4, 4, 4), embedding=8)).eval()
    engine = Engine(net if engine == "net" else None, ThingBeforeGrey())
    stop = torch.ones(1, 1, size, size)
    wanted, made = lit(thing, stop) if engine.network else thing * factor_of(thing, stop), []
    for under in (0.0, 1.0):
        image = torch.where(alpha > 0, thing, under)
        made.append(relight(Picture(image, alpha=alpha), LEFT, RelightConfig(), engine=engine).image)
        for ground in (0.0, 0.5, 1.0):
            composite, expected = (alpha * x + (1 - alpha) * ground for x in (made[-1], wanted))
            assert float((composite - expected).abs().max()) < 1 / 255
        # Programs that filter straight colours mix in what lies next to the edge.
        assert float((made[-1] - wanted).abs().amax()) < 2 / 255
    assert torch.equal(*made)
