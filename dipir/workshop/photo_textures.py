"""Photographed detail for the procedural scenes: patches of the training panoramas on ground, walls and things.

A network that is trained on drawn textures and on a few photographed places tells the two apart, learns the light of
each of those places by heart and what shadows say only for drawings. Here the places' own surfaces appear under light
that has nothing to do with theirs, in scenes whose shadows tell the truth.
"""
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dipir.arrays import EnvMap, split_seed
from dipir.errors import ConfigError
from dipir.scene.camera import Camera
from dipir.workshop import crops, shards
from dipir.workshop.worlds import textures as panorama_textures

SIZE_PX, EACH = 192, 16
_LOW, _HIGH = 0.15, 3.5


def patches(panoramas: Sequence[EnvMap], each: int = EACH, seed: int = 0) -> np.ndarray:
    """(N, 192, 192, 3) float16, ``each`` patches of every panorama: radiance over its blurred self, mean about 1, so
    that most of the shading of the place is gone and its texture stays."""
    found = []
    for index, panorama in enumerate(panoramas):
        rng = np.random.default_rng(split_seed(seed, "patch", index))
        for _ in range(each):
            camera = Camera.looking(SIZE_PX, SIZE_PX, rng.uniform(25, 50), pitch_deg=rng.uniform(-15, 65))
            turned = torch.roll(panorama, int(rng.integers(panorama.shape[1])), 1)
            found.append(_flattened(crops.perspective_crop(turned, camera).permute(1, 2, 0).numpy()))
    return np.stack(found).astype(np.float16)


def _flattened(radiance: np.ndarray) -> np.ndarray:
    """(h, w, 3) without lamps and without what changes slowly in brightness."""
    radiance = np.minimum(radiance, np.quantile(radiance.mean(-1), 0.97)) + 1e-6
    grey = radiance.mean(-1)
    slow = cv2.GaussianBlur(grey, (0, 0), len(grey) / 6, borderType=cv2.BORDER_REFLECT)
    colour = radiance.mean((0, 1)) / radiance.mean()
    return np.clip(radiance / (slow[..., None] ** 0.8 * grey.mean() ** 0.2 * colour), _LOW, _HIGH)


def load(path: Path) -> np.ndarray:
    """The patches that :func:`stored` wrote. ConfigError when the file is broken."""
    try:
        return load_file(path)["patch"].numpy()
    except (SafetensorError, OSError, KeyError) as problem:
        raise ConfigError(f"{path}: is not a readable set of patches ({problem}); delete it and run again") from problem


def stored(panoramas: Sequence[EnvMap], folder: Path) -> Path:
    """A file of the patches of ``panoramas`` in ``folder``, made unless it is there; its name tells the panoramas."""
    digest = hashlib.sha256(repr([(tuple(p.shape), round(float(p.mean()), 6)) for p in panoramas]).encode())
    path = folder / f"photographed_patches_{digest.hexdigest()[:12]}.safetensors"
    if not shards.stored(path, {}, "patch"):
        folder.mkdir(parents=True, exist_ok=True)
        shards.save(path, {"patch": torch.from_numpy(patches(panoramas))}, {})
    return path


def add_detail(rng: np.random.Generator, parts: Sequence[Mapping[str, Any]], bank: Sequence[np.ndarray],
                 share: float = 0.6) -> list[dict[str, Any]]:
    """The parts of a described scene, ``share`` of those with a drawn texture with photographed detail: on the drawn
    one or on its mean colour, more or less strong, coloured or grey. What shines and what is plain stays."""
    return [_photographed(rng, part, bank) if rng.random() < share else dict(part) for part in parts]


def _photographed(rng: np.random.Generator, part: Mapping[str, Any], bank: Sequence[np.ndarray]) -> dict[str, Any]:
    patch = np.rot90(bank[rng.integers(len(bank))].astype(np.float32), rng.integers(4))
    kept, colour, strength = rng.random() < 0.4, rng.random(), rng.uniform(0.5, 1.1)
    drawn = np.asarray(part["texture"], np.float32)
    if part.get("radiance") is not None or min(drawn.shape[:2]) < 16:
        return dict(part)
    side = max(SIZE_PX, drawn.shape[0])
    base = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_LINEAR) if kept else drawn.mean((0, 1))
    grey = patch.mean(-1, keepdims=True)
    detail = cv2.resize((grey + (patch - grey) * colour) ** strength, (side, side), interpolation=cv2.INTER_LINEAR)
    return {**part, "texture": panorama_textures.clean(base * detail / detail.mean())}
