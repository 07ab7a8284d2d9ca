"""What a fit of IllumiNet is worth: figures on the held-out lights beside PTM and HSH, pictures, the loss curve."""
from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from dipir.arrays import Directions, Image
from dipir.disk import write_text
from dipir.image.files import write_png
from dipir.image.metrics import psnr, ssim
from dipir.rti import bases as rti_bases
from dipir.rti.config import Split
from dipir.rti.result import Fitted

BASES = ("ptm", "hsh9", "hsh16")
SHOWN = ("truth", "net", "ptm", "hsh16")
_TITLES = {"truth": "truth", "net": "IllumiNet", "ptm": "PTM", "hsh16": "HSH 16"}
_COLUMNS, _TILE = 6, 256


def judge(fitted: Fitted, directions: Directions, images: Image, split: Split) -> dict[str, Any]:
    """PSNR (dB) and SSIM of the net and of PTM and HSH, all from the same training photos, on the held-out lights of a
    capture ((n, 3), (n, 3, h, w)): means, and the figures of each light."""
    lights = [{"light": i, "direction": directions[i].tolist()} for i in split.held_out]
    for row in lights:
        truth = images[row["light"]][None]
        for name, picture in candidates(fitted, directions[row["light"]]).items():
            row[name] = {"psnr": float(psnr(picture, truth)), "ssim": float(ssim(picture, truth))}
    methods = ("net", *BASES) if lights else ()
    means = {name: {figure: sum(row[name][figure] for row in lights) / len(lights) for figure in ("psnr", "ssim")}
             for name in methods}
    return {"methods": means, "lights": len(directions), "training": {}, "split": {
        "fitted": list(split.fitted), "validation": list(split.validation), "held_out": list(split.held_out)},
        "size": [images.shape[3], images.shape[2]], "held_out": lights}


def candidates(fitted: Fitted, direction: Tensor) -> dict[str, Image]:
    """The picture (1, 3, h, w) under a light from ``direction`` (3,) by each method."""
    photos, pictures = fitted.photos.float() / 255, {"net": fitted.relight(direction)}
    for basis in BASES:
        # The same as fitting first, without the memory of the coefficients.
        rows = rti_bases.design(direction[None], basis) @ torch.linalg.pinv(
            rti_bases.design(fitted.directions, basis))
        pictures[basis] = torch.tensordot(rows.float().to(photos.device), photos, 1).clamp(0, 1).cpu()
    return pictures


def write_report(fitted: Fitted, directions: Directions, images: Image, history: Sequence[Mapping[str, float]],
                 out: Path) -> None:
    """Write ``report.json`` (``fitted.verdict``), ``history.csv``, ``loss.png`` and, when lights were held out,
    ``comparison.png``. Raises ImageError when a file cannot be written."""
    write_text(out / "report.json", json.dumps(_finite(fitted.verdict), indent=1) + "\n")
    write_text(out / "history.csv", _table(history))
    write_png(out / "loss.png", loss_chart([(row["step"], row["loss"]) for row in history]))
    held_out = fitted.verdict["split"]["held_out"]
    if held_out:
        write_png(out / "comparison.png", comparison(fitted, directions, images, held_out))


def comparison(fitted: Fitted, directions: Directions, images: Image, held_out: Sequence[int]) -> Image:
    """(1, 3, H, W): up to six held-out lights beside each other, spread over them; below the truth the net, PTM and
    HSH."""
    picked = sorted({round(k) for k in np.linspace(0, len(held_out) - 1, min(_COLUMNS, len(held_out)))})
    columns = []
    for light in (held_out[k] for k in picked):
        pictures = {"truth": images[light][None], **candidates(fitted, directions[light])}
        columns.append(torch.cat([_tile(pictures[name]) for name in SHOWN], 2))
    sheet = _to_pixels(torch.cat(columns, 3))
    height = sheet.shape[0] // len(SHOWN)
    for k, name in enumerate(SHOWN):
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(sheet, _TITLES[name], (6, k * height + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width,
                        cv2.LINE_AA)
    return _to_image(sheet)


def loss_chart(points: Sequence[tuple[float, float]], size: tuple[int, int] = (640, 360)) -> Image:
    """(1, 3, H, W): (step, loss) on a logarithmic scale; every step grey, a running mean coloured."""
    width, height = size
    sheet = np.full((height, width, 3), 255, np.uint8)
    points = [(x, math.log10(y)) for x, y in points if y > 0 and math.isfinite(y)]
    if not points:
        return _to_image(sheet)
    x, y = np.array(points, float).T
    box = (64, width - 12, 12, height - 40)
    low, high = _decade(10 ** y.min(), -1), _decade(10 ** y.max(), 1)
    decades = math.log10(high) - math.log10(low)

    def place(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        return np.stack([box[0] + xs / max(x.max(), 1) * (box[1] - box[0]),
                         box[3] - (ys - math.log10(low)) / decades * (box[3] - box[2])], -1)

    for value in _marks(low, high):
        row = int(place(np.zeros(1), np.array([math.log10(value)]))[0, 1])
        cv2.line(sheet, (box[0], row), (box[1], row), (225, 225, 225), 1)
        _text(sheet, f"{value:g}", (6, row + 4))
    for step in np.linspace(0, x.max(), 5):
        _text(sheet, f"{step:.0f}", (int(place(np.array([step]), np.zeros(1))[0, 0]) - 12, height - 22))
    _text(sheet, "step", (width // 2, height - 6))
    window = max(1, min(len(y) // 20, 100))
    mean = np.convolve(np.concatenate([np.full(window - 1, y[0]), y]), np.full(window, 1 / window), "valid")
    for values, colour, thick in ((y, (205, 205, 205), 1), (mean, (30, 90, 200), 2)):
        line = np.round(place(x, values)).astype(np.int32)
        cv2.polylines(sheet, [line], False, colour, thick, cv2.LINE_AA)
    return _to_image(sheet)


def _decade(value: float, direction: int) -> float:
    """The next 1, 2 or 5 times a power of ten below (-1) or above (1) a value."""
    power = 10.0 ** math.floor(math.log10(value))
    marks = [m * power for m in (0.5, 1, 2, 5, 10, 20)]
    return max(m for m in marks if m <= value) if direction < 0 else min(m for m in marks if m > value)


def _marks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.999 <= m * 10.0**p <= high * 1.001]


def _text(sheet: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)


def _tile(picture: Image) -> Image:
    """At most 256 pixels a side."""
    scale = min(1.0, _TILE / max(picture.shape[2:]))
    if scale == 1.0:
        return picture
    return torch.nn.functional.interpolate(picture, scale_factor=scale, mode="area")


def _to_pixels(picture: Image) -> np.ndarray:
    return np.ascontiguousarray((picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def _to_image(pixels: np.ndarray) -> Image:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def _table(history: Sequence[Mapping[str, float]]) -> str:
    columns = ("step", "loss", "rate", "gradient", "validation_psnr", "seconds")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{row[c]:.6g}" if c in row else "" for c in columns] for row in history)
    return file.getvalue()


def _finite(value: Any) -> Any:
    """JSON has no infinity (the PSNR of equal pictures): null."""
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
