"""The small language of the layout prior: captions of coloured shapes, as "a red metal cube and a mug on a white
floor". Its words, how captions are made and read, and their numbers for a network."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dipir.errors import ConfigError, nearest

SHAPES = ("cube", "sphere", "cylinder", "cone", "torus", "mug", "bottle", "chair")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.10, 0.10), "orange": (0.95, 0.48, 0.06), "yellow": (0.95, 0.83, 0.12), "green": (0.13, 0.58, 0.18),
    "blue": (0.12, 0.28, 0.80), "purple": (0.48, 0.16, 0.66), "pink": (0.95, 0.50, 0.68), "brown": (0.42, 0.24, 0.12),
    "black": (0.07, 0.07, 0.07), "white": (0.93, 0.93, 0.93)}
"""Display sRGB of a surface in that colour."""
MATERIALS = ("matte", "shiny", "metal")
GROUNDS = {"grey": (0.5, 0.5, 0.5), **COLOURS}
"""Colours of floors."""
LONGEST = 40
"""Tokens of a caption; the rest is padding."""
PAD, START = 0, 1
_LINKS = ("a", "an", "and", ",", "on", "the", "floor", "empty", "grey")
VOCABULARY = ("", "<start>", *_LINKS, *SHAPES, *COLOURS, *MATERIALS)
"""Words by number; 0 is padding, 1 begins every caption, the empty one too."""
_NUMBERS = {word: k for k, word in enumerate(VOCABULARY)}
_WORD = re.compile(r"[^\s,.]+|,")


@dataclass(frozen=True)
class Thing:
    """What a phrase names."""

    shape: str
    """Of ``SHAPES``."""
    colour: str | None = None
    material: str | None = None
    """Of theirs, or None when not said."""

    @property
    def phrase(self) -> str:
        """Without an article, for example "red metal cube"."""
        return " ".join(word for word in (self.colour, self.material, self.shape) if word)


def caption(things: Sequence[Thing], ground: str | None = None) -> str:
    """One sentence; ``ground`` is a colour of the floor. Without things an empty floor."""
    phrases = [f"{'an' if t.phrase[0] in 'aeiou' else 'a'} {t.phrase}" for t in things]
    if not phrases:
        return f"an empty {ground} floor" if ground else "an empty floor"
    said = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    article = "an" if ground == "orange" else "a"
    return f"{said} on {article} {ground} floor" if ground else said


def words(text: str) -> list[str]:
    """The words of a caption in lower case, commas among them; ConfigError that lists the vocabulary for others, and
    for too many."""
    found = _WORD.findall(text.lower())
    unknown = [word for word in found if word not in _NUMBERS]
    if unknown:
        known = [word for word in VOCABULARY[2:] if word != ","]
        raise ConfigError(f"the caption {text[:200]!r} has words that the embedded layout prior does not know: "
                          f"{', '.join(dict.fromkeys(unknown))[:200]}.{nearest(unknown[0], known)} Accepted are "
                          f"{', '.join(known)}. Use other words, or give a text-conditioned model with --prior.")
    if len(found) >= LONGEST:
        raise ConfigError(f"the caption {text[:80]!r}... has {len(found)} words; accepted are at most {LONGEST - 1}. "
                          "Say less.")
    return found


def tokens(text: str) -> list[int]:
    """(LONGEST,) numbers of a caption: the start, its words, padding. ConfigError as of :func:`words`."""
    numbers = [START, *(_NUMBERS[word] for word in words(text))]
    return numbers + [PAD] * (LONGEST - len(numbers))


def things(text: str) -> list[Thing]:
    """What a caption names, in its order: every shape word with the colour and material words directly before it.
    ConfigError as of :func:`words`."""
    found, colour, material = [], None, None
    for word in words(text):
        if word in COLOURS:
            colour = word
        elif word in MATERIALS:
            material = word
        else:
            if word in SHAPES:
                found.append(Thing(word, colour, material))
            colour = material = None
    return found
