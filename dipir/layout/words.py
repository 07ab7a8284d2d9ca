"""The words for each layer of `dipir layout`: its caption and its negative prompt. Words that a prior of our own does
not know are refused here."""
from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dipir.diffusion.denoiser import Condition, select
from dipir.errors import ConfigError
from dipir.layout.config import LayoutConfig
from dipir.layout.regions import Region
from dipir.priors import captions

_GROUND = re.compile(r"\bon (?:an?|the) (?:(\w+) )?floor\b")


class TextPrior(Protocol):
    """A prior that takes words: `LayoutPrior`, `PretrainedDenoiser`, or a toy of the tests."""

    sigma_min: float
    sigma_max: float

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor: ...
    def encode(self, image_disp: Tensor) -> Tensor: ...
    def decode(self, latent: Tensor) -> Tensor: ...
    def encode_text(self, prompts: str | Sequence[str]) -> Condition: ...
    def token_positions(self, prompt: str, phrase: str) -> list[int]: ...


@dataclass(frozen=True)
class Wording:
    """What every layer, and the whole, is prompted with."""

    caption: str  # of the whole picture
    background: str  # caption of the background's layer
    negative: str  # of the whole
    background_negative: str  # of the background's layer
    negatives: tuple[str, ...]  # of the regions' layers, in their order


def wording_of(caption: str, regions: Sequence[Region], background: str | None, config: LayoutConfig,
               grammar: bool) -> Wording:
    """What was left out is made from what was given. The caption of the whole: from those of the regions. The
    background's: with ``grammar`` an empty floor, of the colour that the caption names or of one far from those of the
    things; else the caption. What the background shall not show: the regions.

    grammar : the prior knows the words of ``priors.captions`` only. ConfigError for others, for a region that names
        nothing, and for regions that the caption does not name.
    """
    if grammar:
        _check_regions(regions)
    whole = caption if caption.strip() or not regions else _joined(regions, grammar)
    if background is None:
        background = _empty_floor(whole, regions) if grammar else whole
    general = config.sampler.negative
    objects = [r.caption for r in regions] if config.layers.avoid else []
    result = Wording(whole, background, general, _list(general, *objects),
                     tuple(_list(general, r.negative) for r in regions))
    if grammar:
        for text in (whole, background, result.background_negative, *result.negatives):
            captions.words(text)
        _check_named(whole, regions)
    return result


def _list(*texts: str) -> str:
    return ", ".join(text.strip() for text in texts if text.strip())


def _joined(regions: Sequence[Region], grammar: bool) -> str:
    if grammar:
        return captions.caption([thing for r in regions for thing in captions.things(r.caption)])
    said = [r.caption.strip() for r in regions]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _empty_floor(caption: str, regions: Sequence[Region]) -> str:
    """Of the colour that the caption says; else of one of the three that are furthest from those of the things, so that
    none is lost in it."""
    found = _GROUND.search(caption.lower())
    if found and found[1] in captions.GROUNDS:
        return captions.caption([], found[1])
    taken = {thing.colour for text in (caption, *(r.caption for r in regions)) for thing in captions.things(text)}
    colours = [captions.COLOURS[hue] for hue in taken if hue]

    def distance(ground: str) -> float:
        return min(math.dist(captions.GROUNDS[ground], colour) for colour in colours)

    best = sorted(captions.GROUNDS, key=distance, reverse=True)[:3] if colours else list(captions.GROUNDS)
    return captions.caption([], best[zlib.crc32(caption.encode()) % len(best)])


def _check_regions(regions: Sequence[Region]) -> None:
    for region in regions:
        if not captions.things(region.caption):
            raise ConfigError(f"the region '{region.caption[:80]}' names no thing; accepted are captions with one of "
                              f"{', '.join(captions.SHAPES)}, for instance 'a red cube'.")


def _check_named(caption: str, regions: Sequence[Region]) -> None:
    """ConfigError for regions that the caption does not name; a shape must be in it as often as it has regions."""
    named = Counter(thing.shape for thing in captions.things(caption))
    missing = Counter(thing.shape for r in regions for thing in captions.things(r.caption)) - named
    if missing:
        what = ", ".join(f"{count} x {shape}" for shape, count in missing.items())
        raise ConfigError(f"there are more regions than the caption names: {what} missing in {caption[:200]!r}. "
                          "Accepted is a caption that names every region's thing; add them, or leave --caption out.")


def encode_texts(prior: TextPrior, texts: Sequence[str]) -> Condition:
    """One row for each text; equal texts are encoded once."""
    distinct = list(dict.fromkeys(texts))
    return select(prior.encode_text(distinct), [distinct.index(text) for text in texts])
