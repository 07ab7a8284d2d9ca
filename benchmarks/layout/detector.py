"""A small network that says of every pixel of a picture which shape, colour and material is seen there, trained on
rendered truth alone, never on generated pictures. It judges what `dipir layout` makes; its own accuracy on held-out
truth is reported beside. Things are the connected parts of one shape; a pooled vector of its middle serves the Frechet
distance."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.layout.cases import box_of
from dipir.arrays import Image, split_seed
from dipir.errors import FitError
from dipir.fit.loop import Event
from dipir.layout.regions import Box
from dipir.priors.captions import COLOURS, MATERIALS, SHAPES
from dipir.priors.nets.picture_unet import PictureUNet
from dipir.workshop import trainer as training
from dipir.workshop.layout import data as layouts
from dipir.workshop.layout.data import LayoutPictures, LayoutSet

SPLIT = (len(SHAPES) + 1, len(COLOURS), len(MATERIALS))
"""Planes of the output: background and shapes, colours, materials."""
CHANNELS = (24, 48, 64, 96)
STEPS = 4000
LEAST = 12
"""Pixels of the smallest part that counts as a thing; the smallest of training are 9 across and upwards."""
_IGNORED = -100
_NOISE, _BLURRED = 0.04, 0.5
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Found:
    """A thing."""

    shape: int  # shape, colour, material: index in ``SHAPES``, ``COLOURS``, ``MATERIALS``
    colour: int
    material: int
    score: float  # mean probability of the shape over the mask
    mask: np.ndarray  # (H, W) bool

    @property
    def box(self) -> Box:
        """x0, y0, x1, y1 in [0, 1], tight."""
        return box_of(self.mask)


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture as the detector sees it."""

    shape: np.ndarray  # (H, W) index in ``SHAPES``, -1 = background, see :func:`voted`
    colour: np.ndarray  # colour, material: (H, W), of use where there is a shape
    material: np.ndarray
    things: tuple[Found, ...]  # parts of one shape, likelier ones first
    blobs: tuple[np.ndarray, ...]  # (H, W) bool masks of the connected parts of whatever shape, larger ones first


class Detector(nn.Module):
    """(B, 3, 64, 64) display [0, 1] -> (B, 22, 64, 64) logits, see ``SPLIT``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = PictureUNet(3, sum(SPLIT), CHANNELS, 1, detail=8, fine=16)

    def forward(self, image: Image) -> Tensor:
        return self.body(image * 2 - 1)


# ---------------------------------------------------------------------------------------------------------- training
def labels(pictures: LayoutPictures) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H, W) each: 0 = background or 1 + shape, colour, material (ignored in the background) of what covers most of
    a pixel."""
    cover = pictures.masks
    owner = torch.cat([(1 - cover.sum(1, keepdim=True)).clamp_min(0), cover], 1).argmax(1)
    tables = torch.full((3, len(cover), cover.shape[1] + 1), _IGNORED)
    tables[0] = 0
    for b, things in enumerate(pictures.things):
        for k, thing in enumerate(things):
            tables[:, b, k + 1] = torch.tensor([1 + SHAPES.index(thing.shape), list(COLOURS).index(thing.colour),
                                                MATERIALS.index(thing.material)])
    rows = torch.arange(len(cover))[:, None, None]
    return tuple(table[rows, owner] for table in tables)


