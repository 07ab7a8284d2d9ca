"""A fitted IllumiNet: its files, and pictures under other lights from it."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Directions, Image
from dipir.disk import write_bytes
from dipir.errors import ConfigError, DipirError, PriorError
from dipir.priors.nets.illuminet import IllumiNet
from dipir.rti import features as rti_features
from dipir.rti.config import IllumiNetTrainConfig
from dipir.settings.read import from_dict
from dipir.settings.yaml import dump_yaml, to_dict
from dipir.tensors import read_tensors

WEIGHTS, FEATURES, CONFIG = "illuminet.safetensors", "features.safetensors", "config.yaml"
_ARCHITECTURE = "dipir illuminet 1"


@dataclass(frozen=True)
class Fitted:
    """A network and the photos that its planes are made of."""

    net: IllumiNet  # in evaluation mode
    photos: Tensor  # (n, 3, h, w) uint8 display values of the training lights, where the net is
    directions: Directions  # (n, 3) of them, on the CPU
    planes: tuple[float, int]  # factor on the planes of harmonics, index of the covariance (`rti/features.py`)
    config: IllumiNetTrainConfig  # of the run
    verdict: Mapping[str, Any] = field(default_factory=dict)  # figures on the held-out lights (empty without them)

    def relight(self, direction: Tensor) -> Image:
        """(1, 3, h, w) display, on the CPU: the object under a light from ``direction`` (3,), a vector of any length
        but 0, +x the picture's right, +y up, +z towards the camera. Raises ConfigError for a direction that is none."""
        d = torch.as_tensor(direction, dtype=torch.float32, device="cpu").reshape(-1)
        if d.shape != (3,) or not bool(torch.isfinite(d).all()) or float(d.norm()) < 1e-6:
            raise ConfigError(f"direction {d.tolist()}: accepted are three finite numbers that are not all 0.")
        d, photos = (d / d.norm())[None], self.photos.float() / 255
        total = photos.new_zeros(1, 3, *photos.shape[2:])
        for symmetry in range(self.config.views):
            lights, wanted = (rti_features.turned(v, symmetry) for v in (self.directions, d))
            near = device.moved(rti_features.weights(lights, wanted, self.planes[1]), photos.device)
            planes = rti_features.planes(near.photos[0], photos, self.planes[0])
            with torch.no_grad():
                picture = self.net(rti_features.turned_picture(planes, symmetry)[None], near.light)
            total += rti_features.turned_back(picture, symmetry)
        return (total / self.config.views).cpu()


def save(fitted: Fitted, folder: Path) -> None:
    """Write ``illuminet.safetensors`` (float32), ``features.safetensors`` and ``config.yaml`` into an existing folder,
    each atomically. Raises ImageError when one cannot be written."""
    weights = {name: value.detach().cpu().contiguous() for name, value in fitted.net.state_dict().items()}
    features = {"photos": fitted.photos.cpu().contiguous(), "directions": fitted.directions.contiguous()}
    about = {"architecture": _ARCHITECTURE, "config": json.dumps(to_dict(fitted.config)),
             "planes": json.dumps(fitted.planes)}
    # The digest ties the two files together: a network knows nothing about another capture's photos.
    about["features"] = _digest(features)
    write_bytes(folder / FEATURES, safetensors.torch.save(features, {"architecture": _ARCHITECTURE}))
    write_bytes(folder / WEIGHTS, safetensors.torch.save(weights, {**about, "hash": _digest(weights)}))
    dump_yaml(fitted.config, folder / CONFIG)


def load(folder: str | Path) -> Fitted:
    """What :func:`train` left in ``folder``. Raises PriorError when a file is missing, damaged or does not belong to
    the others."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PriorError(f"{folder}: no such folder; give the --out folder of a finished `dipir illuminet train`.")
    weights, about = _read(folder / WEIGHTS)
    features, _ = _read(folder / FEATURES)
    remedy = "Train again, or restore both files from the same run."
    if _digest(weights) != about.get("hash") or _digest(features) != about.get("features"):
        raise PriorError(f"{folder}: {WEIGHTS} and {FEATURES} do not agree with their checksums. {remedy}")
    try:
        config = from_dict(IllumiNetTrainConfig, json.loads(about["config"]))
        net = IllumiNet(config.network())
        net.load_state_dict(weights)
        scale, covariance = json.loads(about["planes"])
        where = device.current().torch
        return Fitted(net.to(where, memory_format=torch.channels_last).eval(), features["photos"].to(where),
                      features["directions"],
                      (float(scale), int(covariance)), config, _verdict(folder))
    except (DipirError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise PriorError(f"{folder / WEIGHTS}: not a network of this version "
                         f"({' '.join(str(error).split())[:120]}). {remedy}") from error


def _verdict(folder: Path) -> Mapping[str, Any]:
    """report.json; empty when it is not there or not readable, because relighting does not need it."""
    try:
        verdict = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return verdict if isinstance(verdict, dict) else {}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise PriorError(f"{path}: no such file; give the --out folder of a finished `dipir illuminet train`.")
    try:
        tensors, about = read_tensors(path)
    except (OSError, ValueError) as error:
        raise PriorError(f"{path}: damaged or cut short ({error}). Train again, or restore the file.") from error
    if about.get("architecture") != _ARCHITECTURE:
        raise PriorError(f"{path}: holds {about.get('architecture')!r}; expected {_ARCHITECTURE!r}, which `dipir "
                         "illuminet train` writes.")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
