"""Where the dominant light of a posed sequence is, by the shadow that its object throws on the ground.

All photos together show the ground from above (what stands in front of it in one is beside it in another). For every
direction the object's points say where its shadow would fall; the direction whose shadow is where the ground is dark,
darker than because the object hides a part of the whole sky, is the light's. Where the light is soft no direction
stands out, and nothing is said.
"""
from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dipir.captures.ground_view import WIDE, GroundView, ground_view, log_luminance
from dipir.captures.sequence import PosedSequence
from dipir.image import latlong

_LOWEST_DEG = 8.0
_CELLS = 80.0
"""For so many independent ones the known cells count: neighbours look alike, and textures are no noise. By a normal
likelihood a shadow that correlates by r with the darkness is (1 - r^2)^(-n / 2) times as likely as none. Chosen on 26
sequences under training environments, where 60 to 150 did about equally well."""
_FEWEST = 60


def shadow_votes(sequence: PosedSequence, middle: np.ndarray, size: float, height: int = 16) -> Tensor:
    """(height, 2 height) logarithms of weights of directions, 0 = the likeliest, to be added to those of other
    witnesses; all 0 where there are too few points or too little ground to say anything.

    sequence : on its ground (``scene.sequence.on_ground``);  middle, size : of its object (``sequence.thing_of``)
    """
    view = ground_view(sequence, middle, size)
    if len(view.thing) < _FEWEST or view.known.mean() < 1 / 20:
        return torch.zeros(height, 2 * height)
    # ---- the shadow that light from each direction would throw ----
    fine = 2 * height
    rays = latlong.directions(fine, 2 * fine).reshape(-1, 3).double().numpy()
    cosine = latlong.solid_angles(fine, 2 * fine).expand(fine, 2 * fine).reshape(-1).double().numpy() * rays[:, 1]
    above = rays[:, 1] > math.sin(math.radians(_LOWEST_DEG))
    shadows = np.stack([cast(view.thing, ray, view)[view.known] for ray in rays[above]])
    x, z = (axis[view.known] for axis in view.places)
    # What else makes ground dark or bright: a slope, and that the object hides a part of the whole sky.
    known = np.stack([np.ones_like(x), x, z, cosine[above] @ shadows / cosine[above].sum()], -1)
    # ---- how well it explains where the ground is dark ----
    votes = np.zeros(len(rays))
    explained = partial_correlations(shadows, -log_luminance(view.lin)[view.known], known).clip(0) ** 2
    votes[above] = -_CELLS / 2 * np.log1p(-explained.clip(max=0.999))
    # Below the horizon and too low no shadow says anything: as likely as the mean of all others.
    votes[~above] = votes[above].mean()
    # ---- on the coarse map ----
    four = torch.from_numpy(votes).float().reshape(height, 2, 2 * height, 2).permute(0, 2, 1, 3)
    coarse = four.reshape(height, 2 * height, 4).logsumexp(-1)
    return coarse - coarse.max()


def cast(thing: np.ndarray, towards: np.ndarray, view: GroundView) -> np.ndarray:
    """(cells, cells) of 0 and 1: shadow of points under a light in one direction."""
    fallen = thing[:, [0, 2]] - thing[:, 1:2] * towards[[0, 2]] / towards[1] - view.middle[[0, 2]]
    return view.splat(fallen, WIDE)


def partial_correlations(many: np.ndarray, one: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(M,) Pearson's of each of (M, N) with (N,), after what is linear in the columns of ``known`` (N, K) was taken out
    of both; 0 where nothing is left of either."""
    basis = np.linalg.qr(known)[0]
    a, b = many - many @ basis @ basis.T, one - one @ basis @ basis.T
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
    least = 1e-9 * np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.where(norm > least, a @ b / np.maximum(norm, 1e-30), 0.0)
