"""dipir.render.renderer: what every renderer gives, and the ratio of shadowed to lit light."""
from __future__ import annotations

import pytest
import torch

from dipir.render.renderer import AbstractRenderer, GBuffers, Passes


def buffers(height: int, width: int) -> GBuffers:
    one, three = torch.rand(1, 1, height, width), torch.zeros(1, 3, height, width)
    return GBuffers(one, one, one, three, three, one, one, three, torch.zeros(1, 1, height, width, dtype=torch.int64))


def test_the_ratio_is_shadowed_over_lit_and_one_without_light():
    lit = torch.tensor([0.0, 0.5, 2.0, 1.0]).expand(1, 3, 1, 4).clone()
    shadowed = torch.tensor([0.0, 0.5, 0.5, 0.0]).expand(1, 3, 1, 4).clone().requires_grad_()
    passes = Passes(torch.zeros(1, 3, 1, 4), lit, shadowed, buffers(1, 4))
    assert passes.shadow_ratio[0, 0, 0].tolist() == [1, 1, 0.25, 0] and passes.alpha is passes.gbuffers.alpha
    (slope,) = torch.autograd.grad(passes.shadow_ratio.sum(), shadowed)
    assert slope[0, 0, 0].tolist() == [0, 2, 0.5, 1]


def test_a_renderer_must_light():
    with pytest.raises(TypeError, match="passes"):
        AbstractRenderer()
