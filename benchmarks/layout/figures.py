"""Pictures of the layout benchmark: contact sheets, curves of alignment against quality, time by regions."""
from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from benchmarks.layout.cases import Case
from benchmarks.layout.detector import Seen
from dipir.disk import write_bytes
from dipir.errors import MissingExtra
from dipir.priors.captions import COLOURS, GROUNDS

TILE, GAP, HEAD, PAGE = 128, 6, 16, 12
"""Side of a picture, space between pictures, height of a line of text (pixels), cases on a sheet."""
_DARK, _LIGHT = 24, (235, 235, 235)


# ------------------------------------------------------------------------------------------------------ contact sheets
def contact_sheets(out: Path, name: str, all_cases: Sequence[Case], columns: Mapping[str, Tensor], count: int = 24,
                   seen: Mapping[str, Sequence[Seen]] | None = None) -> list[Path]:
    """``NAME.png`` (and ``NAME-2.png`` ... beyond :data:`PAGE` cases): a row for each of ``count`` evenly spread cases,
    its caption above; what was asked for, then the pictures of each method (N, 3, 64, 64) display with the regions
    drawn thinly over them, and with ``seen`` what the detector sees in them."""
    chosen = np.unique(np.linspace(0, len(all_cases) - 1, min(count, len(all_cases))).round().astype(int))
    paths = []
    for page in range(0, len(chosen), PAGE):
        strips = [_row(all_cases[k], k, columns, seen or {}) for k in chosen[page:page + PAGE]]
        paths.append(out / (f"{name}.png" if page == 0 else f"{name}-{page // PAGE + 1}.png"))
        image = np.concatenate(strips)[..., ::-1]
        write_bytes(paths[-1], cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes())
    return paths


def _row(case: Case, k: int, columns: Mapping[str, Tensor], seen: Mapping[str, Sequence[Seen]]) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    tiles = {"asked": asked(case)}
    for name, images in columns.items():
        picture = (images[k].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        tiles[name] = outlined(_enlarged(picture), case)
        if name in seen:
            tiles[f"{name}, seen"] = outlined(_enlarged(coloured(seen[name][k])), case)
    strip = np.full((2 * HEAD + TILE + GAP, len(tiles) * (TILE + GAP) + GAP, 3), _DARK, np.uint8)
    _write(strip, f"{case.number}: {case.caption}", GAP, HEAD - 4)
    for column, (name, tile) in enumerate(tiles.items()):
        left = GAP + column * (TILE + GAP)
        _write(strip, name, left, 2 * HEAD - 4)
        strip[2 * HEAD:2 * HEAD + TILE, left:left + TILE] = tile
    return strip


def asked(case: Case) -> np.ndarray:
    """(TILE, TILE, 3) uint8: the regions in their colours on the floor's, larger ones first, with their shapes."""
    ground = np.array(GROUNDS[case.ground or "grey"])
    image = np.broadcast_to(0.7 * ground + 0.1, (*case.covers.shape[1:], 3)).copy()
    order = sorted(range(len(case.things)), key=lambda k: -int(case.covers[k].sum()))
    for k in order:
        image[case.covers[k]] = COLOURS[case.things[k].colour]
    image = _enlarged((image * 255).round().astype(np.uint8))
    for k in order:
        x, y = (round(v * TILE) for v in case.boxes[k][:2])
        dark = sum(COLOURS[case.things[k].colour]) < 1.5
        _write(image, case.things[k].shape, x + 2, y + 11, _LIGHT if dark else (20, 20, 20))
    return image


def outlined(image: np.ndarray, case: Case) -> np.ndarray:
    """The picture with thin outlines of the regions, light within dark."""
    out = np.ascontiguousarray(image)
    for k, cover in enumerate(case.covers):
        if case.masks is None:
            x0, y0, x1, y1 = (round(v * TILE) for v in case.boxes[k])
            cv2.rectangle(out, (x0 - 1, y0 - 1), (x1, y1), (30, 30, 30), 1)
            cv2.rectangle(out, (x0, y0), (x1 - 1, y1 - 1), (250, 250, 250), 1)
        else:
            edges = cv2.findContours(_enlarged(cover.astype(np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
            cv2.drawContours(out, edges, -1, (250, 250, 250), 1)
    return out


def coloured(seen: Seen) -> np.ndarray:
    """(H, W, 3) uint8: each thing in the colour that most of it has."""
    image = np.full((*seen.shape.shape, 3), 0.55)
    for thing in reversed(seen.things):
        image[thing.mask] = list(COLOURS.values())[thing.colour]
    return (image * 255).round().astype(np.uint8)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_NEAREST)


def _write(image: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int] = _LIGHT) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)


# -------------------------------------------------------------------------------------------------------------- curves
def plotter():
    """matplotlib's pyplot without a screen. MissingExtra when it is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as problem:
        raise MissingExtra("the curves need matplotlib, which is not installed. "
                           "Install it with `pip install -e '.[dev]'`.") from problem
    return pyplot


def curves(points: Mapping[str, Mapping[str, float]], lines: Mapping[str, Sequence[tuple[float, Mapping[str, float]]]]
           ) -> bytes:
    """PNG of alignment against quality. points : method -> figures, for single points
    lines : name -> (value of the setting, figures), joined in that order, the values written beside"""
    pyplot = plotter()
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    panels = (("align_score", "image_score", "align score", "image score"),
              ("iou", "frechet", "IoU", "Frechet distance"))
    for axis, (x, y, across, up) in zip(axes, panels, strict=True):
        for name, line in lines.items():
            axis.plot([f[x] for _, f in line], [f[y] for _, f in line], marker=".", label=name)
            for value, f in line:
                axis.annotate(f"{value:g}", (f[x], f[y]), fontsize=7, textcoords="offset points", xytext=(3, 3))
        for name, f in points.items():
            axis.plot([f[x]], [f[y]], marker="*", linestyle="", color="0.3")
            axis.annotate(name, (f[x], f[y]), fontsize=8, textcoords="offset points", xytext=(4, -9))
        axis.set(xlabel=across, ylabel=up)
        axis.grid(alpha=0.3)
    if lines:
        axes[0].legend(fontsize=8)
    return _png(pyplot, figure)


def times(speed: Mapping[str, Mapping[str, float]]) -> bytes:
    """PNG of seconds and prior calls against the number of regions; speed : regions -> seconds, rows."""
    pyplot = plotter()
    figure, axes = pyplot.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    regions = [int(n) for n in speed]
    for axis, (key, up) in zip(axes, (("seconds", "seconds a picture"), ("rows", "pictures that the prior sees")),
                               strict=True):
        axis.plot(regions, [f[key] for f in speed.values()], marker="o")
        axis.set(xlabel="regions", ylabel=up, xticks=regions)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    return _png(pyplot, figure)


def _png(pyplot, figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    pyplot.close(figure)
    return file.getvalue()
