"""Methods by name, with networks that have learned nothing."""
from __future__ import annotations

import pytest
import torch

from benchmarks.relight import methods as relight_methods
from dipir.errors import ConfigError
from dipir.priors.geometry import Geometry
from dipir.priors.nets.illuminet import IllumiNet
from dipir.priors.picture import PicturePrior


@pytest.fixture
def strong(monkeypatch) -> Geometry:
    """A geometry whose correction is not zero, in place of the one that ships."""
    geometry = Geometry.untrained()
    with torch.no_grad():
        for parameter in geometry.nets.relighting.parameters():
            parameter += 0.05
    monkeypatch.setattr(Geometry, "load", staticmethod(lambda: geometry))
    return geometry


def test_engines_have_the_networks_and_the_guidance_that_their_names_say(strong):
    kinds = {}
    for name in ("layers", "layers-none", "layers-posterior", "layers-sds", "net"):
        config, engine = relight_methods.engine_of(name)
        kinds[name] = (config.engine, config.guided_by(False), type(engine.network))
        assert engine.geometry is strong
    assert kinds == {"layers": ("layers", "none", type(None)), "layers-none": ("layers", "none", type(None)),
                     "layers-posterior": ("layers", "posterior", PicturePrior),
                     "layers-sds": ("layers", "sds", PicturePrior), "net": ("net", "none", IllumiNet)}


def test_physics_is_the_guess_without_the_correcting_network(strong, all_cases):
    by_name = relight_methods.methods(["layers-none", "physics"])
    case = all_cases[0]
    corrected, bare = (by_name[name](case) for name in ("layers-none", "physics"))
    assert float((corrected - bare).abs().max()) > 0.01
    strong.nets.relighting.load_state_dict(Geometry.untrained().nets.relighting.state_dict())
    assert torch.equal(by_name["layers-none"](case), bare)


def test_what_an_engine_is_named_for_goes_before_settings(strong):
    config, _ = relight_methods.engine_of("layers-none", ["guidance.kind=sds", "net_size=96"])
    assert config.guidance.kind == "none" and config.net_size == 96
    assert relight_methods.engine_of("layers", ["guidance.kind=sds"])[0].guidance.kind == "sds"


def test_weights_are_named(strong):
    strong.hash = "abc-def"
    assert relight_methods.weights_of(relight_methods.engine_of("layers")[1]) == "abc-def"
    prior = relight_methods.engine_of("layers-sds")[1]
    assert relight_methods.weights_of(prior) == f"{prior.fingerprint}, abc-def" and prior.fingerprint


def test_an_unknown_engine_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="'layer'.*layers-posterior.*layers"):
        relight_methods.checked(["net", "layer"])
    assert relight_methods.checked(["net", ""]) == ["net"]
