"""Grey drawings that no renderer made: composed by hand out of strokes, and a pencil filter for photos."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

_SIDE = 1024
Points = Sequence[tuple[float, float]]


class Sheet:
    """White paper of the unit square, y down, on which grey areas, hatching and strokes are laid in their order."""

    def __init__(self, paper: float = 0.97) -> None:
        self.image = Image.new("L", (_SIDE, _SIDE), round(255 * paper))
        self.pen = ImageDraw.Draw(self.image)

    def fill(self, points: Points, grey: float) -> None:
        """An even area."""
        self.pen.polygon(_scaled(points), fill=round(255 * grey))

    def stroke(self, points: Points, width: float = 0.012, grey: float = 0.15) -> None:
        """A line through the points, as thick as ``width`` of the side, with round ends."""
        scaled, thick = _scaled(points), max(1, round(width * _SIDE))
        self.pen.line(scaled, fill=round(255 * grey), width=thick, joint="curve")
        for x, y in scaled:
            self.pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=round(255 * grey))

    def area(self, points: Points, grey: float | None = None, width: float = 0.012) -> None:
        """A closed outline, filled if a grey is given."""
        if grey is not None:
            self.fill(points, grey)
        self.stroke([*points, points[0]], width)

    def hatch(self, points: Points, gap: float = 0.03, slope: float = 1.0, grey: float = 0.35) -> None:
        """Parallel strokes inside an area."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon(_scaled(points), fill=255)
        strokes = self.image.copy()
        pen = ImageDraw.Draw(strokes)
        for start in np.arange(-2, 3, gap):
            pen.line(_scaled([(start, 0), (start + slope, 1)]), fill=round(255 * grey), width=round(0.007 * _SIDE))
        self.image.paste(strokes, mask=mask)
        self.pen = ImageDraw.Draw(self.image)

    def tensor(self, size: int) -> Tensor:
        """(1, 1, size, size) display values."""
        small = self.image.resize((size, size), Image.Resampling.BOX)
        return torch.from_numpy(np.asarray(small, np.float32) / 255)[None, None]


def _scaled(points: Points) -> list[tuple[float, float]]:
    return [(x * _SIDE, y * _SIDE) for x, y in points]


