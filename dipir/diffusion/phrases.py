"""Where the words of a phrase stand among the tokens of a prompt."""
from __future__ import annotations

from collections.abc import Sequence

from dipir.errors import ConfigError


def positions(prompt: str, phrase: str, whole: Sequence[int], part: Sequence[int]) -> list[int]:
    """Indices in ``whole``, the tokens of ``prompt``, of the first run that is ``part``, the tokens of ``phrase``.
    ConfigError when there is none, or no phrase."""
    whole, part = list(whole), list(part)
    for k in range(len(whole) - len(part) + 1 if part else 0):
        if whole[k:k + len(part)] == part:
            return list(range(k, k + len(part)))
    raise ConfigError(f"the phrase {phrase[:100]!r} does not stand in the caption {prompt[:200]!r} as far as that is "
                      "read; accepted are words of the caption, one after the other. Say it as the caption does.")
