"""Settings of an insertion: presets, nearest keys, values that cannot be."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError
from dipir.insert.config import load_config
from tests.support.insertions import quick


@pytest.mark.parametrize("bad, match", [("light.lobs=3", "lobes"), ("optimize=[lite]", "light"),
                                        ("fit.steps=many", "fit.steps"), ("guidance.kind=posterioir", "posterior")])
def test_wrong_settings_name_the_nearest_key(bad, match):
    with pytest.raises(ConfigError, match=match):
        quick(bad)


@pytest.mark.parametrize("bad", ["light.guess=4", "light.guess=-1", "light.guess=2"])
def test_guesses_are_those_of_the_light_prior(bad):
    """QUICK starts from ambient light, of which there are no guesses."""
    with pytest.raises(ConfigError, match="light.guess: .*accepted"):
        quick(bad)


def test_presets_load_and_unknown_ones_are_listed():
    assert load_config("paper").light.two_maps and load_config("fast").fit.steps < load_config("default").fit.steps
    with pytest.raises(ConfigError, match="default"):
        load_config("defualt")


def test_a_light_may_start_from_a_file():
    assert load_config(overrides=["light.start=a/b.json"]).light.start == "a/b.json"
    with pytest.raises(ConfigError, match="'priro'.*prior.*light.json"):
        load_config(overrides=["light.start=priro"])
    with pytest.raises(ConfigError, match="light.guess"):
        load_config(overrides=["light.start=a.exr", "light.guess=1"])