def curve(points: Points, closed: bool = False, steps: int = 16) -> list[tuple[float, float]]:
    """A smooth curve through the points (Catmull-Rom)."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]] if closed else [p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
             for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)]
    return [tuple(map(float, q)) for q in np.concatenate([*parts, p[-2:-1]])]


def oval(x: float, y: float, across: float, up: float, first_deg: float = 0, last_deg: float = 360) -> list:
    """Points of an ellipse or of an arc of it, angles clockwise from the right."""
    angle = np.radians(np.linspace(first_deg, last_deg, 40))
    return [(x + across * float(np.cos(a)), y + up * float(np.sin(a))) for a in angle]


def house() -> Sheet:
    """Lines alone: walls, roof, door, window, chimney."""
    s = Sheet()
    s.area([(0.68, 0.16), (0.78, 0.16), (0.78, 0.42), (0.68, 0.32)])
    s.area([(0.18, 0.46), (0.82, 0.46), (0.81, 0.9), (0.19, 0.9)])
    s.fill([(0.08, 0.47), (0.5, 0.1), (0.92, 0.47)], 0.97)
    s.area([(0.08, 0.47), (0.5, 0.1), (0.92, 0.47)])
    s.area([(0.43, 0.9), (0.43, 0.62), (0.58, 0.62), (0.58, 0.9)])
    s.area([(0.25, 0.56), (0.37, 0.56), (0.37, 0.7), (0.25, 0.7)], width=0.009)
    s.stroke([(0.31, 0.56), (0.31, 0.7)], 0.007)
    s.stroke([(0.25, 0.63), (0.37, 0.63)], 0.007)
    s.stroke([(0.02, 0.905), (0.98, 0.9)], 0.009)
    return s


def teapot() -> Sheet:
    """Grey tones that turn from light to dark, thin lines."""
    s = Sheet()
    s.fill(oval(0.52, 0.84, 0.36, 0.05), 0.8)
    spout = [*curve([(0.27, 0.62), (0.16, 0.52), (0.1, 0.38)]), *curve([(0.16, 0.37), (0.22, 0.45), (0.3, 0.48)])]
    s.area(spout, 0.72, 0.008)
    s.stroke(curve([(0.74, 0.45), (0.9, 0.4), (0.93, 0.55), (0.84, 0.68), (0.74, 0.7)]), 0.05, 0.2)
    s.stroke(curve([(0.74, 0.45), (0.9, 0.4), (0.93, 0.55), (0.84, 0.68), (0.74, 0.7)]), 0.034, 0.6)
    body = curve([(0.38, 0.36), (0.26, 0.5), (0.27, 0.7), (0.4, 0.84), (0.62, 0.84), (0.76, 0.7), (0.77, 0.5),
                  (0.65, 0.36)], closed=True)
    for k in range(16):
        s.fill([(0.5 + (x - 0.5) * (1 - k / 18) - 0.0035 * k, 0.6 + (y - 0.6) * (1 - k / 18) - 0.005 * k)
                for x, y in body], 0.5 + 0.026 * k)
    s.stroke(body, 0.009)
    s.area(oval(0.515, 0.36, 0.15, 0.05), 0.75, 0.008)
    s.area(oval(0.515, 0.27, 0.04, 0.04), 0.6, 0.008)
    return s


def fish() -> Sheet:
    """Lines and hatching."""
    s = Sheet()
    body = curve([(0.08, 0.5), (0.25, 0.33), (0.5, 0.28), (0.74, 0.44), (0.74, 0.56), (0.5, 0.72), (0.25, 0.67)], True)
    tail = [(0.72, 0.5), *curve([(0.82, 0.4), (0.95, 0.27), (0.91, 0.5)]), *curve([(0.91, 0.5), (0.95, 0.73),
                                                                                  (0.82, 0.6)])]
    fin = curve([(0.38, 0.3), (0.48, 0.14), (0.62, 0.2), (0.6, 0.33)])
    s.area(tail)
    s.hatch(tail, 0.035, -0.4)
    s.area(fin)
    s.fill(body, 0.97)
    s.hatch([*body[len(body) // 2:], (0.08, 0.5), (0.45, 0.58), (0.74, 0.56)], 0.03, 0.7)
    s.stroke(body, 0.013)
    s.stroke(curve([(0.27, 0.36), (0.32, 0.5), (0.27, 0.64)]), 0.009)
    s.area(oval(0.18, 0.46, 0.025, 0.025), 0.05)
    return s


def car() -> Sheet:
    """Thick lines and flat light greys, from the side."""
    s = Sheet()
    body = curve([(0.06, 0.68), (0.08, 0.52), (0.26, 0.48), (0.36, 0.3), (0.64, 0.3), (0.76, 0.48), (0.92, 0.53),
                  (0.94, 0.68)])
    s.area(body, 0.85, 0.018)
    s.area(curve([(0.31, 0.48), (0.38, 0.35), (0.49, 0.35), (0.49, 0.48)]), 0.95)
    s.area(curve([(0.53, 0.48), (0.53, 0.35), (0.62, 0.35), (0.7, 0.48)]), 0.95)
    for x in (0.26, 0.74):
        s.area(oval(x, 0.7, 0.1, 0.1), 0.3, 0.015)
        s.area(oval(x, 0.7, 0.05, 0.05), 0.85, 0.01)
    s.stroke([(0.01, 0.81), (0.99, 0.81)], 0.01)
    return s


def tree() -> Sheet:
    """Soft tones and a ragged outline."""
    s = Sheet(0.93)
    s.area(curve([(0.44, 0.92), (0.46, 0.6), (0.54, 0.6), (0.57, 0.92)]), 0.55, 0.01)
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    crown = [(0.5 + (0.33 + 0.03 * (-1) ** k) * float(np.cos(a)), 0.38 + (0.28 + 0.03 * (-1) ** k) * float(np.sin(a)))
             for k, a in enumerate(turn)]
    s.area(curve(crown, closed=True), 0.7, 0.01)
    s.fill(oval(0.42, 0.3, 0.16, 0.12), 0.82)
    s.hatch(oval(0.6, 0.48, 0.17, 0.12), 0.025, 0.8, 0.4)
    return s


DRAWINGS: dict[str, Callable[[], Sheet]] = {"house": house, "teapot": teapot, "fish": fish, "car": car, "tree": tree}


def drawing(name: str, size: int = 128) -> Tensor:
    """(1, 1, size, size) display values of one of ``DRAWINGS``."""
    return DRAWINGS[name]().tensor(size)


def pencil(photo_disp: Tensor, radius: float = 0.02, strength: float = 1.0) -> Tensor:
    """(1, 3, H, W) photo -> (1, 1, H, W) pencil drawing by colour dodge: grey over the inverse of the blurred inverse;
    ``radius`` of the blur as part of the longer side, ``strength`` an exponent."""
    grey = photo_disp.mean(1, keepdim=True)
    sigma = radius * max(grey.shape[-2:])
    reach = int(3 * sigma) + 1
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    bell = bell / bell.sum()
    blurred = functional.pad(1 - grey, (reach,) * 4, mode="replicate")
    blurred = functional.conv2d(functional.conv2d(blurred, bell[None, None, None]), bell[None, None, :, None])
    return (grey / (1 - blurred).clamp_min(1e-3)).clamp(0, 1) ** strength


def recorded_squares(count: int = 4, lights: int = 2) -> dict[str, Tensor]:
    """What ``sketches.load`` gives, by hand: a large, a middle and a small square with an outline, flatly lit, brighter
    under the second light, and a shadow below them."""
    cover = torch.zeros(3, 64, 64)
    for slot, (y, x, side) in enumerate(((4, 4, 32), (4, 42, 20), (44, 44, 12))):
        cover[slot, y:y + side, x:x + side] = 1
    edge = (cover.sum(0) - functional.max_pool2d(cover, 3, 1, 1).sum(0)).abs()
    light = 0.5 + 0.5 * torch.arange(lights) / max(1, lights - 1)
    shadow = torch.ones(64, 64)
    shadow[40:43] = 0.5
    recording = {"cover": 255 * cover, "lines": 255 * edge.expand(6, -1, -1),
                 "shade": 200 * light[:, None, None, None] * cover, "gloss": torch.zeros(lights, 64, 64),
                 "shadow": 255 * shadow.expand(lights, -1, -1)}
    return {key: x.round().byte()[None].expand(count, *x.shape).contiguous() for key, x in recording.items()}
