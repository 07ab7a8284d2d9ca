"""Settings of `dipir layout`: presets, how many steps are layered, what is refused."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError
from dipir.layout.config import LayoutConfig, load_config
from dipir.settings import read


@pytest.mark.parametrize("preset, layered", [("default", 12), ("paper", 15)])
def test_presets_load(preset, layered):
    assert load_config(preset).layered_steps == layered


@pytest.mark.parametrize("pairs, layered", [
    (["sampler.steps=10", "layers.share=0.3"], 3), (["sampler.steps=10", "layers.share=0.3", "layers.stage=7"], 7),
    (["sampler.steps=10", "guidance.kind=none"], 0), (["sampler.steps=10", "guidance.kind=multidiffusion"], 10)])
def test_how_many_steps_are_layered(pairs, layered):
    assert read.override(LayoutConfig(), pairs).layered_steps == layered


@pytest.mark.parametrize("prior, ours", [("embedded", True), ("mine/layout.safetensors", True), ("priors/sd15", False)])
def test_which_priors_know_our_words_only(prior, ours):
    assert LayoutConfig(prior=prior).grammar is ours


@pytest.mark.parametrize("pair, text", [
    ("guidance.kind=visoin", "vision"), ("guidance.strength=-1", "strength and outside: 0 or more"),
    ("guidance.colour='red and blue'", "names 2 colours"), ("layers.share=1.5", "share: from 0"),
    ("layers.stage=26", "26 of 25 steps"), ("sampler.eta=2", "eta: 0 to 1"), ("edit.context=0.5", "context: 0"),
    ("width=-8", "width and height")])
def test_settings_that_are_refused(pair, text):
    with pytest.raises(ConfigError, match=text):
        read.override(LayoutConfig(), [pair])


def test_only_ddim_adds_noise():
    with pytest.raises(ConfigError, match="only ddim adds noise"):
        read.override(LayoutConfig(), ["sampler.kind=euler", "sampler.eta=0.5"])


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="paper"):
        load_config("papre")
