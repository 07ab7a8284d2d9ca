"""Where the dominant light of a posed sequence is, by the shadow that its object throws on the ground.

All photos together show the ground from above (what stands in front of it in one is beside it in another). For every
direction the object's points say where its shadow would fall; the direction whose shadow is where the ground is dark is
the light's. Where the light is soft no direction stands out, and nothing is said.
"""
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dipir.image import latlong
from dipir.methods.ground_view import WIDE, GroundView, ground_view, log_luminance, standing
from dipir.scene.sequence import PosedSequence

_LOWEST_DEG = 8.0
_WEIGHT = 100.0
"""On the correlation of darkness and shadow, [-1, 1]: a twentieth less is e^5 times less likely. Between 80 and
160, which did about equally well on eight sequences under training environments; 10 to 40 did worse."""
_FEWEST = 60


def shadow_votes(sequence: PosedSequence, middle: np.ndarray, size: float, height: int = 16) -> Tensor:
    """(height, 2 height) logarithms of weights of directions, 0 = the likeliest, to be added to those of other
    witnesses; all 0 where there are too few points or too little ground to say anything.

    sequence : on its ground (``scene.sequence.on_ground``);  middle, size : of its object (``sequence.thing_of``)
    """
    nothing, thing = torch.zeros(height, 2 * height), standing(sequence, middle, size)
    if len(thing) < _FEWEST:
        return nothing
    view = ground_view(sequence, middle, size)
    if view.known.mean() < 1 / 20:
        return nothing
    dark = darkness(view)
    rays = latlong.directions(2 * height, 4 * height).reshape(-1, 3).double().numpy()
    above = rays[:, 1] > math.sin(math.radians(_LOWEST_DEG))
    votes = np.zeros(len(rays))
    for k in np.flatnonzero(above):
        votes[k] = correlation(thrown(thing, rays[k], view), dark, view.known)
    # Below the horizon and too low no shadow says anything: as likely as the mean of all others.
    votes[~above] = votes[above].mean()
    fine = _WEIGHT * torch.from_numpy(votes).float().reshape(height, 2, 2 * height, 2)
    coarse = fine.permute(0, 2, 1, 3).reshape(height, 2 * height, 4).logsumexp(-1)
    return coarse - coarse.max()


def darkness(view: GroundView) -> np.ndarray:
    """(cells, cells) minus the logarithm of the ground's luminance, its mean slope over what is known taken out."""
    dark, known = -log_luminance(view.lin), view.known
    x, z = view.places
    slope = np.stack([np.ones(known.sum()), x[known], z[known]], -1)
    dark[known] -= slope @ np.linalg.lstsq(slope, dark[known], rcond=None)[0]
    return dark


def thrown(thing: np.ndarray, towards: np.ndarray, view: GroundView) -> np.ndarray:
    """(cells, cells) of 0 and 1: shadow of points under a light in one direction."""
    fallen = thing[:, [0, 2]] - thing[:, 1:2] * towards[[0, 2]] / towards[1] - view.middle[[0, 2]]
    return view.splat(fallen, WIDE)


def correlation(shadow: np.ndarray, dark: np.ndarray, known: np.ndarray) -> float:
    """Pearson's, over the known cells; 0 where either is constant there."""
    a, b = shadow[known] - shadow[known].mean(), dark[known] - dark[known].mean()
    norm = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 1e-12 else 0.0
