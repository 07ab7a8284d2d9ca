"""The table of kinds is what settings may name, and one more kind is one file and one row."""
from __future__ import annotations

from dataclasses import replace
from typing import final, get_args, get_type_hints

import pytest
import torch

from dipir import insert
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError
from dipir.guidance.guidance import Guidance
from dipir.guidance.kinds import GUIDANCES
from dipir.insert.config import GuidanceSettings, InsertConfig, load_config
from dipir.relight.config import RelightGuidance
from tests.support.scenes import sphere_scene


def test_settings_name_the_kinds_of_the_table():
    assert set(get_args(get_type_hints(GuidanceSettings)["kind"])) == {*GUIDANCES, "none"}
    assert set(get_args(get_type_hints(RelightGuidance)["kind"])) <= set(GUIDANCES)


def test_kinds_are_final_and_documented():
    for kind in GUIDANCES.values():
        assert issubclass(kind, Guidance) and getattr(kind, "__final__", False) and kind.__doc__


@pytest.mark.parametrize("name, language, fits", [("posterior", "text", False), ("posterior", "captions", True),
                                                  ("sds", "text", True), ("lds", "text", True)])
def test_a_kind_says_which_priors_it_can_use(name, language, fits):
    prior = GaussianDenoiser(torch.zeros(3, 4, 4))
    prior.language = language
    if fits:
        GUIDANCES[name].check(prior)
    else:
        with pytest.raises(ConfigError, match="guidance.kind=sds"):
            GUIDANCES[name].check(prior)


@final
class Darkness(Guidance):
    """A toy: pulls every pixel towards black."""

    def pull(self, image, progress, step):
        return (image * self.asked.weights(image)).mean(), {"progress": progress}


def test_another_kind_is_one_class_and_one_row(monkeypatch):
    """Nothing but the table is touched (and the Literal, which only files of settings are checked against)."""
    monkeypatch.setitem(GUIDANCES, "darkness", Darkness)
    config: InsertConfig = load_config("fast", None, [
        "light.start=ambient", "light.anchor=0", "fit.steps=30", "final.spp=1", "final.size=32", "final.denoise=false",
        "transport.samples=1", "transport.bsdf_samples=1", "transport.light_samples=1", "guidance.size=32"])
    config = replace(config, guidance=replace(config.guidance, kind="darkness"))
    result = insert(sphere_scene("diffuse", size=48), config, prior=GaussianDenoiser(torch.zeros(3, 32, 32)))
    rows = [row["guidance"] for row in result.history]
    assert len(rows) == 30 and rows[-1] < 0.7 * rows[0]
    assert result.history[-1]["progress"] == 1.0 and result.provenance["hashes"]["prior"] == "GaussianDenoiser"
