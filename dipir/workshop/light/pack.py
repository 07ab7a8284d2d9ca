"""All that the light prior's training reads, in one file that can be carried to another machine.

Panoramas are JPEGs of the logarithm of radiance beside small maps in half precision that keep what is too bright for
them; dressed plates are JPEGs of the same kind. Nothing of it needs a renderer or the original files.
"""
from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pictures
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dipir import disk
from dipir.errors import ConfigError
from dipir.workshop.light.batches import Raw
from dipir.workshop.light.dressing import pooled
from dipir.workshop.light.framed import about, rolled
from dipir.workshop.light.places import Places

KIND = "dipir.light_pack.1"
LIMIT = 40 * 2**20
"""Largest file in bytes."""
DARKEST, BRIGHTEST = -9.0, 4.5
"""Range of the pictures in stops about the .9 quantile of their luminance."""
_QUALITY = 88


@dataclass(frozen=True)
class Dressed:
    """Plates with rendered things, and where they come from."""

    plate: Tensor
    """(N, 3, 192, 256) radiance, unit ``gain`` times that of the panorama."""
    camera: Tensor
    """(N, 3) field of view, pitch, roll, degrees."""
    place: Tensor
    """(N, 3) direction in which the place is seen."""
    panorama: Tensor
    """(N,) row of the places."""
    turn: Tensor
    """(N,) revolutions / 128."""
    gain: Tensor
    """(N,)."""

    def raw(self, places: Places) -> Raw:
        """With the light of the panoramas, on the device of ``places``."""
        where = places.sigma.device
        index, gain, turn = self.panorama.to(where), self.gain.to(where), self.turn.to(where)
        rest = torch.cat([pooled(rolled(places.rest[i], t.float()), 16, 32)
                          for i, t in zip(index.split(256), turn.split(256), strict=True)])
        return Raw(self.plate.to(where).half(), (rest * gain[:, None, None, None]).clamp(0, 60000).half(),
                   about(places.direction[index], turn.float()), places.irradiance[index] * gain[:, None],
                   places.sigma[index], self.camera.to(where), self.place.to(where))


@dataclass(frozen=True)
class Pack:
    """What a pack holds."""

    train: Places
    val: Places
    names: dict[str, list[str]]
    """Of the environments in both."""
    dressed: Dressed | None
    dressed_val: Dressed | None
    backbone: dict[str, Tensor]
    """Weights of ``EfficientNetLite``."""


def write(path: Path, pack: Pack) -> int:
    """Writes as many dressed plates as fit below ``LIMIT``; bytes written. ConfigError when it is too large without."""
    # ---- what must be in it ----
    values: dict[str, Tensor] = {f"backbone/{k}": v.half().contiguous() for k, v in pack.backbone.items()}
    for part, places in (("train", pack.train), ("val", pack.val)):
        pictures = [encoded(p[:, :, 1:-1].float()) for p in places.padded]
        values |= {f"{part}/{k}": v for k, v in _joined(pictures).items()}
        values |= {f"{part}/{k}": (v.clamp(0, 60000).half() if k == "rest" else v).contiguous()
                   for k, v in vars(places).items() if k != "padded"}
    # ---- what fits ----
    size = sum(v.nbytes for v in values.values())
    for part, dressed in (("dressed_val", pack.dressed_val), ("dressed", pack.dressed)):
        if dressed is None:
            continue
        room, pictures = LIMIT - size - 2**17, []
        share = room // 10 if part == "dressed_val" else room
        for plate in dressed.plate:
            picture = encoded(plate.float())
            share -= len(picture[0]) + 64
            if share < 0:
                break
            pictures.append(picture)
        if len(pictures) < len(dressed.plate):
            sys.stderr.write(f"{path}: {len(pictures)} of {len(dressed.plate)} plates of `{part}` fit into "
                             f"{LIMIT // 2**20} MiB; the rest is left out\n")
        if pictures:
            values |= {f"{part}/{k}": v for k, v in _joined(pictures).items()}
            values |= {f"{part}/{k}": v[:len(pictures)].contiguous() for k, v in vars(dressed).items() if k != "plate"}
        size = sum(v.nbytes for v in values.values())
    if size > LIMIT:
        raise ConfigError(f"{path}: {size / 2**20:.0f} MiB without any dressed plate; at most {LIMIT // 2**20} MiB: "
                          "give fewer environments.")
    disk.write_bytes(path, save(values, {"kind": KIND, "names": json.dumps(pack.names)}))
    return path.stat().st_size


