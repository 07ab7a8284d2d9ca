"""What kinds of guidance are made of: the guided prior, the mask at the prior's size."""
from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dipir.diffusion.denoiser import Condition, GuidedDenoiser
from dipir.diffusion.toy import GaussianDenoiser
from dipir.guidance.guidance import Asked, Guidance


def asked(scale: float = 1.0, **values) -> Asked:
    prior = GaussianDenoiser(torch.zeros(3, 8, 8))
    return Asked(prior, Condition(), SimpleNamespace(scale=scale), 0, torch.zeros(1, 3, 8, 8), **values)


@pytest.mark.parametrize("scale, negative, guided", [(1.0, Condition(), False), (3.0, None, False),
                                                     (3.0, Condition(), True)])
def test_guided_only_with_a_scale_and_a_negative(scale, negative, guided):
    made = asked(scale, negative=negative)
    assert isinstance(made.guided, GuidedDenoiser) == guided
    if guided:
        assert made.guided.base is made.prior and made.guided.scale == scale
    else:
        assert made.guided is made.prior


def test_the_mask_keeps_its_mean_at_the_size_of_latents():
    mask = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    made = asked(mask=mask)
    assert made.weights(torch.zeros(1, 3, 8, 8)) is mask and asked().weights(torch.zeros(1, 3, 8, 8)) is None
    small = made.weights(torch.zeros(1, 4, 4, 4))
    assert small.shape == (1, 1, 4, 4) and float(small.mean()) == pytest.approx(float(mask.mean()), rel=0.1)
    even = asked(mask=torch.full((1, 1, 8, 8), 0.25)).weights(torch.zeros(1, 4, 2, 2))
    torch.testing.assert_close(even, torch.full((1, 1, 2, 2), 0.25))


def test_a_guidance_must_pull():
    with pytest.raises(TypeError, match="pull"):
        Guidance(asked())
