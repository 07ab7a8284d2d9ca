"""Settings of `dipir relight`: presets, and what is refused."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError
from dipir.relight.config import RelightConfig, load_config


@pytest.mark.parametrize("overrides, text", [(["layers.size=8"], "the least is 32"), (["layer.size=64"], "layers"),
                                             (["engine=nett"], "net"), (["fit.steps=0"], "the least is 1"),
                                             (["strength=1.5"], "strength: 1.5 given; accepted are 0.0 to 1.0"),
                                             (["fill=0.001"], "--key-to-fill.: 0.001 given; accepted are 0.01 to")])
def test_settings_that_cannot_be_used(overrides, text):
    with pytest.raises(ConfigError, match=text):
        load_config("default", (), overrides)


@pytest.mark.parametrize("overrides, colours, kind", [
    ([], False, "none"), ([], True, "posterior"), (["layers.kind=additive"], False, "posterior"),
    (["layers.kind=gain"], False, "none"), (["prior=mine.safetensors"], False, "posterior"),
    (["guidance.kind=sds"], False, "sds"), (["guidance.kind=none"], True, "none")])
def test_what_guides_where_nothing_is_said(overrides, colours, kind):
    assert load_config("default", (), overrides).guided_by(colours) == kind


def test_presets():
    assert load_config("default") == RelightConfig()
    assert load_config("fast").fit.steps < RelightConfig().fit.steps
    paper = load_config("paper")
    assert (paper.guidance.kind, paper.fit.steps, paper.guidance.scale) == ("sds", 500, 13.0)
    with pytest.raises(ConfigError, match="fast"):
        load_config("fats")
