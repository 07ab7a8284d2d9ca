"""relight() in a whole light: a rendered sphere comes near to what the path tracer makes of it, and what is told."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from dipir.errors import ConfigError, FitError
from dipir.event import Event, warnings_in
from dipir.image.color import srgb_to_linear
from dipir.image.formats.png import png_bytes
from dipir.priors import geometry
from dipir.priors.geometry import Geometry
from dipir.priors.relit.relighting import GuessConfig, GuessNet
from dipir.priors.relit.whole_light import WholeLight
from dipir.relight.config import RelightConfig
from dipir.relight.frames import Frames, relight_frames
from dipir.relight.method import Engine, Picture, RelightRequest, find_engine, relight
from dipir.relight.numbered import find_shot, numbered
from dipir.relight.result import save
from dipir.scene.direction import LightDirection
from dipir.scene.light import SphericalGaussians, towards
from dipir.scene.rig import Rig
from dipir.scene.source import Source
from tests.priors.test_geometry import random_geometry
from tests.support.lit_sphere import FEATURES, LitSphere
from tests.support.sure_prior import quick, sure

YAW = 30.0
SMALL = RelightConfig(net_size=64)
SKY = SphericalGaussians.of(torch.tensor([[0.0, 1, 0], [0, -1, 0]]), torch.tensor([[0.8] * 3, [0.2] * 3]),
                            torch.tensor([1.0, 1.0]))
WHITE = torch.ones(3)


def lamp(azimuth: float, elevation: float = 30.0, strength: float = 3.0) -> Rig:
    """A window as wide as 13 degrees under a sky, at an azimuth of the plate's picture."""
    return Rig.of(SKY, Source(towards(azimuth + YAW, elevation), WHITE * strength, 0.1))


def whole(rig: Rig) -> WholeLight:
    return WholeLight.of(rig, "light.json", YAW)


LEFT, RIGHT = lamp(-70), lamp(70)


# ---- against the path tracer -----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def sphere() -> LitSphere:
    return LitSphere.seen(YAW)


@pytest.fixture
def engine(sphere, monkeypatch) -> Engine:
    """Sees the sphere as it is and corrects nothing."""
    monkeypatch.setattr(geometry, "see", lambda net, image: sphere.surfaces())
    return Engine(None, Geometry(GuessNet(GuessConfig((16, 16, 8, 8, 8, FEATURES), 4, (8, 8, 16), 16, 8))))


def stops(image: torch.Tensor, sphere: LitSphere) -> torch.Tensor:
    """(N,) log2 of linear light inside of the sphere's outline, about its mean."""
    inside = (sphere.surfaces().normal[0, 2] > 0.25) & (sphere.tracer.gbuffers.alpha[0, 0] > 0.99)
    light = image.mean(1)[0][inside].clamp_min(1e-4).log2()
    return light - light.mean()


@pytest.mark.parametrize("rig", [LEFT, RIGHT, lamp(150, 50), Rig(SKY)], ids=["left", "right", "behind", "sky"])
def test_a_sphere_looks_as_the_path_tracer_has_it(rig, sphere, engine):
    """By its true surfaces; the sphere in even light differs by more."""
    truth = stops(sphere.light(rig.envmap(64, 128))[0], sphere)
    picture = sphere.picture()
    made = stops(srgb_to_linear(relight(picture, RelightRequest(light=whole(rig)), SMALL, engine=engine).image), sphere)
    before = stops(srgb_to_linear(picture.image), sphere)
    assert float(torch.corrcoef(torch.stack([made, truth]))[0, 1]) > 0.95
    off, even = (float((x - truth).pow(2).mean().sqrt()) for x in (made, before))
    assert off < 0.3 and off < 0.5 * even


def test_light_from_the_left_of_the_plate_is_on_the_left(sphere, engine):
    """The camera is turned: in the world that light comes from elsewhere."""
    column = torch.arange(64).expand(64, 64)
    for rig, sign in ((LEFT, -1), (RIGHT, 1)):
        made = relight(sphere.picture(), RelightRequest(light=whole(rig)), SMALL, engine=engine).image
        truth, alpha = sphere.light(rig.envmap(64, 128))
        for image in (made, truth):
            grey = (image * (alpha > 0.9)).mean(1)[0]
            assert sign * float((grey[column > 35].mean() / grey[column < 28].mean()).log2()) > 0.4


# ---- what is told ----------------------------------------------------------------------------------------------------

@pytest.fixture
def shown(photo) -> Picture:
    return Picture(photo, name="photo")


