"""The layered reverse process (LRDiff; docs/method.md 3.2): above t0 one layer per object and one for the background,
each a row of the sampler's batch with its own caption; below t0 one picture with the caption of the whole.

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
class PromptedPrior:
    """A prior with its words, one row for each of the states that it will be given."""

    denoiser: AbstractDenoiser
    condition: Condition


@dataclass(frozen=True, eq=False)
class GivenPath:
    """What is taken from a given path at every composition: the outside of an edited region."""

    weight: Tensor  # (P, 1, h, w) in [0, 1], 1 = all of it
    states: Tensor  # (n + 1, P, C, h, w), one for each level of the ladder


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """MultiDiffusion's first steps: what each layer sees outside its mask is one flat colour, noised."""

    steps: int  # how many
    masks: Tensor  # (R, 1, h, w)
    colours: Tensor  # (R, C, 1, 1) in the prior's space


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """R layers of P pictures."""

    owner: Tensor  # (R,) which picture a layer belongs to
    weights: Tensor  # (R, 1, h, w) how much of it is seen; with the weight of ``kept`` they sum to 1 for every picture
    xi: Tensor | None = None  # (R, C, h, w) shift of vision guidance, variance preserving units
    steps: int = 0  # layered steps, from the first
    shifted: int = 0  # how many of them, from the first, begin with the shift
    each_step: bool = True  # composed after every layered step (the paper) or only after the last (the authors' code)
    kept: GivenPath | None = None
    bootstrap: Bootstrap | None = None

    def compose(self, rows: Tensor, pictures: int, level: int) -> Tensor:
        """(R, C, h, w) -> (P, C, h, w): the layers in one; ``level`` of the ladder is that of the kept states."""
        whole = rows.new_zeros(pictures, *rows.shape[1:]).index_add_(0, self.owner, self.weights.to(rows) * rows)
        return whole if self.kept is None else whole + self.kept.weight.to(rows) * self.kept.states[level].to(rows)

    def restore(self, whole: Tensor, level: int) -> Tensor:
        """The pictures with what is kept in its place."""
        if self.kept is None:
            return whole
        weight = self.kept.weight.to(whole)
        return torch.where(weight == 1, self.kept.states[level].to(whole),
                           (1 - weight) * whole + weight * self.kept.states[level].to(whole))

    def begin(self, rows: Tensor, step: int, sigma: float, noise: Tensor) -> Tensor:
        """The layers as step number ``step`` begins with them. noise : (R, C, h, w) of unit variance."""
        if self.bootstrap is not None and step < min(self.bootstrap.steps, self.steps):
            masks = self.bootstrap.masks.to(rows)
            rows = masks * rows + (1 - masks) * (self.bootstrap.colours.to(rows) + sigma * noise)
        if self.xi is not None and step < min(self.shifted, self.steps):
            rows = rows + spread(sigma) * self.xi.to(rows)
        return rows


def sample_layers(layers: PromptedPrior, whole: PromptedPrior, start: Tensor, sigmas: Tensor, plan: LayerPlan,
                  sampler: Sampler, *, on_step: OnStep | None = None,
                  own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both sections of the process: ((P, C, h, w) at the last level, (R, C, h, w) estimates of x0 of the layers at t0,
    no rows when no step is layered).

    start : (P, C, h, w) at level sigmas[0];  sigmas : (n + 1,) falling;  sampler : of ``diffusion.sampler``
    on_step : sees every step as one of the whole pictures
    own : (R, C, h, w) a start for every layer instead of its picture's
    """
    x, estimates = start, start[:0]
    if plan.steps > 0:
        rows = start[plan.owner.to(start.device)] if own is None else own
        x, estimates = _above(layers, rows, sigmas, plan, sampler, pictures=len(start), on_step=on_step)
    if plan.steps < len(sigmas) - 1:
        x = _below(whole, x, sigmas, plan, sampler, on_step)
    return x, estimates


@torch.no_grad()
def _above(layers: PromptedPrior, rows: Tensor, sigmas: Tensor, plan: LayerPlan, sampler: Sampler, *, pictures: int,
           on_step: OnStep | None) -> tuple[Tensor, Tensor]:
    """Down to t0: the layers, each by itself or all put together after every step."""
    owner, top = plan.owner.to(rows.device), float(sigmas[0])
    noise, ends = rows / top, []

    def after(step: SamplerStep) -> None:
        last = step.index == plan.steps
        if last or plan.each_step or on_step is not None:
            composed = plan.compose(step.x, pictures, step.index)
            if on_step is not None:
                seen = plan.compose(step.denoised, pictures, -1)
                on_step(replace(step, steps=len(sigmas) - 1, x=composed, denoised=seen))
            if last:
                ends.extend([composed, step.denoised])
            elif plan.each_step:
                step.x.copy_(composed[owner])
        if not last:
            step.x.copy_(plan.begin(step.x, step.index, step.sigma, noise))

    sampler(layers.denoiser, plan.begin(rows, 0, top, noise), sigmas[:plan.steps + 1], layers.condition, after)
    return ends[0], ends[1]


def _below(whole: PromptedPrior, start: Tensor, sigmas: Tensor, plan: LayerPlan, sampler: Sampler,
           on_step: OnStep | None) -> Tensor:
    """From t0 on: whole pictures."""
    def after(step: SamplerStep) -> None:
        index = plan.steps + step.index
        if plan.kept is not None:
            step.x.copy_(plan.restore(step.x, index))
        if on_step is not None:
            on_step(replace(step, index=index, steps=len(sigmas) - 1, denoised=plan.restore(step.denoised, -1)))

    return sampler(whole.denoiser, start, sigmas[plan.steps:], whole.condition, after)
