"""Sheets: 48 items of a set of training data in one picture, to look at."""
from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.image.color import linear_to_srgb
from dipir.image.files import read_image, write_png
from dipir.priors.captions import Thing
from dipir.workshop.colour import data as sketches
from dipir.workshop.colour import styles
from dipir.workshop.dressed import data as dressed
from dipir.workshop.layout import data as layouts
from dipir.workshop.relight import data as relit
from dipir.workshop.surfaces import data as surfaces
from dipir.workshop.worlds import panoramas, views


def draw_sheet(kind: str, folder: Path, path: Path) -> None:
    """48 items spread over the set: views beside their light (the frame of the light turns with the camera, which
    looks to its middle), panoramas alone, relit scenes under four lights, surfaces under the sky and a light beside
    their normals, depth and shadow, drawings beside their pictures, layouts with the boxes of their things over their
    captions, photos of a CO3D set, dressed crops beside the shadows in them."""
    tiles = {"views": _view_tiles, "panoramas": _panorama_tiles, "relit": _relit_tiles,
             "surfaces": _surface_tiles, "sketches": _sketch_tiles, "layouts": _layout_tiles, "co3d": _photo_tiles,
             "dressed": _dressed_tiles}[kind](folder)
    rows = [torch.cat(list(tiles[i:i + 4]), -1) for i in range(0, len(tiles), 4)]
    write_png(path, torch.cat(rows, -2)[None])


def _spread(count: int) -> Tensor:
    """Rows of 48 items, evenly spread."""
    return torch.linspace(0, count - 1, 48).long()


def _view_tiles(folder: Path) -> Tensor:
    stored = views.load(folder)
    rows = _spread(len(stored["plate"]))
    env = functional.interpolate(stored["env"][rows].permute(0, 3, 1, 2), (96, 192), mode="nearest")
    plate = functional.interpolate(stored["plate"][rows].float(), (96, 128), mode="bilinear")
    return linear_to_srgb(torch.cat([0.75 * plate, 0.4 * env], -1).clamp(0, 1))


def _dressed_tiles(folder: Path) -> Tensor:
    stored = dressed.load(folder, 16)
    rows = _spread(len(stored["plate"]))
    shadow = stored["shadow"][rows][:, None].expand(-1, 3, -1, -1).float() / 255
    return torch.cat([linear_to_srgb((0.75 * stored["plate"][rows].float()).clamp(0, 1)), shadow], -1)


def _panorama_tiles(folder: Path) -> Tensor:
    maps, _ = panoramas.load(folder)
    return linear_to_srgb(functional.interpolate(maps[_spread(len(maps))].permute(0, 3, 1, 2), (128, 256),
                                                 mode="area").clamp(0, 1))


def _relit_tiles(folder: Path) -> Tensor:
    data = relit.load(folder)
    rows = _spread(len(data))
    lit = relit.decode(data.lit[rows][:, ::3][:, :4]) + 0.15 * relit.decode(data.sky[rows])[:, None]
    return linear_to_srgb((0.7 * torch.cat(lit.unbind(1), -1)).clamp(0, 1))


def _surface_tiles(folder: Path) -> Tensor:
    data = surfaces.load(folder)
    data = data.part(_spread(len(data)))
    lit = relit.decode(data.lit[:, 0]) + 0.2 * relit.decode(data.sky)
    depth = (0.5 - data.depth.float() / (2 * surfaces.FAR)).expand(-1, 3, -1, -1) * (data.alpha / 255)
    shadow = (1 - data.free[:, :1] / 255).expand(-1, 3, -1, -1) * (data.alpha / 255)
    return torch.cat([linear_to_srgb((0.7 * lit).clamp(0, 1)), data.normal / 254 + 0.5, depth, shadow], -1)


def _sketch_tiles(folder: Path) -> Tensor:
    recorded = sketches.load(folder)
    count = len(next(iter(recorded.values())))
    pairs = styles.draw(np.random.default_rng(0), recorded, _spread(count).numpy())
    return torch.cat([pairs.drawing.expand(-1, 3, -1, -1), pairs.picture], -1)


def _photo_tiles(folder: Path, side: int = 160) -> Tensor:
    paths = sorted(folder.glob("*/*/images/*.jpg"))
    tiles = torch.ones(48, 3, side, side)
    for tile, k in zip(tiles, _spread(len(paths)), strict=True):
        photo = read_image(paths[k]).pixels
        height, width = photo.shape[2:]
        size = max(1, round(side * height / max(height, width))), max(1, round(side * width / max(height, width)))
        tile[:, :size[0], :size[1]] = functional.interpolate(photo, size, mode="bilinear", antialias=True)[0]
    return tiles


def _layout_tiles(folder: Path) -> Tensor:
    pictures = layouts.draw(np.random.default_rng(0), layouts.load(folder), 48)
    return torch.stack([captioned(*of_one) for of_one in zip(
        pictures.image, pictures.captions, pictures.things, pictures.boxes, strict=True)])


def captioned(image: Tensor, caption: str, things: Sequence[Thing], boxes: Tensor, scale: int = 4) -> Tensor:
    """(3, 64, 64) display -> (3, 352, 256): enlarged, with the box of each thing, over the caption and the truth."""
    side = scale * image.shape[-1]
    enlarged = (image * 255).round().byte().repeat_interleave(scale, 1).repeat_interleave(scale, 2).permute(1, 2, 0)
    canvas = np.ascontiguousarray(np.concatenate([enlarged.numpy(), np.full((96, side, 3), 255, np.uint8)]))

    def write(text: str, x: int, y: int, level: int, width: int = 1) -> None:
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (level,) * 3, width, cv2.LINE_AA)

    for k, (x0, y0, x1, y1) in enumerate((boxes * side).round().int().tolist()):
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (255,) * 3, 1)
        cv2.rectangle(canvas, (x0 - 1, y0 - 1), (x1, y1), (0,) * 3, 1)
        write(str(k + 1), x0 + 2, y0 + 12, 255, 3)
        write(str(k + 1), x0 + 2, y0 + 12, 0)
    lines = [(line, 0) for line in textwrap.wrap(caption, 42)[:3]]
    lines += [(f"{k + 1} {thing.phrase}", 130) for k, thing in enumerate(things)]
    for k, (line, level) in enumerate(lines):
        write(line, 3, side + 12 + 13 * k, level)
    return torch.from_numpy(canvas).permute(2, 0, 1).float() / 255