def read(path: Path) -> Pack:
    """The pack in a file, on the CPU. ConfigError when it is not one."""
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: not a readable pack ({error}); make one with `dipir prior train light --pack "
                          "FILE`.") from error
    if meta.get("kind") != KIND:
        raise ConfigError(f"{path}: {meta.get('kind', 'no')} kind; expected {KIND}: make one with `dipir prior train "
                          "light --pack FILE`.")

    def of(part: str) -> dict[str, Tensor]:
        return {key.partition("/")[2]: value for key, value in values.items() if key.startswith(part + "/")}

    return Pack(_places(of("train")), _places(of("val")), json.loads(meta["names"]), _dressed(of("dressed")),
                _dressed(of("dressed_val")), {k: v.float() for k, v in of("backbone").items()})


def _places(columns: dict[str, Tensor]) -> Places:
    pictures = _pictures(columns)
    padded = torch.cat([pictures[..., -1:], pictures, pictures[..., :1]], -1)
    return Places(padded, **{k: v.float() if k == "rest" else v for k, v in columns.items()
                             if k in Places.__dataclass_fields__})


def _dressed(columns: dict[str, Tensor]) -> Dressed | None:
    if not columns:
        return None
    return Dressed(_pictures(columns), **{k: v for k, v in columns.items() if k in Dressed.__dataclass_fields__})


# ------------------------------------------------------------------------------------------------------------ pictures
def encoded(radiance: Tensor) -> tuple[bytes, float]:
    """(JPEG, unit) of (3, H, W): stops about the unit, the .9 quantile of the brightest channel."""
    unit = max(float(np.quantile(radiance.amax(0).numpy(), 0.9)), 1e-8)
    stops = (radiance.clamp_min(1e-12) / unit).log2()
    code = ((stops - DARKEST) / (BRIGHTEST - DARKEST)).clamp(0, 1).mul(255).round().byte()
    stream = io.BytesIO()
    Pictures.fromarray(code.permute(1, 2, 0).contiguous().numpy()).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue(), unit


def decoded(jpeg: bytes, unit: float) -> Tensor:
    """Inverse of :func:`encoded`: (3, H, W) half precision."""
    code = torch.from_numpy(np.array(Pictures.open(io.BytesIO(jpeg)).convert("RGB"))).permute(2, 0, 1).float() / 255
    dark = code < 0.5 / 255
    return torch.where(dark, 0.0, (DARKEST + code * (BRIGHTEST - DARKEST)).exp2() * unit).clamp(0, 60000).half()


def _joined(pictures: Sequence[tuple[bytes, float]]) -> dict[str, Tensor]:
    lengths = torch.tensor([len(p) for p, _ in pictures])
    return {"jpeg": torch.frombuffer(bytearray(b"".join(p for p, _ in pictures)), dtype=torch.uint8),
            "lengths": lengths, "unit": torch.tensor([u for _, u in pictures])}


def _pictures(columns: dict[str, Tensor]) -> Tensor:
    parts = columns["jpeg"].split(columns["lengths"].tolist())
    return torch.stack([decoded(p.numpy().tobytes(), float(u)) for p, u in zip(parts, columns["unit"], strict=True)])


def place_towards(point: Tensor, height: Tensor) -> Tensor:
    """(N, 3) directions of points (N, 3) on the ground from cameras (N,) high above the origin."""
    return torch.nn.functional.normalize(point - torch.stack([torch.zeros_like(height), height,
                                                              torch.zeros_like(height)], 1), dim=1)
