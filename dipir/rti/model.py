"""A fitted IllumiNet: its settings, its files, and pictures under other lights from it."""
from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dipir import device, disk
from dipir.arrays import Directions, Image
from dipir.disk import write_bytes
from dipir.errors import ConfigError, DipirError, PriorError
from dipir.image.losses import LossWeights
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.rti import features as rti_features
from dipir.settings.read import from_dict, merge, override
from dipir.settings.yaml import dump_yaml, load_yaml, to_dict

WEIGHTS, FEATURES, CONFIG = "illuminet.safetensors", "features.safetensors", "config.yaml"
_ARCHITECTURE = "dipir illuminet 1"


@dataclass(frozen=True)
class IllumiNetTrainConfig:
    """How to fit a network to a capture."""

    steps: int = 2100  # at most
    minutes: float = 12.0  # wall time after which training ends, with that before a resume
    crop: int = 64  # crop, batch: pixels of a side and crops a step
    batch: int = 4
    rate: float = 3e-3
    last: float = 0.02
    warm_up: int = 50
    first_cycle: int = 300
    cycle_factor: int = 2
    """rate, last, warm_up, first_cycle, cycle_factor: learning rate, the share of it at a cycle's end, steps of linear
    increase, and the lengths of the cosine's cycles (warm restarts, Loshchilov and Hutter 2017)."""
    decay: float = 0.01  # of the weights
    clip: float = 1.0  # largest gradient norm
    validate_every: int = 200  # steps
    patience: int = 10  # validations without a better one before training stops
    checkpoint_minutes: float = 1.0  # between saves
    held_out: float = 0.2  # share of the lights that are only judged
    validation: float = 0.08  # share of the others that only decide when to stop
    channels: tuple[int, int, int, int] = (24, 32, 48, 64)
    embedding: int = 64
    stem: int = 2
    """channels, embedding, stem: of the network (``priors/nets/illuminet.py``)."""
    views: int = 1  # of the eight symmetries of the picture, how many are averaged in a relit picture
    loss: LossWeights = field(default_factory=LossWeights)
    seed: int = 0  # of this run

    def __post_init__(self) -> None:
        wrong = [f"{name} is {getattr(self, name):g}, at least {least} is needed" for name, least in {
            "steps": 1, "crop": 16, "batch": 2, "first_cycle": 1, "cycle_factor": 1, "validate_every": 1, "patience": 1,
            "embedding": 1, "stem": 1, "views": 1, "warm_up": 0, "decay": 0, "seed": 0}.items()
            if getattr(self, name) < least]
        wrong += [f"{name} is {getattr(self, name):g}, it must lie above 0" for name in (
            "minutes", "rate", "clip", "checkpoint_minutes") if not getattr(self, name) > 0]
        wrong += [f"{name} is {getattr(self, name):g}, it must lie in [0, 0.5]" for name in ("held_out", "validation")
                  if not 0 <= getattr(self, name) <= 0.5]
        wrong += [] if 0 <= self.last <= 1 else [f"last is {self.last:g}, it must lie in [0, 1]"]
        wrong += [] if self.views <= rti_features.SYMMETRIES else [f"views is {self.views}, at most 8 exist"]
        wrong += [] if min(self.channels) > 0 else [f"channels are {self.channels}, all must lie above 0"]
        terms = to_dict(self.loss).values()
        wrong += [] if min(terms) >= 0 and 0 < sum(terms) < math.inf else ["loss needs weights of 0 or more, not all 0"]
        if wrong:
            raise ConfigError("; ".join(wrong) + ".")

    def network(self) -> IllumiNetConfig:
        """The settings of the network."""
        return IllumiNetConfig(rti_features.PLANES, rti_features.NUMBERS, self.channels, self.embedding, self.stem)


def load_config(extra: Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> IllumiNetTrainConfig:
    """Dataclass defaults, then configs/illuminet/default.yaml (where the source tree has it), then ``extra``, then
    ``key=value`` overrides. Raises ConfigError with every problem."""
    config = IllumiNetTrainConfig()
    preset = disk.shipped("configs/illuminet/default.yaml")
    for path in (preset if preset.is_file() else None, extra):
        if path is not None:
            config = merge(config, load_yaml(path), str(path))
    return override(config, overrides)


@dataclass(frozen=True)
class Split:
    """Numbers of the lights: ``fitted`` for gradients, ``validation`` for stopping (both are the training lights, whose
    photos make the planes), ``held_out`` for the report alone."""

    fitted: tuple[int, ...]
    validation: tuple[int, ...]
    held_out: tuple[int, ...]

    @property
    def training(self) -> tuple[int, ...]:
        """``fitted`` and ``validation``, in order."""
        return tuple(sorted(self.fitted + self.validation))


@dataclass(frozen=True)
class Fitted:
    """A network and the photos that its planes are made of."""

    net: IllumiNet  # in evaluation mode
    photos: Tensor  # (n, 3, h, w) uint8 display values of the training lights, where the net is
    directions: Directions  # (n, 3) of them, on the CPU
    planes: tuple[float, int]  # factor on the planes of harmonics, index of the covariance (``rti_features``)
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
        return json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        return {}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise PriorError(f"{path}: no such file; give the --out folder of a finished `dipir illuminet train`.")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            about, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
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
