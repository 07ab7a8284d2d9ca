"""Colours in words: a prompt such as "a red apple and a dark blue cup" -> up to three colours, in their order."""
from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.errors import ConfigError

Colour = tuple[float, float, float]

SLOTS = 3
VECTOR = 4 * SLOTS
NAMED: dict[str, Colour] = {
    "red": (0.82, 0.12, 0.12), "orange": (0.95, 0.50, 0.08), "yellow": (0.97, 0.86, 0.15),
    "green": (0.15, 0.60, 0.20), "teal": (0.05, 0.58, 0.58), "blue": (0.12, 0.30, 0.82),
    "purple": (0.50, 0.18, 0.68), "pink": (0.96, 0.50, 0.68), "brown": (0.45, 0.26, 0.13),
    "black": (0.08, 0.08, 0.08), "white": (0.96, 0.96, 0.96), "grey": (0.50, 0.50, 0.50),
    "beige": (0.86, 0.78, 0.62), "gold": (0.80, 0.62, 0.18)}
"""Display sRGB of a surface in that colour under full light."""
_ALIASES = {"gray": "grey", "golden": "gold"}
_TOWARDS = {"light": (1.0, 0.5), "dark": (0.0, 0.45)}
"""What a tone mixes the colour with, and to which part."""
_WORD = re.compile(rf"(?P<hex>#\w*)|\b(?:(?P<tone>{'|'.join(_TOWARDS)})[\s-]*)?"
                   rf"(?P<name>{'|'.join([*NAMED, *_ALIASES])})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Palette:
    """One to three colours.

    The first is meant for the largest coloured area of the picture, the next for the next smaller ones; where there are
    fewer areas than colours the last ones are without use.
    """

    names: tuple[str, ...]  # as asked for ("dark blue", "#4080ff")
    colours: tuple[Colour, ...]  # display sRGB in [0, 1]

    def __post_init__(self) -> None:
        if not 1 <= len(self.colours) <= SLOTS or len(self.names) != len(self.colours):
            raise ConfigError(f"palette of {len(self.colours)} colours with {len(self.names)} names; accepted are one "
                              f"to {SLOTS} colours with a name each. Leave some out, or name at least one.")
        wrong = [c for c in self.colours if len(c) != 3 or not all(0 <= v <= 1 for v in c)]
        if wrong:
            raise ConfigError(f"palette colour {wrong[0]}; accepted are three display values from 0 to 1.")

    @property
    def vector(self) -> Tensor:
        """(1, 12) what the colour prior is told, see :func:`palette_vector`; on the CPU."""
        colours = torch.zeros(1, SLOTS, 3, device="cpu")
        colours[0, :len(self.colours)] = colours.new_tensor(self.colours)
        return palette_vector(colours, torch.arange(SLOTS, device="cpu")[None] < len(self.colours))


def palette_vector(colours: Tensor, present: Tensor) -> Tensor:
    """(B, 3, 3) display colours in [0, 1], (B, 3) which of them are there -> (B, 12): red, green, blue in [-1, 1] and
    1 for each that is there, zeros for each that is not. All zeros = no colour is asked for."""
    told = torch.cat([colours * 2 - 1, torch.ones_like(colours[..., :1])], -1)
    return (told * present[..., None]).flatten(1)


def parse_palette(prompt: str) -> Palette:
    """The colours that a prompt names, in their order, each once: words of ``NAMED``, with "light" or "dark" before
    them if wanted, and ``#rrggbb``. All other words are passed over. ConfigError without any colour, with more than
    three, or for a # that is no colour."""
    found: dict[str, Colour] = {}
    for match in _WORD.finditer(prompt):
        name, colour = _hex(match["hex"]) if match["hex"] else _named(match["name"].lower(), match["tone"])
        found[name] = colour
    accepted = f"{', '.join(NAMED)}, each with light or dark before it, and #rrggbb"
    if not found:
        raise ConfigError(f"the prompt {prompt[:200]!r} names no colour; accepted are {accepted}. "
                          'Name one to three, for example "a red apple and a dark blue cup".')
    if len(found) > SLOTS:
        raise ConfigError(f"the prompt names {len(found)} colours ({', '.join(found)}); accepted are at most {SLOTS}, "
                          "that of the largest area first. Leave some out.")
    return Palette(tuple(found), tuple(found.values()))


def _named(word: str, tone: str | None) -> tuple[str, Colour]:
    name = _ALIASES.get(word, word)
    if tone is None:
        return name, NAMED[name]
    towards, part = _TOWARDS[tone.lower()]
    red, green, blue = (round((1 - part) * value + part * towards, 4) for value in NAMED[name])
    return f"{tone.lower()} {name}", (red, green, blue)


def _hex(text: str) -> tuple[str, Colour]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ConfigError(f"the prompt holds {text[:40]!r}; a # must begin a colour of six hexadecimal digits, "
                          "as #4080ff.")
    red, green, blue = (int(text[k:k + 2], 16) / 255 for k in (1, 3, 5))
    return text.lower(), (red, green, blue)
