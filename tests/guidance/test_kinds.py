"""The table of kinds is what settings may name, and one more kind is one file and one row."""
from __future__ import annotations

from dataclasses import replace
from typing import final, get_args, get_type_hints

import pytest
import torch

from dipir import insert
from dipir.diffusion.denoiser import Condition
from dipir.diffusion.toy import GaussianDenoiser
from dipir.errors import ConfigError
from dipir.fit.parameters import Parameters
from dipir.guidance.dataset_update import KEPT
from dipir.guidance.distillation import annealed_level
from dipir.guidance.guidance import Asked, Guidance
from dipir.guidance.kinds import GUIDANCES
from dipir.guidance.posterior import PosteriorMatching, posterior_loss
from dipir.insert.config import GuidanceSettings, InsertConfig, load_config
from dipir.relight.config import RelightGuidance
from tests.support.scenes import sphere_scene


def test_settings_name_the_kinds_of_the_table():
    assert set(get_args(get_type_hints(GuidanceSettings)["kind"])) == {*GUIDANCES, "none"}
    assert set(get_args(get_type_hints(RelightGuidance)["kind"])) <= {*GUIDANCES, "none", "auto"}


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


# ---- what each kind pulls towards, in closed form --------------------------------------------------------------------
MASK = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(5)).round()
IMAGE = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(6))


def flat(value: float) -> torch.Tensor:
    return torch.full((3, 6, 6), value)


def asked(settings: GuidanceSettings, **values) -> Asked:
    prior = GaussianDenoiser(flat(0.8), 0.5)
    return Asked(prior, Condition(planes=flat(-0.6)[None]), settings, 7, IMAGE, mask=MASK, **values)


def pulled(guidance: Guidance, progress: float = 0.0, step: int = 0) -> tuple[torch.Tensor, dict]:
    """(gradient with respect to the image, logged numbers)."""
    image = IMAGE.clone().requires_grad_()
    value, numbers = guidance.pull(image, progress, step)
    value.backward()
    return image.grad, numbers


@pytest.mark.parametrize("base, usual", [(None, 0.8), (GaussianDenoiser(flat(0.1), 0.5), 0.1)])
def test_lds_pulls_from_the_base_without_prompt_to_the_prior_with_it(base, usual):
    """Equal spreads: the noise drops out. Encoding is 2 x - 1; the mean is over weighted pixels and channels."""
    gradient, numbers = pulled(GUIDANCES["lds"](asked(GuidanceSettings(weighting="constant"), base=base)))
    sigma = numbers["sigma"]
    expected = 2 * sigma * (usual + 0.6) / (0.25 + sigma**2) * MASK / (3 * MASK.sum())
    torch.testing.assert_close(gradient, expected.expand_as(gradient), rtol=1e-5, atol=1e-8)


def test_sds_pulls_to_the_prior_with_its_prompt_in_the_mean():
    kind = GUIDANCES["sds"](asked(GuidanceSettings(weighting="sigma", noise_start=0.3, noise_end=0.3, noise_min=0.3)))
    total = torch.cat([pulled(kind, step=step)[0] for step in range(400)])
    sigma = pulled(kind)[1]["sigma"]
    # w = sigma: z - E[D] = (z - mean) sigma^2 / (std^2 + sigma^2)
    expected = 2 * (2 * IMAGE - 1 + 0.6) * sigma**2 / (0.25 + sigma**2) * MASK / (3 * MASK.sum())
    error = total.std(0) / 20  # of the mean of 400
    assert float(((total.mean(0) - expected).abs() / error.clamp_min(1e-9)).max()) < 4.5
    assert bool((total[:, :, MASK[0, 0] == 0] == 0).all())


def test_noise_levels_are_annealed_and_stay_within_the_prior():
    settings = GuidanceSettings(noise_start=0.9, noise_end=0.1)
    kind = GUIDANCES["sds"](asked(settings))
    levels = [[pulled(kind, progress, step)[1]["sigma"] for step in range(60)] for progress in (0.0, 1.0)]
    limits = [float(annealed_level(settings, progress, None)) for progress in (0.0, 1.0)]
    assert max(levels[0]) <= limits[0] and max(levels[1]) <= limits[1] < max(levels[0])
    kind.asked.prior.sigma_max = 0.5
    assert max(pulled(kind, 0.0, step)[1]["sigma"] for step in range(20)) == 0.5


def test_posterior_matching_sees_the_mask_and_nothing_else():
    samples = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(8)) * 2 - 1
    kind = PosteriorMatching(asked(GuidanceSettings()), samples)
    gradient, _ = pulled(kind)
    assert bool((gradient[:, :, MASK[0, 0] == 0] == 0).all()) and bool((gradient[:, :, MASK[0, 0] == 1] != 0).any())
    value, _ = kind.pull(IMAGE, 0.0, 0)
    assert float(value) == pytest.approx(float(posterior_loss(2 * IMAGE - 1, samples, MASK)))


def test_dataset_update_edits_again_at_its_steps_and_sees_the_mask():
    kind, parameters = GUIDANCES["dataset_update"](asked(GuidanceSettings(update_every=3))), Parameters()
    kind.keep(parameters)
    torch.testing.assert_close(parameters.raw[KEPT], 2 * IMAGE - 1)
    seen = []
    for step in range(5):
        gradient, _ = pulled(kind, 0.5, step)
        seen.append(parameters.raw[KEPT].clone())
        assert bool((gradient[:, :, MASK[0, 0] == 0] == 0).all()) and bool((gradient != 0).any())
    assert [step for step in range(1, 5) if not torch.equal(seen[step], seen[step - 1])] == [3]


# ---- one kind more ---------------------------------------------------------------------------------------------------
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
