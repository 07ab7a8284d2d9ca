"""IllumiNet fitted to one RTI capture: from n photos under n lights to the picture under any light.

The network (``dipir.priors.nets.illuminet``) corrects a prediction made of the photos, see ``dipir.rti.features``.
Each training step draws crops of training photos and asks for them without showing them. A share of the lights is held
out: they have no part in the fit or in the planes, and tell how well it relights (beside PTM and HSH of the same
photos).
"""
from __future__ import annotations

import contextlib
import hashlib
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import Directions, Image, split_seed
from dipir.captures.rti import LEAST_SIDE, unit_directions
from dipir.errors import ConfigError, FitError, ImageError
from dipir.event import Event, Notify
from dipir.fit import checkpoint as files
from dipir.fit.muon import adamw
from dipir.fit.training import Turns, annealed_rate, descend
from dipir.image.metrics import psnr
from dipir.priors.nets.illuminet import IllumiNet
from dipir.rti import features as rti_features
from dipir.rti.config import IllumiNetTrainConfig, Split, load_config
from dipir.rti.features import SYMMETRIES
from dipir.rti.page import judge, write_report
from dipir.rti.result import Fitted, load, save
from dipir.settings.yaml import to_dict

__all__ = ["Fitted", "IllumiNetTrainConfig", "Split", "load", "load_config", "save", "split_lights", "train"]

STAGE, CHECKPOINT = "illuminet", "checkpoint.safetensors"


def split_lights(directions: Directions, config: IllumiNetTrainConfig = IllumiNetTrainConfig()) -> Split:
    """Deterministic and spread over the dome: farthest points, beginning with the light nearest to the camera; the
    validation lights are the farthest points of the rest. At least three lights are left for training."""
    everyone = list(range(len(directions)))
    held_out = _spread(directions, everyone, min(round(config.held_out * len(everyone)), len(everyone) - 3))
    rest = [i for i in everyone if i not in held_out]
    validation = _spread(directions, rest, max(1, round(config.validation * len(rest))))
    return Split(tuple(i for i in rest if i not in validation), tuple(validation), tuple(held_out))


def _spread(directions: Directions, among: list[int], count: int) -> list[int]:
    d = directions[among].double()
    chosen = [int(d[:, 2].argmax())] if count > 0 else []
    while len(chosen) < count:
        chosen.append(int((d @ d[chosen].T).amax(1).argmin()))
    return sorted(among[i] for i in chosen)


def train(light_directions: Directions, target_images: Image, config: IllumiNetTrainConfig = IllumiNetTrainConfig(), *,
          out: Path | None = None, on_event: Notify = None, resume: bool = False) -> Fitted:
    """Fit a network to photos (n, 3, h, w), display values in [0, 1], under lights (n, 3).

    With ``out`` the folder gets ``illuminet.safetensors``, ``features.safetensors``, ``config.yaml``, ``history.csv``,
    ``report.json``, ``comparison.png`` and ``loss.png``, and during the run ``checkpoint.safetensors``, from which
    ``resume`` goes on exactly where a run was stopped. SIGTERM and SIGINT finish the step and save. Raises ConfigError
    or ImageError for data that cannot be used, before anything is written; FitError for a loss that is not finite and
    for a checkpoint of another run.
    """
    directions, images = check(light_directions, target_images)
    split = split_lights(directions, config)
    run = _Run(directions, images, split, config)
    stored = None if out is None else files.Checkpoint(
        Path(out) / CHECKPOINT, files.run_hash(to_dict(replace(config, minutes=1.0)), _digest(directions),
                                               _digest(images)), resume=resume)
    run.loop(stored, on_event)
    fitted = run.fitted()
    verdict = judge(fitted, directions, images, split)
    verdict["training"] = {"steps": run.step, "best_step": run.best_step, "threads": torch.get_num_threads(),
                           **{name: run.history[-1][name] for name in ("seconds", "processor_seconds")}}
    fitted = replace(fitted, verdict=verdict)
    if out is not None:
        save(fitted, Path(out))
        write_report(fitted, directions, images, run.history, Path(out))
        with contextlib.suppress(OSError):
            stored.path.unlink()
    return fitted


