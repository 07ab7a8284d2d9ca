"""How `dipir layout` makes pictures: the layers of one or several requests as one batch, their shifts, the sampler."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Generator, Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.diffusion import sampler as samplers
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, GuidedDenoiser, select
from dipir.errors import ConfigError, SceneError
from dipir.fit.loop import Event
from dipir.image.palette import parse_palette
from dipir.layout import attention_guidance as guidance
from dipir.layout.config import LayoutConfig
from dipir.layout.layers import Bootstrap, GivenPath, LayerPlan, PromptedPrior, sample_layers
from dipir.layout.regions import Region, colour_named
from dipir.layout.words import TextPrior, Wording, encode_texts
from dipir.priors.captions import COLOURS

OnEvent = Callable[[Event], None]
_PREVIEW_EVERY = 10


@dataclass(frozen=True, eq=False)
class Canvas:
    """The space that a prior works in."""

    height: int  # of its pictures in pixels
    width: int
    shape: tuple[int, int, int]  # (C, h, w) of its states
    sigmas: Tensor  # (n + 1,) the ladder, on the CPU: samplers read it as numbers
    device: torch.device  # of the prior


def canvas_of(prior: AbstractDenoiser, config: LayoutConfig) -> Canvas:
    """ConfigError for a size that the prior cannot make."""
    own, factor = prior.working_size or prior.usual_size, prior.factor
    height, width = config.height or own, config.width or own
    if prior.working_size and (height, width) != (own, own):
        raise ConfigError(f"width {width}, height {height}: the embedded layout prior makes pictures of {own} x "
                          f"{own} pixels only. Leave both out, or give a larger model with --prior.")
    if height % factor or width % factor:
        raise ConfigError(f"width {width}, height {height}: accepted are multiples of {factor} for this prior.")
    shape = (prior.channels, height // factor, width // factor)
    return Canvas(height, width, shape, prior.ladder(config.sampler.steps), prior.device)


@dataclass(frozen=True, eq=False)
class PictureTask:
    """One picture to make."""

    wording: Wording
    regions: tuple[Region, ...]
    masks: Tensor  # (K, 1, h, w) in {0, 1}, the regions in the prior's cells, on its device
    seed: int  # of its noise


@dataclass(frozen=True, eq=False)
class LayerRow:
    """One layer, a row of the batch."""

    picture: int  # whose layer it is
    seed: int  # of that picture
    number: int  # 0 = background, else 1 + the region's place in the list
    region: Region | None
    caption: str
    negative: str
    mask: Tensor  # (1, h, w), its region
    weight: Tensor  # (1, h, w), what of it is seen


@dataclass(frozen=True, eq=False)
class Generation:
    """What the prior made."""

    x: Tensor  # (P, C, h, w) pictures in the prior's space
    rows: tuple[LayerRow, ...] = ()  # the layers
    estimates: Tensor | None = None  # (R, C, h, w), what each layer was heading for at t0
    maps: dict[int, Tensor] = field(default_factory=dict)  # row -> (h, w) attention of its words
    deltas: dict[int, Tensor] = field(default_factory=dict)  # row -> (C,)


def start_noise(canvas: Canvas, seed: int, layer: int = 0) -> Tensor:
    """(1, C, h, w) noise of unit variance on the prior's device, drawn on the CPU so that a seed means the same
    everywhere. Every picture starts from that of layer 0; only ``paste`` gives layers their own."""
    generator = Generator().manual_seed(split_seed(seed, "layout noise", layer))
    return device.randn((1, *canvas.shape), generator, canvas.device)


def sampler_of(config: LayoutConfig, seed: int) -> samplers.Sampler:
    """The sampler that the settings name."""
    if config.sampler.kind != "ddim":
        return {"euler": samplers.euler, "heun": samplers.heun}[config.sampler.kind]
    generator = Generator().manual_seed(split_seed(seed, "layout ddim"))
    return partial(samplers.ddim, eta=config.sampler.eta, generator=generator)


def prompt(prior: TextPrior, scale: float, positive: Sequence[str], negative: Sequence[str]) -> PromptedPrior:
    """The prior under classifier-free guidance with its words, a row for each."""
    condition = encode_texts(prior, positive)
    if scale == 1:
        return PromptedPrior(prior, condition)
    return PromptedPrior(GuidedDenoiser(prior, scale, encode_texts(prior, negative)), condition)


def find_weights(task: PictureTask, config: LayoutConfig) -> Tensor:
    """(K + 1, 1, h, w) what is seen of the background and of each region. SceneError for a region that covers no cell,
    or of which smaller ones leave nothing."""
    h, w = task.masks.shape[2:]
    if not task.regions:
        return task.masks.new_ones(1, 1, h, w)
    for region, covered in zip(task.regions, task.masks.flatten(1).any(1).tolist(), strict=True):
        if not covered:
            raise SceneError(f"region '{region.caption[:60]}' is smaller than one of the {w} x {h} cells that the "
                             "prior works in. Make it larger.")
    soft = guidance.soften(task.masks, config.layers.edge)
    weigh = guidance.weights_mean if config.guidance.kind == "multidiffusion" else guidance.weights_over
    weights = weigh(soft)
    for region, seen in zip(task.regions, (weights[1:] > 0).flatten(1).any(1).tolist(), strict=True):
        if not seen:
            raise SceneError(f"region '{region.caption[:60]}' is hidden by smaller ones, which lie above it (of equal "
                             "ones the later). Leave it out, or move it.")
    return weights


def rows_of(tasks: Sequence[PictureTask], weights: Sequence[Tensor], kept: bool) -> tuple[LayerRow, ...]:
    """The layers of all pictures. A background that is not seen, or that is ``kept``, has no layer; the background of a
    picture without regions has the caption of the whole, so that layers or not are the same for it."""
    rows = []
    for p, (task, seen) in enumerate(zip(tasks, weights, strict=True)):
        words = task.wording
        if not kept and bool((seen[0] > 0).any()):
            pair = (words.background, words.background_negative) if task.regions else (words.caption, words.negative)
            rows.append(LayerRow(p, task.seed, 0, None, *pair, torch.ones_like(seen[0]), seen[0]))
        rows += [LayerRow(p, task.seed, k + 1, region, region.caption, words.negatives[k], task.masks[k], seen[k + 1])
                 for k, region in enumerate(task.regions)]
    return tuple(rows)


def generate(prior: TextPrior, canvas: Canvas, config: LayoutConfig, tasks: Sequence[PictureTask], *,
             kept: GivenPath | None = None, start: Tensor | None = None,
             on_event: OnEvent | None = None) -> Generation:
    """The pictures, all at once. kept, start : of edited pictures: what stays, and (P, C, h, w) at the highest level.
    Raises SceneError, PriorError."""
    # ---- layers, noise, sampler ----
    scale, words = config.sampler.scale, [task.wording for task in tasks]
    whole = prompt(prior, scale, [w.caption for w in words], [w.negative for w in words])
    rows = rows_of(tasks, [find_weights(task, config) for task in tasks], kept is not None)
    steps, sigmas, top = config.layered_steps, canvas.sigmas, canvas.sigmas[0]
    if start is None:
        start = torch.cat([start_noise(canvas, task.seed) for task in tasks]) * top
    sampler = sampler_of(config, tasks[0].seed)
    on_step = None if on_event is None else _Reporter(prior, on_event)
    # ---- without regions: the plain sampler ----
    if all(r.region is None for r in rows) or (steps == 0 and not config.attention):
        none = LayerPlan(start.new_zeros(0, dtype=torch.long), start.new_zeros(0), kept=kept)
        return Generation(sample_layers(whole, whole, start, sigmas, none, sampler, on_step=on_step)[0])
    # ---- with regions: shifts, then both sections ----
    layers = prompt(prior, scale, [r.caption for r in rows], [r.negative for r in rows])
    owner = torch.tensor([r.picture for r in rows], device=canvas.device)
    own = _own_starts(canvas, rows, config)
    deltas, maps = find_deltas(prior, rows, layers.condition, start[owner] if own is None else own, top, config)
    plan = LayerPlan(owner, torch.stack([r.weight for r in rows]), find_shift(rows, deltas, config), steps,
                     config.guidance.steps or steps, each_step(config), kept, _bootstrap(prior, rows, config))
    x, estimates = sample_layers(layers, whole, start, sigmas, plan, sampler, on_step=on_step, own=own)
    return Generation(x, rows, estimates if steps else None, maps, deltas)


def each_step(config: LayoutConfig) -> bool:
    """Whether the layers are put together after every step, or only after the last."""
    return {"multidiffusion": True, "paste": False}.get(config.guidance.kind, config.layers.composition == "per_step")


def _own_starts(canvas: Canvas, rows: Sequence[LayerRow], config: LayoutConfig) -> Tensor | None:
    if config.guidance.kind != "paste":
        return None
    noises = [start_noise(canvas, r.seed, r.number) for r in rows]
    return torch.cat(noises) * canvas.sigmas[0]


# ------------------------------------------------------------------------------------------------------------- guidance
def find_deltas(prior: TextPrior, rows: Sequence[LayerRow], condition: Condition, starts: Tensor, sigma: Tensor,
                config: LayoutConfig) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """({row: (C,) delta before its strength}, {row: (h, w) attention}) of the rows that are regions."""
    which = [k for k, row in enumerate(rows) if row.region is not None]
    settings = config.guidance
    # ---- what is wanted ----
    vision = settings.kind == "vision" and max(settings.strength, settings.outside or 0) > 0
    dynamic = vision and settings.delta != "constant"
    maps, deltas = {}, {}
    # ---- attention of the regions' words, one call of the prior ----
    if config.attention or dynamic:
        positions = [prior.token_positions(rows[k].caption, rows[k].region.words) for k in which]
        taken = guidance.word_maps(prior, starts[which], sigma.to(starts).expand(len(which)),
                                   select(condition, which), positions)
        maps = dict(zip(which, taken, strict=True))
    # ---- deltas ----
    if dynamic:
        z = starts[which] / guidance.spread(sigma.to(starts))
        masks = torch.stack([rows[k].mask for k in which]).to(starts)
        chosen = guidance.top_cells(taken, settings.top, masks if settings.within else None)
        found = (guidance.dynamic_delta(z, chosen) if settings.delta == "dynamic"
                 else guidance.seen_delta(prior, z, chosen))
        deltas = dict(zip(which, found, strict=True))
    elif vision:
        colours = torch.tensor([colour_of(rows[k], settings.colour) for k in which], device=starts.device)
        deltas = dict(zip(which, guidance.constant_delta(prior, colours), strict=True))
    return deltas, maps


def colour_of(row: LayerRow, colour: str) -> tuple[float, float, float]:
    """Display values of the constant delta: the region's own colour, that of the settings, or ("words") the one that
    its caption names; one of ``COLOURS`` by the seed when it names none."""
    if row.region.colour or colour != "words":
        return colour_named(row.region.colour or colour)
    try:
        return parse_palette(row.caption).colours[0]
    except ConfigError:
        return tuple(COLOURS.values())[split_seed(row.seed, "layout colour", row.number) % len(COLOURS)]


def find_shift(rows: Sequence[LayerRow], deltas: dict[int, Tensor], config: LayoutConfig) -> Tensor | None:
    """(R, C, h, w) xi of every layer, 0 for backgrounds; None without deltas."""
    if not deltas:
        return None
    none = torch.zeros_like(next(iter(deltas.values())))
    every = torch.stack([deltas.get(k, none) for k in range(len(rows))])
    masks = torch.stack([row.mask for row in rows]).to(every)
    return guidance.shift(masks, every, config.guidance.strength, config.guidance.outside)


def _bootstrap(prior: TextPrior, rows: Sequence[LayerRow], config: LayoutConfig) -> Bootstrap | None:
    """The colours are drawn at random for every layer, as Bar-Tal et al. do."""
    steps = round(config.guidance.bootstrap * config.sampler.steps)
    if config.guidance.kind != "multidiffusion" or steps == 0:
        return None
    masks = torch.stack([r.mask for r in rows])
    seeds = [split_seed(r.seed, "layout bootstrap", r.number) for r in rows]
    colours = torch.stack([device.rand((3,), Generator().manual_seed(seed), masks.device) for seed in seeds])
    return Bootstrap(steps, masks, guidance.constant_delta(prior, colours)[:, :, None, None])


class _Reporter:
    """Steps of the sampler as events, every tenth with a preview of the first picture."""

    def __init__(self, prior: TextPrior, on_event: OnEvent) -> None:
        self._prior, self._on_event, self._began = prior, on_event, time.monotonic()

    def __call__(self, step: samplers.SamplerStep) -> None:
        left = (time.monotonic() - self._began) / step.index * (step.steps - step.index)
        shown = step.index % _PREVIEW_EVERY == 0 or step.index == step.steps
        images = {"composite": self._prior.decode(step.denoised[:1]).float().cpu()} if shown else {}
        self._on_event(Event("layout", step.index, step.steps, left, {"sigma": step.sigma}, images))
