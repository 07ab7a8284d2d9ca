"""Relighting pairs as picture files for those who own a large model: the folder format of diffusers' training scripts
(``train_controlnet.py``, ``train_text_to_image_lora.py``; Hugging Face ImageFolder with ``metadata.jsonl``)."""
from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.event import Event, Notify
from dipir.image.color import linear_to_srgb, luminance, srgb_to_linear
from dipir.image.files import write_png
from dipir.scene.direction import angles_of, side_of
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.relight.pairs import draw

_DARK, _LARGEST = 0.02, 4096


def export(data: RelitSet, folder: str | Path, pairs: int, size: int = 512, seed: int = 0,
           on_event: Notify = None) -> Path:
    """Write ``folder/train``: for each of ``pairs`` pairs the target (``image``), the input (``conditioning_image``),
    albedo, normal, shading, and a line of ``metadata.jsonl`` with text, direction index and angles. Pictures are
    enlarged to ``size``. Deterministic. Made aside and moved in at the end. Returns the folder with the metadata.
    ConfigError as in `check`, or when the folder cannot be made; ImageError when a picture cannot be written."""
    target = check(folder, pairs, size)
    aside = Path(folder) / f".train.{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        with open(aside / "metadata.jsonl", "w", encoding="utf-8") as lines:
            for k in range(pairs):
                lines.write(json.dumps(_one(data, aside, k, size, seed)) + "\n")
                if on_event:
                    on_event(Event("export", k + 1, pairs))
        os.replace(aside, target)
    except OSError as problem:
        raise ConfigError(f"{target}: cannot be written ({problem.strerror or problem}); free some space or choose "
                          "another folder.") from problem
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def check(folder: str | Path, pairs: int, size: int) -> Path:
    """Where :func:`export` will write. ConfigError for numbers out of range, or when something is there already."""
    target = Path(folder) / "train"
    if pairs < 1 or not 8 <= size <= _LARGEST:
        raise ConfigError(f"export: {pairs} pairs of {size} pixels; accepted are at least 1 pair and 8 to {_LARGEST} "
                          "pixels.")
    if target.exists():
        raise ConfigError(f"{target}: is already there; choose another folder, or remove it.")
    return target


def _one(data: RelitSet, folder: Path, number: int, size: int, seed: int) -> dict[str, object]:
    """Write one pair; its line."""
    rng = np.random.default_rng(split_seed(seed, "export", number))
    scene = int(rng.integers(len(data)))
    chosen = data.part(slice(scene, scene + 1))
    pair = draw(rng, chosen, 1)
    albedo = chosen.albedo.float() / 255
    shading = luminance(srgb_to_linear(pair.target)) / luminance(albedo).clamp_min(_DARK)
    pictures = {"image": pair.target, "conditioning_image": pair.image, "albedo": linear_to_srgb(albedo),
                "normal": chosen.normal.float() / 254 + 0.5,
                "shading": linear_to_srgb((shading * (albedo.sum(1, keepdim=True) > 0)).clamp(0, 1))}
    line: dict[str, object] = {}
    for name, picture in pictures.items():
        file = f"{number:06d}_{name}.png"
        write_png(folder / file, _enlarged(picture, size))
        line["file_name" if name == "image" else f"{name}_file_name"] = file
    azimuth, elevation = angles_of(pair.light[0, :3])
    return {**line, "text": f"A photo of an object with light from {side_of(azimuth, elevation)}",
            "index": round(azimuth / 45) % 8, "azimuth_deg": round(azimuth, 1), "elevation_deg": round(elevation, 1)}


def _enlarged(picture: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(picture, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