def check(light_directions: Directions, target_images: Image) -> tuple[Directions, Image]:
    """Unit float32 directions and float32 images. Raises ConfigError or ImageError."""
    directions, _ = unit_directions(light_directions, "light_directions")
    images = torch.as_tensor(target_images, device="cpu")
    if images.ndim != 4 or images.shape[1] != 3 or len(images) != len(directions) or not images.is_floating_point():
        raise ConfigError(f"target_images are {tuple(images.shape)} {images.dtype} for {len(directions)} lights; "
                          f"accepted are ({len(directions)}, 3, h, w) float display values.")
    if min(images.shape[2:]) < LEAST_SIDE:
        raise ImageError(f"target_images have {images.shape[3]}x{images.shape[2]} pixels; at least {LEAST_SIDE} a side "
                         "are needed.")
    if not bool(torch.isfinite(images).all()) or float(images.min()) < 0 or float(images.max()) > 1:
        raise ImageError(f"target_images have values from {float(images.min()):g} to {float(images.max()):g}; accepted "
                         "are finite display values in [0, 1].")
    return directions, images.float()


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()


class _Run:
    """One fit: data, network, optimiser, best weights so far."""

    def __init__(self, directions: Directions, images: Image, split: Split, config: IllumiNetTrainConfig) -> None:
        self.config, training = config, list(split.training)
        self.bytes, self.directions = (images[training] * 255).round().byte(), directions[training]
        self.photos = self.bytes.float() / 255
        self.covariance = rti_features.best_covariance(self.directions, self.photos)
        self.weights = [rti_features.weights(rti_features.turned(self.directions, g), None, self.covariance)
                        for g in range(SYMMETRIES)]
        self.targets = [training.index(i) for i in split.fitted]
        self.watched = [training.index(i) for i in split.validation]
        self.scale = rti_features.plane_scale(self.directions, self.photos)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(split_seed(config.seed, STAGE))
            self.net = IllumiNet(config.network())
        # Weights and scales of the planes are worked out on the CPU, in double precision; the rest goes where it runs.
        self.where = device.current().torch
        self.net = self.net.to(self.where, memory_format=torch.channels_last)
        self.photos, self.weights = device.moved((self.photos, self.weights), self.where)
        self.optimiser = adamw(self.net.parameters(), config.rate, config.decay)
        self.unread: list[dict] = []
        self.step, self.best_step, self.best_score = 0, 0, -math.inf
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def loop(self, stored: files.Checkpoint | None, on_event: Notify) -> None:
        """All steps, until time or patience end."""
        if stored and stored.resume and stored.path.exists():
            self._restore(files.load(stored.path, stored.run_hash))
        spent = self.history[-1] if self.history else {"seconds": 0.0, "processor_seconds": 0.0}
        busy, saved = time.process_time() - spent["processor_seconds"], spent["seconds"]
        with Turns(self.step, self.config.steps, minutes=self.config.minutes, spent_s=spent["seconds"],
                   stoppable=stored is not None) as turns:
            for _ in turns:
                if not self._patient():
                    break
                self.history.append(self._one_step())
                turns.finish()
                self.history[-1] |= {"seconds": turns.elapsed_s, "processor_seconds": time.process_time() - busy}
                last = turns.late or self.step == self.config.steps
                if self.where.type == "cpu" or self.step % 10 == 0 or turns.stopped or last:
                    self._read()
                if self.step % self.config.validate_every == 0 or last:
                    self._validate()
                if stored and (turns.stopped or turns.elapsed_s - saved > self.config.checkpoint_minutes * 60):
                    self._read()
                    files.save(stored.path, self._state(), stored.run_hash)
                    saved = turns.elapsed_s
                if on_event and (self.step % 10 == 0 or last):
                    left = turns.elapsed_s / self.step * (self.config.steps - self.step)
                    budget = max(0.0, self.config.minutes * 60 - turns.elapsed_s)
                    on_event(Event(STAGE, self.step, self.config.steps, min(left, budget), self.history[-1]))
        turns.leave()

    def fitted(self) -> Fitted:
        """The best weights with what they need to relight."""
        self.net.load_state_dict(self.best or self.net.state_dict())
        return Fitted(self.net.eval(), self.bytes.to(self.where), self.directions, (self.scale, self.covariance),
                      self.config)

    def _one_step(self) -> dict[str, float]:
        rate = learning_rate(self.config, self.step)
        planes, light, target = self._batch()
        self.net.train()
        # In single precision on every device: what is learned is a small correction of a good picture.
        loss = self.config.loss(self.net(planes, light), target)
        if self.where.type == "cpu":
            _finite(float(loss.detach()), self.step)
        norm = descend(self.optimiser, self.net.parameters(), loss, rate, self.config.clip)
        self.step += 1
        row = {"step": self.step, "loss": loss.detach(), "rate": rate, "gradient": norm}
        self.unread.append(row)
        return row

    def _read(self) -> None:
        """Numbers of the steps since the last time, in one read. FitError for a loss that is not finite."""
        if not self.unread:
            return
        pairs = torch.stack([torch.stack([row["loss"], row["gradient"]]) for row in self.unread]).tolist()
        for row, (loss, norm) in zip(self.unread, pairs, strict=True):
            _finite(loss, row["step"] - 1)
            row |= {"loss": loss, "gradient": norm}
        self.unread = []

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Planes (B, 24, s, s), lights (B, 11) and targets (B, 3, s, s) of this step's crops, each seen in one of the
        eight symmetries."""
        rng = np.random.default_rng(split_seed(self.config.seed, STAGE, self.step))
        side = min(self.config.crop, *self.photos.shape[2:])
        rows = []
        for _ in range(self.config.batch):
            symmetry, target = int(rng.integers(SYMMETRIES)), self.targets[int(rng.integers(len(self.targets)))]
            top, left = (int(rng.integers(length - side + 1)) for length in self.photos.shape[2:])
            crop = self.photos[:, :, top:top + side, left:left + side]
            near = self.weights[symmetry]
            planes = rti_features.planes(near.photos[target], crop, self.scale)
            rows.append((rti_features.turned_picture(planes, symmetry), near.light[target],
                         rti_features.turned_picture(crop[target], symmetry)))
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _validate(self) -> None:
        """PSNR of the validation lights in windows of up to 256 pixels; keeps the weights when it is the best yet."""
        self.net.eval()
        side = [min(256, length) for length in self.photos.shape[2:]]
        scores = []
        for target in self.watched:
            rng = np.random.default_rng(split_seed(self.config.seed, "validation", target))
            top, left = (int(rng.integers(n - s + 1)) for n, s in zip(self.photos.shape[2:], side, strict=True))
            crop = self.photos[:, :, top:top + side[0], left:left + side[1]]
            planes = rti_features.planes(self.weights[0].photos[target], crop, self.scale)[None]
            with torch.no_grad():
                picture = self.net(planes, self.weights[0].light[target][None])
            scores.append(float(psnr(picture.float().cpu(), crop[target][None].cpu())))
        score = sum(scores) / len(scores)
        self.history[-1]["validation_psnr"] = score
        if score > self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best = {name: value.clone() for name, value in self.net.state_dict().items()}

    def _patient(self) -> bool:
        return self.step - self.best_step < self.config.patience * self.config.validate_every

    def _state(self) -> files.State:
        raw = {f"net/{name}": value for name, value in self.net.state_dict().items()}
        raw |= {f"best/{name}": value for name, value in self.best.items()}
        names = {parameter: name for name, parameter in self.net.named_parameters()}
        moments = {f"{names[parameter]}/{key}": value for parameter, values in self.optimiser.state.items()
                   for key, value in values.items()}
        return files.State(self.step, raw, moments, self.history)

    def _restore(self, state: files.State) -> None:
        self.net.load_state_dict(_below("net/", state.raw))
        self.step, self.history, self.best = state.step, list(state.history), _below("best/", state.raw)
        for name, parameter in self.net.named_parameters():
            fused = self.optimiser.param_groups[0].get("fused")
            self.optimiser.state[parameter] = {
                key: state.moments[f"{name}/{key}"].to(self.where if key != "step" or fused else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")}
        for row in self.history:
            if row.get("validation_psnr", -math.inf) > self.best_score:
                self.best_score, self.best_step = row["validation_psnr"], row["step"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix):]: value for name, value in tensors.items() if name.startswith(prefix)}


def _finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise FitError(f"{STAGE}, step {step}: the loss is {loss}. Try a lower rate (--set rate=0.001).")


def learning_rate(config: IllumiNetTrainConfig, step: int) -> float:
    """Rate of the step number ``step`` (from 0): cosine annealing with warm restarts, linear increase at the start."""
    length, within = config.first_cycle, step
    while within >= length:
        within, length = within - length, length * config.cycle_factor
    return annealed_rate(config.rate, config.last, math.pi * within / length, step, config.warm_up)
