"""What IllumiNet is told about a capture: planes that are weighted sums of its photos, the weights set by the light.

For a wanted direction the photos under the *other* lights give: the photo that they predict (kriging with an
exponential covariance, its kind chosen by how well it foretells left-out photos), the photos on its four sides (one
step of the dome to the right, above, left, below), and hemispherical harmonics of each pixel's brightness. When the
network learns to draw a training photo, that photo has no part in any plane: the weights are those of the capture
without it. So it learns what it must do under new lights.

Turned and mirrored captures (the eight symmetries of the square) are as real as the capture itself: turning only moves
the lights, hence the weights, and then the pixels of the planes.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import Directions
from dipir.rti.bases import design

SIDES = 4
COLOURED = 1 + SIDES
HARMONICS = 9
PLANES = 3 * COLOURED + HARMONICS
NUMBERS = 3 + 2 * SIDES
SYMMETRIES = 8
COVARIANCES = (("angle", 1.0), ("angle", 2.0), ("disc", 0.5), ("disc", 1.0), ("stereographic", 1.0))
"""What the distance of two lights is (angle in radians, or in a map of the hemisphere) and its scale."""
_NUGGET = 1e-3
_RIDGE = 1e-2
_NARROW = 0.45


@dataclass(frozen=True)
class Weights:
    """How the planes of m lights follow from n photos."""

    photos: Tensor
    """(m, 14, n) float32: the prediction, right, above, left, below, then nine harmonics of the brightness."""
    light: Tensor  # (m, 11) float32: direction, and where the four sides really lie from it, in steps of the dome


def turned(directions: Directions, symmetry: int) -> Directions:
    """Light directions after the picture has been turned by ``symmetry`` (0 to 7), see :func:`turned_picture`."""
    x, y, z = directions.unbind(-1)
    if symmetry >= 4:
        x = -x
    for _ in range(symmetry % 4):
        x, y = -y, x
    return torch.stack([x, y, z], -1)


def turned_picture(images: Tensor, symmetry: int) -> Tensor:
    """(..., h, w) mirrored left to right when ``symmetry`` is 4 or more, then turned counterclockwise by 90 degrees
    ``symmetry % 4`` times."""
    images = images.flip(-1) if symmetry >= 4 else images
    return torch.rot90(images, symmetry % 4, (-2, -1)).contiguous()


def turned_back(images: Tensor, symmetry: int) -> Tensor:
    """The inverse of :func:`turned_picture`."""
    images = torch.rot90(images, -(symmetry % 4), (-2, -1))
    return (images.flip(-1) if symmetry >= 4 else images).contiguous()


def chart(directions: Directions) -> Tensor:
    """(n, 3) -> (n, 2): the hemisphere as a disc, its middle the camera, distances from it as angles (1 = 90 degrees).
    Unlike the projection (x, y) it does not press the low lights together."""
    angle = torch.atan2(directions[:, :2].norm(dim=1), directions[:, 2])
    return torch.nn.functional.normalize(directions[:, :2], dim=1) * (angle / (math.pi / 2))[:, None]


def spacing(directions: Directions) -> float:
    """Mean distance of a light to the nearest other one, in the units of :func:`chart`."""
    apart = torch.cdist(chart(directions.double()), chart(directions.double())).fill_diagonal_(math.inf)
    return max(float(apart.amin(1).mean()), 1e-3)


def weights(directions: Directions, wanted: Directions | None = None, covariance: int = 0) -> Weights:
    """For the ``wanted`` directions (m, 3) from all n photos; without, for each of the n lights from all others.
    ``covariance`` : index into COVARIANCES, see :func:`best_covariance`."""
    d = directions.double()
    alone = wanted is None
    w = d if alone else wanted.double()
    step = spacing(d)
    sides, offsets = _sides(chart(d), chart(w), step, alone)
    predicted = _kriging_without_itself(d, covariance) if alone else _kriging(d, w, covariance)
    harmonics = _harmonics_without_itself(d) if alone else _harmonics(d).expand(len(w), -1, -1)
    photos = torch.cat([predicted[:, None], sides, harmonics], 1)
    return Weights(photos.float(), torch.cat([w, offsets.flatten(1)], 1).float())


def planes(rows: Tensor, photos: Tensor, scale: float = 1.0) -> Tensor:
    """(14, n) weights and photos (n, 3, h, w) -> (24, h, w): the prediction first, the harmonics times ``scale``."""
    coloured = torch.tensordot(rows[:COLOURED], photos, 1).flatten(0, 1)
    return torch.cat([coloured, torch.tensordot(rows[COLOURED:] * scale, photos.mean(1), 1)])


def best_covariance(directions: Directions, photos: Tensor) -> int:
    """The index of the covariance that foretells each photo from the others with the least squared error; about 4000
    pixels are looked at."""
    flat = photos.flatten(2)
    some = flat[..., ::max(1, flat.shape[2] // 4000)].flatten(1).double()
    errors = [float((_kriging_without_itself(directions.double(), k) @ some - some).square().mean())
              for k in range(len(COVARIANCES))]
    return errors.index(min(errors))


def plane_scale(directions: Directions, photos: Tensor) -> float:
    """The factor that gives the harmonics of a capture a mean standard deviation of 1 over its pixels."""
    fitted = torch.tensordot(_harmonics(directions.double()).float(), photos.mean(1), 1)
    return 1 / max(1e-3, float(fitted.std((1, 2)).mean()))


def _sides(lights: Tensor, wanted: Tensor, step: float, alone: bool) -> tuple[Tensor, Tensor]:
    """(m, 4, n) weights of the lights around the points one step to each side, and (m, 4, 2) their mean place."""
    angle = torch.arange(SIDES, dtype=torch.float64, device="cpu") * (2 * math.pi / SIDES)
    centres = wanted[:, None] + step * torch.stack([angle.cos(), angle.sin()], -1)
    nearness = -(torch.cdist(centres, lights.expand(len(wanted), -1, -1)) / (_NARROW * step)).square() / 2
    if alone:
        itself = torch.eye(len(lights), dtype=torch.bool, device=nearness.device)[:, None]
        nearness = nearness.masked_fill(itself, -math.inf)
    share = torch.softmax(nearness, -1)
    return share, (share @ lights - wanted[:, None]) / step


def _covariance(a: Tensor, b: Tensor, index: int) -> Tensor:
    """(n, m) exp(-distance / scale) of directions (n, 3) and (m, 3)."""
    kind, scale = COVARIANCES[index]
    if kind == "angle":
        return torch.exp(-torch.acos((a @ b.T).clamp(-1, 1)) / scale)
    place = chart if kind == "disc" else _stereographic
    return torch.exp(-torch.cdist(place(a), place(b)) / scale)


def _stereographic(directions: Tensor) -> Tensor:
    """(n, 3) -> (n, 2)."""
    return directions[:, :2] / (1 + directions[:, 2:]).clamp_min(0.1)


def _system(d: Tensor, index: int) -> Tensor:
    return torch.linalg.inv(_covariance(d, d, index) + _NUGGET * torch.eye(len(d), dtype=d.dtype, device=d.device))


def _kriging(d: Tensor, wanted: Tensor, index: int) -> Tensor:
    """(m, n) of simple kriging: far from all lights the prediction is black."""
    return _covariance(wanted, d, index) @ _system(d, index)


def _kriging_without_itself(d: Tensor, index: int) -> Tensor:
    """(n, n), zero on the diagonal: leaving one out needs no second inverse (Dubrule 1983)."""
    inverse = _system(d, index)
    return torch.eye(len(d), dtype=d.dtype, device=d.device) - inverse / inverse.diagonal()[:, None]


def _harmonics(d: Tensor) -> Tensor:
    """(9, n): least squares with a small ridge."""
    a = design(d, "hsh9")
    return torch.linalg.solve(a.T @ a + _RIDGE * torch.eye(HARMONICS, dtype=d.dtype, device=d.device), a.T)


def _harmonics_without_itself(d: Tensor) -> Tensor:
    """(n, 9, n): row i from all photos but i (the update of Sherman and Morrison)."""
    a, fitted = design(d, "hsh9"), _harmonics(d)
    leverage = (a * fitted.T).sum(1)
    change = fitted.T / (1 - leverage)[:, None]
    return fitted - change[:, :, None] * (torch.eye(len(d), dtype=d.dtype, device=d.device) - a @ fitted)[:, None]
