"""Pictures that explain a layout: regions drawn over it, attention maps side by side. Small ones are enlarged with
their pixels kept."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import max_pool2d

from dipir.arrays import Image, Mask
from dipir.layout.regions import Region
from dipir.report.figures import PALETTE

_SHOWN = 512
_TILE = 256
_BAND = 16


def enlarged(image: Tensor, side: int = _SHOWN) -> Tensor:
    """(1, C, H, W) with every pixel repeated until the longer side has about ``side`` pixels; never shrunk."""
    times = max(1, round(side / max(image.shape[2:])))
    return image.repeat_interleave(times, 2).repeat_interleave(times, 3)


def region_overlay(image: Image, regions: Sequence[Region]) -> Image:
    """The picture with every region's outline and caption, each in a colour of its own; (1, 3, H', W') display."""
    shown = enlarged(image.detach().float().cpu()).clamp(0, 1).clone()
    height, width = shown.shape[2:]
    labels = []
    for k, region in enumerate(regions):
        colour = torch.tensor([int(PALETTE[k % len(PALETTE)][i:i + 2], 16) / 255 for i in (1, 3, 5)])
        cover = region.cover(height, width)
        line = max(1, round(max(height, width) / 256))
        inner = 1 - max_pool2d(1 - cover, 2 * line + 1, 1, line)
        outline = ((cover - inner) > 0).expand_as(shown)
        shown = torch.where(outline, colour[None, :, None, None], shown)
        x, y, _, _ = region.bounds()
        place = (round(x * width) + line + 2, round(y * height) + line + 1)
        labels.append((f"{k + 1} {region.caption}", place, colour))
    return _written(shown, labels)


def attention_strip(maps: Sequence[tuple[str, Mask]]) -> Image:
    """Maps (1, 1, h, w) side by side, each from 0 to its largest value, its words above it; (1, 3, H, W) display."""
    tiles, labels, left = [], [], 0
    for words, values in maps:
        grey = enlarged(values / values.max().clamp_min(1e-12), _TILE).clamp(0, 1).expand(-1, 3, -1, -1)
        tiles.append(torch.nn.functional.pad(grey, (0, 8, _BAND, 0), value=0.1))
        labels.append((words, (left + 2, 2), torch.ones(3)))
        left += tiles[-1].shape[3]
    return _written(torch.cat(tiles, 3), labels)


def _written(image: Image, labels: Sequence[tuple[str, tuple[int, int], Tensor]]) -> Image:
    """Short texts at places, on dark ground. The built-in font has western letters only."""
    picture = Pillow.fromarray((image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for text, place, colour in labels:
        text = text[:60].encode("latin-1", "replace").decode("latin-1")
        pen.rectangle(pen.textbbox(place, text, font=font), fill=(0, 0, 0))
        pen.text(place, text, fill=tuple(int(v * 255) for v in colour), font=font)
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255).permute(2, 0, 1)[None]
