"""Pictures and curves of the report: tensors in, data URIs and lines of charts out."""
from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from dipir.arrays import EnvMap, IdMap, Image, Mask
from dipir.image import latlong
from dipir.image.color import linear_to_srgb

_MAX_SIDE = 1600
PALETTE = ("#e8a33d", "#5fa8e8", "#7cc576", "#e0697b", "#b58be0", "#4fc1b0", "#c9c35a", "#a0a0a0")


def data_uri(disp: Tensor, lossless: bool = False, max_side: int = _MAX_SIDE) -> str:
    """(1, 3 or 1, H, W) display values, clipped to [0, 1] -> data: URI (JPEG, or PNG when ``lossless``), shrunk to
    ``max_side`` pixels."""
    disp = disp.detach().cpu()
    coarse = max(disp.shape[2:]) // (2 * max_side)
    if coarse > 1:
        # A rough mean first: what follows would go through every pixel of a large plate.
        disp = torch.nn.functional.avg_pool2d(disp.float(), coarse, ceil_mode=True, count_include_pad=False)
    pixels = (disp[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((max_side, max_side), Pillow.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, **({"format": "PNG"} if lossless else {"format": "JPEG", "quality": 92, "subsampling": 0}))
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def show_light(envmap: EnvMap) -> Image:
    """Radiance (H, W, 3) -> (1, 3, H, W) display: exposed so that the 99th percentile is at 0.9, highlights rolled off
    so that the colour of a bright lamp stays visible."""
    level = torch.quantile(envmap.mean(-1).flatten(), 0.99).clamp_min(1e-6)
    x = envmap.permute(2, 0, 1)[None] * (0.75 / level)
    return linear_to_srgb(torch.where(x < 0.6, x, 1 - 0.4 * torch.exp(-(x - 0.6).clamp_min(0) / 0.4)))


def light_balls(envmap: EnvMap, size: int = 180) -> tuple[Image, Image]:
    """A mirror ball and a white diffuse ball under the map (H, W, 3), seen along +Z from afar, each (1, 3, size, size)
    display with the background of the page."""
    x, y = np.meshgrid((np.arange(size) + 0.5) / size * 2 - 1, (np.arange(size) + 0.5) / size * 2 - 1)
    inside = torch.from_numpy(x * x + y * y < 1)
    # Camera axes: +X is the picture's left, so the x of the picture is mirrored; the ball faces -Z.
    normal = torch.from_numpy(np.stack([-x, -y, -np.sqrt(np.clip(1 - x * x - y * y, 0, 1))], -1)).float()
    mirrored = torch.tensor([0.0, 0.0, 1.0]) - 2 * normal[..., 2:] * normal
    small = latlong.resize(envmap, 32, 64)
    flat, weight = latlong.directions(32, 64).reshape(-1, 3), latlong.solid_angles(32, 64).expand(32, 64).reshape(-1, 1)
    diffuse = (normal @ flat.T).clamp_min(0) @ (small.reshape(-1, 3) * weight) / math.pi
    level = torch.quantile(diffuse[inside].mean(-1), 0.9).clamp_min(1e-6)
    page = torch.tensor([0.102, 0.106, 0.114])[:, None, None]
    balls = []
    for radiance in (latlong.sample(envmap, mirrored), diffuse):
        disp = linear_to_srgb((radiance * (0.7 / level)).clamp(0, 1)).permute(2, 0, 1)
        balls.append(torch.where(inside, disp, page)[None])
    return balls[0], balls[1]


def show_depth(depth: Mask, alpha: Mask) -> Mask:
    """Metres -> near white, far dark grey, 0 outside the object."""
    inside = alpha > 0.5
    if not bool(inside.any()):
        return torch.zeros_like(depth)
    near, far = depth[inside].min(), depth[inside].max()
    return torch.where(inside, 1 - 0.8 * (depth - near) / (far - near).clamp_min(1e-6), 0.0)


def show_ids(ids: IdMap) -> Image:
    """Object ids -> flat colours, 0 black."""
    table = torch.tensor([[0.0] * 3] + [[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE])
    index = torch.where(ids > 0, (ids.long() - 1) % len(PALETTE) + 1, 0)
    return table[index[:, 0]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Chart:
    """Lines over a grid, in the picture's own units: what the template draws."""

    label: str
    width: int
    height: int
    across: list[tuple[float, float, float, str]]
    """Upright grid lines: x, y of both ends, number."""
    up: list[tuple[float, float, float, str]]
    """Level grid lines: y, x of both ends, number."""
    lines: list[tuple[str, str, list[tuple[float, float]]]]
    """Name, colour, points."""
    diagonal: tuple[float, float, float, float] | None = None
    """x, y of both ends."""


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], label: str, size: tuple[int, int] = (420, 220),
               unit_square: bool = False) -> Chart | None:
    """One or more lines, name -> [(x, y), ...]; points that are not finite are left out, None when none is left. With
    ``unit_square`` the axes are [0, 1] and the diagonal is drawn."""
    series = {name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
              for name, points in series.items()}
    xs, ys = ([p[axis] for points in series.values() for p in points] for axis in (0, 1))
    if not xs:
        return None
    x_low, x_high, y_low, y_high = (0.0, 1.0, 0.0, 1.0) if unit_square else (*_padded(xs, 0.0), *_padded(ys, 0.06))
    left, right, top, bottom = 52, size[0] - 12, 12, size[1] - 26

    def across(x: float) -> float:
        return left + (x - x_low) / (x_high - x_low) * (right - left)

    def up(y: float) -> float:
        return bottom - (y - y_low) / (y_high - y_low) * (bottom - top)

    return Chart(label, *size, [(across(x), bottom, top, f"{x:.6g}") for x in _ticks(x_low, x_high)],
                 [(up(y), left, right, f"{y:.4g}") for y in _ticks(y_low, y_high)],
                 [(name, PALETTE[i % len(PALETTE)], [(across(x), up(y)) for x, y in points])
                  for i, (name, points) in enumerate(series.items())],
                 (across(0), up(0), across(1), up(1)) if unit_square else None)


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) within [low, high]."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _padded(values: list[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        room = max(abs(low) * 0.1, 1e-6)
        return low - room, high + room
    return low - share * (high - low), high + share * (high - low)