ENGINE = Engine(None, random_geometry())


def test_the_rest_of_the_light_counts(shown):
    """The same key under another sky is another picture, and a direction is a third."""
    first, other = whole(LEFT), whole(lamp(-70, strength=0.8))
    torch.testing.assert_close(first.direction.vector, other.direction.vector)
    requests = [RelightRequest(light=first), RelightRequest(light=other), RelightRequest(first.direction)]
    made = [relight(shown, request, SMALL, engine=ENGINE).image for request in requests]
    assert all(float((made[a] - made[b]).abs().max()) > 2e-3 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_key_to_fill_overrides_what_the_light_has(shown):
    asked = replace(SMALL, fill=1 / 3)
    made = relight(shown, RelightRequest(light=whole(LEFT)), asked, engine=ENGINE)
    same = relight(shown, RelightRequest(light=whole(LEFT).with_key_to_fill(3)), SMALL, engine=ENGINE)
    torch.testing.assert_close(made.image, same.image)
    told = made.provenance
    assert told["light"]["key"] / told["light"]["mean_fill"] == pytest.approx(3, rel=1e-2)
    assert any("key to fill 3 as asked, in place of its own" in note for note in told["notes"])
    with pytest.raises(ConfigError, match="no lamp stands out"):
        find_engine(asked, RelightRequest(light=whole(Rig(SKY))))


def test_one_light_alone():
    with pytest.raises(ConfigError, match="a direction and light.json were given; accepted is one light"):
        RelightRequest(LightDirection(0, 0), light=whole(LEFT))


def test_result_report_and_terminal_name_the_light(shown, tmp_path):
    warm = Rig.of(SKY, Source(towards(-70 + YAW, 30), torch.tensor([4.0, 3.0, 2.0]), 0.1))
    events: list[Event] = []
    made = relight(shown, RelightRequest(light=whole(warm)), SMALL, engine=ENGINE, on_event=events.append)
    said = [note for event in events for note in event.remarks]
    assert len(said) == 2 and "key from azimuth -70, elevation 30" in said[0] and "colour is left out" in said[1]
    assert not warnings_in(said)
    save(made, tmp_path)
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["notes"] == said and told["light"]["name"] == "light.json"
    assert told["direction"]["azimuth_deg"] == pytest.approx(-70, abs=0.01)
    assert 0.5 < told["light"]["key_share"] < 1
    page = (tmp_path / "report.html").read_text()
    assert "light.json: " in page and "% of what faces the key" in page


def test_a_model_with_text_is_told_the_side_alone(shown, wanted):
    made = relight(shown, RelightRequest(light=whole(LEFT)), quick(), engine=sure(wanted))
    assert any("told the side of its key alone" in note for note in made.provenance["warnings"])


# ---- going on --------------------------------------------------------------------------------------------------------

def test_a_checkpoint_belongs_to_its_light(shown, wanted, tmp_path):
    config = replace(quick(), checkpoint_every=5)
    config = replace(config, fit=replace(config.fit, steps=6))
    relight(shown, RelightRequest(light=whole(LEFT)), config, engine=sure(wanted), out=tmp_path)
    dimmer = RelightRequest(light=whole(lamp(-70, strength=2.0)))
    with pytest.raises(FitError):
        relight(shown, dimmer, config, engine=sure(wanted), out=tmp_path, resume=True)


def test_frames_in_a_light(photo, tmp_path):
    """One remark for all of them; another light makes all of them anew."""
    for k in (1, 2):
        codes = (photo[0].permute(1, 2, 0) * 255).round().byte().numpy()
        (tmp_path / f"s.{k:04d}.png").write_bytes(png_bytes(codes))
    frames, events = Frames(find_shot(numbered(tmp_path / "s.%04d.png"))), []
    request, out = RelightRequest(light=whole(LEFT)), tmp_path / "out"
    relight_frames(frames, request, SMALL, out=out, engine=ENGINE, on_event=events.append)
    assert sum("light.json: key from" in note for event in events for note in event.remarks) == 1
    told = json.loads((out / "result.json").read_text())
    assert told["light"]["name"] == "light.json" and sum("key from" in note for note in told["notes"]) == 1
    assert relight_frames(frames, request, SMALL, out=out, engine=ENGINE, resume=True).made == ()
    other = RelightRequest(light=whole(lamp(-70, strength=2.0)))
    assert relight_frames(frames, other, SMALL, out=out, engine=ENGINE, resume=True).made == (1, 2)
