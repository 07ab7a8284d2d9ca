"""The layered reverse process (LRDiff; methods 3.2): above t0 one layer per object and one for the background, each a
row of the sampler's batch with its own caption; below t0 one picture with the caption of the whole.

Several pictures may be made at once: rows say whose they are.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.sampler import Sampler, SamplerStep
from dipir.layout.attention_guidance import spread

OnStep = Callable[[SamplerStep], None]


@dataclass(frozen=True, eq=False)
class Told:
    """A prior and what it is told, one row for each of the states that it will be given."""

    denoiser: AbstractDenoiser
    condition: Condition


@dataclass(frozen=True, eq=False)
class Kept:
    """What is taken from a given path at every composition: the outside of an edited region.

    weight : (P, 1, h, w) in [0, 1], 1 = all of it;  states : (n + 1, P, C, h, w), for each level of the ladder
    """

    weight: Tensor
    states: Tensor


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """MultiDiffusion's first steps: what each layer sees outside its mask is one flat colour, noised.

    steps : how many;  masks : (R, 1, h, w);  colours : (R, C, 1, 1) in the prior's space
    """

    steps: int
    masks: Tensor
    colours: Tensor


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """R layers of P pictures.

    owner : (R,) which picture a layer belongs to
    weights : (R, 1, h, w) how much of it is seen; with the weight of ``kept`` they sum to 1 for every picture
    xi : (R, C, h, w) shift of vision guidance, variance preserving units, or None
    steps : layered steps, from the first;  shifted : how many of them, from the first, begin with the shift
    each_step : composed after every layered step (the paper) or only after the last (the code)
    """

    owner: Tensor
    weights: Tensor
    xi: Tensor | None = None
    steps: int = 0
    shifted: int = 0
    each_step: bool = True
    kept: Kept | None = None
    bootstrap: Bootstrap | None = None

    def composed(self, rows: Tensor, pictures: int, level: int) -> Tensor:
        """(R, C, h, w) -> (P, C, h, w): the layers in one; ``level`` of the ladder is that of the kept states."""
        whole = rows.new_zeros(pictures, *rows.shape[1:]).index_add_(0, self.owner, self.weights.to(rows) * rows)
        return whole if self.kept is None else whole + self.kept.weight.to(rows) * self.kept.states[level].to(rows)

    def held(self, whole: Tensor, level: int) -> Tensor:
        """The pictures with what is kept in its place."""
        if self.kept is None:
            return whole
        weight = self.kept.weight.to(whole)
        return torch.where(weight == 1, self.kept.states[level].to(whole),
                           (1 - weight) * whole + weight * self.kept.states[level].to(whole))

    def begun(self, rows: Tensor, step: int, sigma: float, noise: Tensor) -> Tensor:
        """The layers as step number ``step`` begins with them. noise : (R, C, h, w) of unit variance."""
        if self.bootstrap is not None and step < min(self.bootstrap.steps, self.steps):
            masks = self.bootstrap.masks.to(rows)
            rows = masks * rows + (1 - masks) * (self.bootstrap.colours.to(rows) + sigma * noise)
        if self.xi is not None and step < min(self.shifted, self.steps):
            rows = rows + spread(sigma) * self.xi.to(rows)
        return rows


def sample_layers(layers: Told, whole: Told, start: Tensor, sigmas: Tensor, plan: LayerPlan, sampler: Sampler,
                  on_step: OnStep | None = None, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both sections of the process: ((P, C, h, w) at the last level, (R, C, h, w) estimates of x0 of the layers at t0,
    no rows when no step is layered).

    start : (P, C, h, w) at level sigmas[0];  sigmas : (n + 1,) falling;  sampler : of ``diffusion.sampler``
    on_step : sees every step as one of the whole pictures
    own : (R, C, h, w) a start for every layer instead of its picture's
    """
    top, estimates = plan.steps, start[:0]
    x = start
    if top > 0:
        x, estimates = _layered(layers, start, sigmas, plan, sampler, on_step, own)
    if top < len(sigmas) - 1:
        x = _whole(whole, x, sigmas, plan, sampler, on_step)
    return x, estimates


@torch.no_grad()
def _layered(layers: Told, start: Tensor, sigmas: Tensor, plan: LayerPlan, sampler: Sampler, on_step: OnStep | None,
             own: Tensor | None) -> tuple[Tensor, Tensor]:
    owner, levels = plan.owner.to(start.device), [float(s) for s in sigmas]
    rows = start[owner] if own is None else own
    noise, ends = rows / levels[0], []

    def after(step: SamplerStep) -> None:
        last = step.index == plan.steps
        if last or plan.each_step or on_step is not None:
            composed = plan.composed(step.x, len(start), step.index)
            if on_step is not None:
                seen = plan.composed(step.denoised, len(start), -1)
                on_step(replace(step, steps=len(levels) - 1, x=composed, denoised=seen))
            if last:
                ends.extend([composed, step.denoised])
            elif plan.each_step:
                step.x.copy_(composed[owner])
        if not last:
            step.x.copy_(plan.begun(step.x, step.index, step.sigma, noise))

    sampler(layers.denoiser, plan.begun(rows, 0, levels[0], noise), sigmas[:plan.steps + 1], layers.condition, after)
    return ends[0], ends[1]


def _whole(whole: Told, start: Tensor, sigmas: Tensor, plan: LayerPlan, sampler: Sampler,
           on_step: OnStep | None) -> Tensor:
    def after(step: SamplerStep) -> None:
        index = plan.steps + step.index
        if plan.kept is not None:
            step.x.copy_(plan.held(step.x, index))
        if on_step is not None:
            on_step(replace(step, index=index, steps=len(sigmas) - 1, denoised=plan.held(step.denoised, -1)))

    return sampler(whole.denoiser, start, sigmas[plan.steps:], whole.condition, after)
