"""Pictures of the insertion benchmark: the tile of one method, and the contact sheet of all cases."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from dipir.arrays import EnvMap, Image
from dipir.disk import write_bytes
from dipir.image.color import linear_to_srgb
from dipir.scene.light import dominant_direction

WIDTH, GAP, HEAD, PAGE = 321, 6, 18, 12
"""Width of a tile, space between tiles, height of a line of text (pixels), cases on a sheet."""
BACKGROUND = 0.1
FIRST = ("ambient", "default")  # Methods beside the truth.
MISSING = (40, 40, 150)  # BGR where a picture should be.


def tile(disp: Image, light: EnvMap | None, plan: Tensor | None = None) -> Image:
    """(1, 3, H, :data:`WIDTH`) display: the picture above its light map and its shadow from above, or above nothing.

    The map is shown as sRGB of x / (1 + x), the same for every method: plate white is in the middle of the linear
    range. Its middle is where the camera looks. A ring marks the dominant direction.
    plan : (1, 3, h, h) ratio on the ground from above, the way the camera looks up
    """
    height, width = disp.shape[-2:]
    rows, low = round(WIDTH * height / width), WIDTH // 3
    picture = interpolate(disp, (rows, WIDTH), mode="bilinear", antialias=True)
    below = torch.full((1, 3, low, WIDTH), BACKGROUND)
    if light is not None:
        below[..., :2 * low] = light_picture(light, 2 * low)
    if plan is not None:
        shade = interpolate(plan.clamp(0, 1), (low, low), mode="area")
        below[..., -low:] = pad(linear_to_srgb(shade)[..., 1:], (1, 0), value=BACKGROUND)
    return torch.cat([picture, pad(below, (0, 0, 2, 0), value=BACKGROUND)], 2)


def light_picture(light: EnvMap, width: int = WIDTH) -> Image:
    """(1, 3, width // 2, width) display of a map (H, W, 3), as in :func:`tile`."""
    radiance = interpolate(light.permute(2, 0, 1)[None], (width // 2, width), mode="area")
    image = linear_to_srgb(radiance / (1 + radiance))
    x, y, z = dominant_direction(light).tolist()
    u = (np.arctan2(x, -z) / (2 * np.pi)) % 1.0 * width
    v = np.arccos(np.clip(y, -1, 1)) / np.pi * (width // 2)
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    cv2.circle(pixels, (int(u), int(v)), 5, (1.0, 0.15, 0.1), 1, cv2.LINE_AA)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def contact_sheets(out: Path, rows: Sequence[Mapping], methods: Sequence[str]) -> list[Path]:
    """``sheet.png`` (and ``sheet-2.png`` ... beyond :data:`PAGE` cases) in ``out``: a row for each case, columns plate,
    truth, then ambient, the default and the other methods. rows : {"name", "folder", "notes": method -> text}. The
    place of a missing tile is red."""
    first = [m for m in FIRST if m in methods]
    columns = ["plate-tile", "truth-tile", *first, *(m for m in methods if m not in (*first, "truth"))]
    paths = []
    for page in range(0, max(len(rows), 1), PAGE):
        strips = [_row(row, columns) for row in rows[page:page + PAGE]]
        width = max(s.shape[1] for s in strips) if strips else 1
        image = np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=24)
                                for s in strips]) if strips else np.zeros((1, 1, 3), np.uint8)
        paths.append(out / ("sheet.png" if page == 0 else f"sheet-{page // PAGE + 1}.png"))
        write_bytes(paths[-1], cv2.imencode(".png", image)[1].tobytes())
    return paths


def _row(row: Mapping, columns: Sequence[str]) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the case's name, then its tiles with their names and notes above."""
    tiles = {c: _read(Path(row["folder"]) / f"{c}.png") for c in columns}
    height = max((t.shape[0] for t in tiles.values() if t is not None), default=WIDTH)
    strip = np.full((2 * HEAD + height + GAP, len(columns) * (WIDTH + GAP) + GAP, 3), 24, np.uint8)
    _write(strip, row["name"], GAP, HEAD - 5)
    for k, c in enumerate(columns):
        left = GAP + k * (WIDTH + GAP)
        _write(strip, f"{c.removesuffix('-tile')} {row['notes'].get(c, '')}".strip(), left, 2 * HEAD - 5)
        place = strip[2 * HEAD:2 * HEAD + height, left:left + WIDTH]
        if tiles[c] is None:
            place[:] = MISSING
        else:
            place[:tiles[c].shape[0]] = tiles[c][:, :WIDTH]
    return strip


def _write(image: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (235, 235, 235), 1, cv2.LINE_AA)


def _read(path: Path) -> np.ndarray | None:
    image = cv2.imread(str(path)) if path.is_file() else None
    return image if image is not None and image.shape[1] >= WIDTH else None


