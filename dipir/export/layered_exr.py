"""Layered EXR for compositing programs: single part, ZIP, channels ``layer.C``, top-level R, G, B, A = beauty.

Single part because many programs read no multi-part files. Colour is premultiplied half float in linear BT.709; depth,
position and ids are float32, because half cannot hold them. Conventions are stated in the attributes.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir.errors import ImageError
from dipir.image.files import BT709_CHROMATICITIES, HALF_MAX, write_exr
from dipir.scene.camera import Camera

BEAUTY = "beauty"
# Channel letters of layers that are no colour; the order is that of the tensor.
_LETTERS = {"alpha": "A", "depth": "Z", "position": "XYZ", "normal": "XYZ", "id": "Y", "object_id": "Y"}
_BY_COUNT = {1: "Y", 3: "RGB", 4: "RGBA"}
_FLOAT32 = frozenset({"depth", "position", "id", "object_id"})
_DEPTH = "depth.Z is metres along the camera's viewing axis (planar Z), not distance from the pinhole; 0 = nothing"
_COMMENTS = ("Linear light, BT.709 primaries, 1.0 = plate white. Colour is premultiplied by alpha. worldToCamera is "
             "for row vectors (p_camera = p_world * M); camera axes +X left, +Y up, +Z forward; world right-handed, +Y "
             "up, metres. Ids: 0 = nothing, then 1 + index of the object. ")


def write_layers(path: str | Path, layers: Mapping[str, Tensor], camera: Camera | None = None,
                 comments: str = "") -> None:
    """Write {name: (1, C, H, W)}; "beauty" (C 3 = opaque, or 4 with alpha) becomes the top-level R, G, B, A.

    Layers named depth, position, id, object_id stay float32; all others are half. Values beyond half's range are
    clamped to +-65504, with a note in the attribute ``clampedToHalf``. Raises ImageError.
    """
    _check(path, layers)
    # ---- channels ----
    channels: dict[str, np.ndarray] = {}
    clamped: list[str] = []
    for name, tensor in layers.items():
        pixels = tensor.detach().cpu().float()[0].numpy()
        if name not in _FLOAT32:
            over = int((np.abs(pixels) > HALF_MAX).sum())
            clamped += [f"{name}: {over} values"] if over else []
            pixels = np.clip(pixels, -HALF_MAX, HALF_MAX).astype(np.float16)
        if name == BEAUTY and len(pixels) == 3:
            pixels = np.concatenate([pixels, np.ones_like(pixels[:1])])
        prefix = "" if name == BEAUTY else f"{name}."
        channels |= {prefix + letter: pixels[i] for i, letter in enumerate(_letters(name, len(pixels)))}
    # ---- attributes ----
    attributes = {"chromaticities": BT709_CHROMATICITIES, "comments": _COMMENTS + comments, "depthConvention": _DEPTH}
    if clamped:
        attributes["clampedToHalf"] = f"clamped to +-{HALF_MAX:g}: " + "; ".join(clamped)
    if camera is not None:
        # Imath matrices multiply row vectors, hence the transpose; the OpenEXR package ignores strides, hence the copy.
        attributes["worldToCamera"] = np.linalg.inv(camera.to_world).T.astype(np.float32, order="C")
        attributes["dipirCamera"] = json.dumps(camera.to_dict())
    write_exr(path, channels, attributes)


def _letters(name: str, count: int) -> str:
    letters = _LETTERS.get(name, "")
    return letters if len(letters) == count else _BY_COUNT[count]


def _check(path: str | Path, layers: Mapping[str, Tensor]) -> None:
    sizes = {tuple(t.shape[2:]) for t in layers.values()}
    wrong = [f"{name} {tuple(t.shape)}" for name, t in layers.items()
             if t.ndim != 4 or t.shape[0] != 1 or t.shape[1] not in _BY_COUNT]
    if BEAUTY not in layers or wrong or len(sizes) != 1 or layers[BEAUTY].shape[1] == 1:
        raise ImageError(f"cannot write {path}: layers {sorted(layers)}, of wrong shape: {wrong}, sizes "
                         f"{sorted(sizes)}. Accepted are (1, C, H, W) with C 1, 3 or 4, all of one size, "
                         "'beauty' with 3 or 4 channels.")
    bad = [name for name, t in layers.items() if bool(torch.isnan(t).any())]
    if bad:
        raise ImageError(f"cannot write {path}: NaN in {bad}; accepted are numbers. Look for the step that made them.")
