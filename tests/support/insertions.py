"""A quick insertion, for tests of what is around it."""
from __future__ import annotations

import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.toy import GaussianDenoiser
from dipir.guidance.guidance import Asked
from dipir.guidance.posterior import PosteriorMatching
from dipir.insert import method
from dipir.insert.config import InsertConfig, load_config
from dipir.priors.insertion import InsertionPrior
from tests.support.scenes import sphere_scene

QUICK = ["light.start=ambient", "guidance.kind=posterior", "guidance.samples=2", "guidance.sampler_steps=3",
         "fit.steps=6", "final.spp=4", "transport.samples=2", "checkpoint_every=2"]


def matching(work, config: InsertConfig, samples: torch.Tensor) -> PosteriorMatching:
    """Guidance whose prior has drawn just these images."""
    return PosteriorMatching(Asked(GaussianDenoiser(torch.zeros(3)), Condition(), config.guidance, 0, work.plate_disp,
                                   mask=work.region()), samples)


def quick(*settings: str) -> InsertConfig:
    return load_config("default", None, [*QUICK, *settings])


def run(tmp_path, config, **kwargs):
    return method.insert(sphere_scene("glossy", size=48), config, prior=InsertionPrior.untrained(), out=tmp_path,
                         **kwargs)
