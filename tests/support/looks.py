"""Looks at a plate that say what a test wants, and a light prior that gives them."""
from __future__ import annotations

import math
from dataclasses import replace

import torch

from dipir.priors.light import Hypothesis, Look
from dipir.scene.source import Source

CHANCES = (0.6, 0.2, 0.1)
SHARES = (0.8, 0.6, 0.4)
"""Of the three guesses: chance, and its source's part of the light on level ground."""


def towards(azimuth_deg: float, elevation_deg: float) -> torch.Tensor:
    """(3,) unit vector in the convention of ``azimuth_elevation_deg``."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return torch.tensor([-math.sin(a) * math.cos(e), math.sin(e), -math.cos(a) * math.cos(e)])


DIRECTIONS = (towards(63, 41), towards(-70, 50), towards(170, 30))


def look(hard: float = 0.9) -> Look:
    """A grey light around, three suns to choose from."""
    rest = torch.tensor([0.25, 0.3, 0.4]).expand(16, 32, 3).clone()
    sources = tuple(Source(d, torch.tensor([1.1, 1.0, 0.9])).with_ground_share(rest, share)
                    for d, share in zip(DIRECTIONS, SHARES, strict=True))
    soft = rest + sum(c * s.lobe().envmap(16, 32) for c, s in zip(CHANCES, sources, strict=True))
    guesses = tuple(Hypothesis(d, c) for d, c in zip(DIRECTIONS, CHANCES, strict=True))
    return Look(soft, rest, hard, guesses, sources)


class SayingPrior:
    """A light prior of one answer, whatever the plate."""

    hash = "said"

    def __init__(self, hard: float = 0.9) -> None:
        self.answer = look(hard)

    def look(self, plate_disp, directions, place=None) -> Look:
        """The answer; its maps are where the plate is."""
        said, where = self.answer, plate_disp.device
        return replace(said, soft=said.soft.to(where), rest=said.rest.to(where))

    def look_together(self, plates, directions, agree=0.5, votes=None, places=None) -> Look:
        """The same."""
        return self.look(plates[0], directions[0])
