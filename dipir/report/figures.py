"""Pictures and curves of the report: tensors in, data URIs and inline SVG out."""
from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence

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


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], label: str, size: tuple[int, int] = (420, 220),
               unit_square: bool = False) -> str:
    """Inline SVG of one or more lines, name -> [(x, y), ...]; points that are not finite are left out. With
    ``unit_square`` the axes are [0, 1] and the diagonal is drawn."""
    series = {name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
              for name, points in series.items()}
    xs, ys = ([p[axis] for points in series.values() for p in points] for axis in (0, 1))
    if not xs:
        return ""
    box = (0.0, 1.0, 0.0, 1.0) if unit_square else (*_padded(xs, 0.0), *_padded(ys, 0.06))
    width, height = size
    left, right, top, bottom = 52, 12, 12, 26

    def place(x: float, y: float) -> tuple[float, float]:
        return (left + (x - box[0]) / (box[1] - box[0]) * (width - left - right),
                height - bottom - (y - box[2]) / (box[3] - box[2]) * (height - top - bottom))
    parts = [_grid(box, place)]
    if unit_square:
        (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
        parts.append(f'<line class="diagonal" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')
    for i, points in enumerate(series.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in points))
        parts.append(f'<polyline class="line" stroke="{PALETTE[i % len(PALETTE)]}" points="{path}"/>')
    keys = "" if len(series) == 1 else "".join(
        f'<span class="key"><i style="background:{PALETTE[i % len(PALETTE)]}"></i>{html.escape(name)}</span>'
        for i, name in enumerate(series))
    return (f'<figure class="chart"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}">'
            f'{"".join(parts)}</svg><figcaption>{html.escape(label)}{keys}</figcaption></figure>')


def _grid(box: tuple[float, float, float, float], place) -> str:
    """Grid lines with numbers at round values."""
    parts = []
    for x in _ticks(box[0], box[1]):
        (px, y0), (_, y1) = place(x, box[2]), place(x, box[3])
        parts.append(f'<line class="grid" x1="{px:.1f}" y1="{y0:.1f}" x2="{px:.1f}" y2="{y1:.1f}"/>'
                     f'<text class="tick" x="{px:.1f}" y="{y0 + 16:.1f}" text-anchor="middle">{x:.6g}</text>')
    for y in _ticks(box[2], box[3]):
        (x0, py), (x1, _) = place(box[0], y), place(box[1], y)
        parts.append(f'<line class="grid" x1="{x0:.1f}" y1="{py:.1f}" x2="{x1:.1f}" y2="{py:.1f}"/>'
                     f'<text class="tick" x="{x0 - 6:.1f}" y="{py + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    return "".join(parts)


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