def worsened(rng: np.random.Generator, image: Image) -> Image:
    """With a little noise, half of them blurred: generated pictures are not as clean as rendered ones."""
    soft = functional.avg_pool2d(functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = torch.from_numpy(rng.uniform(0, 1, len(image)) * (rng.random(len(image)) < _BLURRED)).float()
    image = torch.lerp(image, soft, amount[:, None, None, None])
    noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
    level = torch.from_numpy(rng.uniform(0, _NOISE, (len(image), 1, 1, 1)).astype(np.float32))
    return (image + level * noise).clamp(0, 1)


def loss_of(logits: Tensor, wanted: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Cross entropy of background and shapes everywhere; once more of the shapes, and of colours and materials, on
    things, which fill little of a picture."""
    shape, colour, material = logits.split(SPLIT, 1)

    def entropy(part, target):
        return functional.cross_entropy(part, target, ignore_index=_IGNORED)

    only = torch.where(wanted[0] > 0, wanted[0] - 1, _IGNORED)
    return (entropy(shape, wanted[0]) + 0.5 * entropy(shape[:, 1:], only) + 0.5 * entropy(colour, wanted[1])
            + 0.25 * entropy(material, wanted[2]))


def trained(data: LayoutSet, steps: int = STEPS, batch: int = 16, bf16: bool = False, seed: int = 0,
            on_event: Callable[[Event], None] | None = None) -> Detector:
    """The detector, trained on ``data`` once and kept in the cache folder; a run that was stopped goes on. bf16 : for
    processors that have it. FitError when it is stopped again."""
    name = f"layout_detector/v{layouts.VERSION}_{steps}_{len(data)}_{batch}_{seed}{'_bf16' if bf16 else ''}"
    path = training.folder(name) / "weights.safetensors"
    torch.manual_seed(split_seed(seed, "layout detector"))
    net = Detector()
    if path.is_file():
        net.load_state_dict(load_file(path))
        return net.eval()

    net = net.to(memory_format=torch.channels_last)

    def loss(model: nn.Module, step: int) -> tuple[Tensor, dict]:
        rng = np.random.default_rng(split_seed(seed, "layout detector", step))
        with torch.autocast("cpu", enabled=False):
            pictures = layouts.draw(rng, data, batch)
            image = worsened(rng, pictures.image).contiguous(memory_format=torch.channels_last)
        return loss_of(model(image).float(), labels(pictures)), {}

    config = training.TrainConfig(steps=steps, rate=1.5e-3, decay=0.02, warmup=min(100, steps // 4), ema=0.995,
                                  bf16=bf16, checkpoint_minutes=1)
    done = training.train(net, loss, config, on_event=on_event, name=name)
    if not done.finished:
        raise FitError(f"training of the detector was stopped after {done.step} of {steps} steps; its checkpoint is "
                       f"in {path.parent}. Run again to go on.")
    net = Detector()
    net.load_state_dict(done.best)
    temporary = path.with_suffix(".part")
    save_file(net.state_dict(), temporary)
    temporary.replace(path)
    return net.eval()


# ------------------------------------------------------------------------------------------------------------ seeing
@torch.no_grad()
def look(net: Detector, images: Image) -> tuple[list[Seen], np.ndarray]:
    """What is seen in each of (N, 3, 64, 64) display pictures, and (N, F) the mean over the places of the network's
    middle."""
    seen, pooled = [], []
    handle = net.body.middle[-1].register_forward_hook(lambda _, given, out: pooled.append(out.mean((2, 3))))
    try:
        for part in images.split(_BATCH):
            shares = [x.softmax(1).numpy() for x in net(part.float()).split(SPLIT, 1)]
            seen += [seen_in(*(share[k] for share in shares)) for k in range(len(part))]
    finally:
        handle.remove()
    return seen, torch.cat(pooled).double().numpy()


def seen_in(shape: np.ndarray, colour: np.ndarray, material: np.ndarray) -> Seen:
    """From probabilities (9, H, W), the first plane background, (10, H, W) and (3, H, W)."""
    hues, stuff = (x.argmax(0).astype(np.int8) for x in (colour, material))
    label = voted(shape, hues)

    def most(values, mask):
        return int(np.bincount(values[mask]).argmax())

    things = [Found(int(k), most(hues, mask), most(stuff, mask), float(shape[k + 1][mask].mean()), mask)
              for k in np.unique(label[label >= 0]) for mask in parts(label == k)]
    return Seen(label, hues, stuff, tuple(sorted(things, key=lambda t: -t.score)), tuple(parts(label >= 0)))


def voted(shape: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """(H, W) index of the likeliest shape, -1 where background is likelier than all shapes together.

    A pixel alone says little of its shape, but colours are seen well: each connected part of one colour has the shape
    of the highest mean probability. So a thing in two colours stays one thing when both parts look like it.
    """
    label = np.where(shape[0] < 0.5, shape[1:].argmax(0), -1).astype(np.int8)
    for hue in np.unique(hues[label >= 0]):
        for part in parts((label >= 0) & (hues == hue)):
            label[part] = shape[1:, part].mean(1).argmax()
    return label


def parts(mask: np.ndarray) -> list[np.ndarray]:
    """Connected parts (corners touch) of (H, W) bool of at least ``LEAST`` pixels, larger ones first."""
    count, index = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = np.bincount(index.ravel(), minlength=count)
    return [index == k for k in sorted(range(1, count), key=lambda k: -areas[k]) if areas[k] >= LEAST]


# ---------------------------------------------------------------------------------------------------------- accuracy
@torch.no_grad()
def accuracy(net: Detector, data: LayoutSet, count: int = 500, seed: int = layouts.VALIDATION_SEED) -> dict[str, float]:
    """Shares of pixels of ``count`` held-out pictures that are named rightly: the shape of all pixels and of those of
    things, the colour and the material of those of things."""
    rng, right, total = np.random.default_rng(seed), np.zeros(4), np.zeros(4)
    for start in range(0, count, _BATCH):
        pictures = layouts.draw(rng, data, min(_BATCH, count - start))
        wanted = labels(pictures)
        same = [part.argmax(1) == target for part, target in zip(net(pictures.image).split(SPLIT, 1), wanted,
                                                                 strict=True)]
        thing = wanted[0] > 0
        for k, values in enumerate((same[0].flatten(), *(s[thing] for s in same))):
            right[k], total[k] = right[k] + float(values.sum()), total[k] + len(values)
    names: Sequence[str] = ("pixels", "thing_pixels", "colour_pixels", "material_pixels")
    return dict(zip(names, (right / np.maximum(total, 1)).tolist(), strict=True))
