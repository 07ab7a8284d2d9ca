"""An asset in several posed photos of one place, lit by one light: the light that all of them together speak for."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap, Image, split_seed
from dipir.captures.ground_view import ground_view, remove_object
from dipir.captures.sequence import PosedSequence, frame_plate
from dipir.diffusion.denoiser import AbstractDenoiser
from dipir.errors import ConfigError, SceneError
from dipir.fit.loop import Event, minimise
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.insert.final import final_picture
from dipir.insert.method import find_prior, make_guidance
from dipir.insert.objective import Objective, final_light, final_tones, make_parameters
from dipir.insert.problem import prepare
from dipir.priors.light import LightPrior
from dipir.priors.plate_light import Shade, decided, light_of_plate, small_plate, towards_place
from dipir.render.renderer import Passes
from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera
from dipir.scene.framing import projected_box
from dipir.scene.light import SphericalGaussians, fit_gaussians
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene

Place = Literal["beside", "instead"]
_SMALLER = ("Take fewer frames, lower guidance.size, final.spp or the frames' longest side, close what else uses the "
            "GPU, or compute on the CPU (DIPIR_DEVICE=cpu).")


@dataclass(frozen=True)
class SequenceSettings:
    """Which frames, and where the asset stands in them."""

    frames: int = 6
    """How many, evenly over the sequence."""
    longest: int = 512
    """Pixels of a plate's longer side."""
    place: Place = "beside"
    """The asset stands beside the sequence's object, or instead of it."""
    height: float = 1.0
    """Of the asset in heights of that."""
    agree: float = 0.5
    """How far the photos count as independent witnesses of the dominant light, see ``LightPrior.look_together``."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.longest < 32 or not self.height > 0 or not 0 < self.agree <= 1:
            raise ConfigError("accepted are frames of 1 or more, longest of 32 or more, height above 0, agree above 0 "
                              "and up to 1.")


@dataclass(frozen=True, eq=False)
class Inserted:
    """One frame with the asset."""

    scene: Scene
    camera: Camera
    passes: Passes
    image: Image
    plate: Image
    """(1, 3, H, W) display."""


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """All of it on the CPU."""

    frames: tuple[Inserted, ...]
    light: SphericalGaussians
    """One for all frames."""
    tones: tuple[ToneCurve, ToneCurve]
    start: EnvMap
    """(16, 32, 3), where it began."""
    alone: tuple[EnvMap, ...]
    """The start of each frame by itself."""
    history: list[dict]
    provenance: dict = field(default_factory=dict)
    """Seed and device."""


# ---- scenes ----------------------------------------------------------------------------------------------------------

def scenes_of(sequence: PosedSequence, asset: Asset, settings: SequenceSettings = SequenceSettings()) -> list[Scene]:
    """The asset in the chosen frames of a sequence that lies in our world (``scene.sequence.on_ground``). Frames in
    which it would not be seen whole, or from below the ground, are passed over. Instead of the object means that it is
    taken out of the photos (``ground_view.remove_object``). SceneError when none is left."""
    middle, size = thing_of(sequence)
    frames = [sequence.frames[k] for k in _evenly(len(sequence.frames), settings.frames)]
    height = settings.height * size
    offset = np.zeros(3) if settings.place == "instead" else _aside(frames, middle, size, height)
    scale = height / max(float(np.ptp(asset.bounds[:, 1])), 1e-9)
    pose = np.diag([scale, scale, scale, 1.0])
    pose[:3, 3] = middle * [1, 0, 1] + offset
    placed, scenes = PlacedAsset(asset, pose, "asset"), []
    view = ground_view(sequence, middle, size, cells=192, longest=512) if settings.place == "instead" else None
    for frame in frames:
        plate, camera = (frame_plate(frame, settings.longest) if view is None
                         else remove_object(frame, view, settings.longest))
        if camera.position[1] > 0 and _seen(placed, camera):
            scenes.append(Scene(plate, camera, (placed,), name=f"{sequence.name}_{frame.number:06d}"))
    if not scenes:
        raise SceneError(f"{sequence.name}: the asset would be seen whole in none of {len(frames)} frames; place it "
                         "instead of the object, make it smaller, or take more frames.")
    return scenes


def thing_of(sequence: PosedSequence) -> tuple[np.ndarray, float]:
    """((3,) middle, height) of the sequence's object: points that stand out of the ground around the place that all
    cameras look at. Without enough points a quarter of the cameras' mean distance from there."""
    target = looked_at([f.camera for f in sequence.frames])
    distance = float(np.mean([np.linalg.norm(f.camera.position - target) for f in sequence.frames]))
    near = np.linalg.norm((sequence.points - target)[:, [0, 2]], axis=1) < 0.35 * distance
    above = sequence.points[near & (sequence.points[:, 1] > 0.03 * distance) & (sequence.points[:, 1] < distance)]
    if len(above) < 30:
        return target, 0.25 * distance
    low, high = np.quantile(above, [0.05, 0.95], axis=0)
    return (low + high) / 2, float(high[1])


def looked_at(cameras: Sequence[Camera]) -> np.ndarray:
    """(3,) point nearest to all view axes, in the sense of least squares."""
    total, right = np.zeros((3, 3)), np.zeros(3)
    for camera in cameras:
        axis = camera.to_world[:3, 2]
        across = np.eye(3) - np.outer(axis, axis)
        total, right = total + across, right + across @ camera.position
    return np.linalg.lstsq(total, right, rcond=None)[0]


def _evenly(count: int, wanted: int) -> list[int]:
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, wanted)).round()})


def _aside(frames, middle: np.ndarray, size: float, height: float) -> np.ndarray:
    """To the side of the mean camera's view, so far that neither stands in the other."""
    away = np.mean([f.camera.position for f in frames], 0) - middle
    turn = math.atan2(away[0], away[2]) + math.pi / 2 if np.linalg.norm(away[[0, 2]]) > 1e-6 else 0.0
    return 0.75 * (size + height) * np.array([math.sin(turn), 0.0, math.cos(turn)])


def _seen(placed: PlacedAsset, camera: Camera) -> bool:
    try:
        box = projected_box((placed,), camera)
    except SceneError:
        return False
    return bool((box[0] >= 0).all() and (box[1] <= [camera.width, camera.height]).all())


# ---- light -----------------------------------------------------------------------------------------------------------

@device.guarded(_SMALLER)
def insert_sequence(scenes: Sequence[Scene], config: InsertConfig | None = None,
                    settings: SequenceSettings = SequenceSettings(), *, prior: AbstractDenoiser | str | None = None,
                    light_prior: LightPrior | None = None, votes: Tensor | None = None,
                    on_event: Callable[[Event], None] = lambda event: None) -> SequenceResult:
    """Fit one light and one pair of tone curves to all frames, then render each.

    scenes : of one world, taken in one light with one exposure;  votes : on the dominant light's direction, (16, 32)
    logarithms, of ``cast_shadow.shadow_votes``. Raises the DipirError of whatever cannot be used;
    ConfigError for material fits and personalised priors, which belong to one picture.
    """
    config = config or InsertConfig()
    if {"material", "emission"} & set(config.optimize) or config.guidance.personalise:
        raise ConfigError("a sequence: light and tone are fitted to several frames; materials and personalised priors "
                          "belong to one picture. Leave them out, or use `dipir insert` on a frame.")

    # ---- one start for all frames ----
    denoiser = find_prior(prior or config.prior, config)
    light_prior = light_prior or LightPrior.load()
    given, scenes = scenes, [device.moved(scene) for scene in scenes]
    votes = None if votes is None else device.moved(votes)
    small = [small_plate(scene) for scene in scenes]
    lights = [light_of_plate(scene, "prior", light_prior=light_prior, commit=config.light.commit) for scene in scenes]
    together = light_prior.look_together([p for p, _ in small], [d for _, d in small], settings.agree, votes,
                                         [towards_place(scene) for scene in scenes])
    light = decided(together, lights[0].mirrored, config.light.guess, commit=config.light.commit, up=lights[0].up,
                    shade=(lambda: surest_shade(scenes)) if config.light.shadows else None)
    size = denoiser.working_size or config.guidance.size
    works = []
    for k, (scene, own) in enumerate(zip(scenes, lights, strict=True)):
        on_event(Event("prepare", k, len(scenes), note="" if k else light.describe()))
        works.append(prepare(scene, config, size, light_prior, replace(light, mirrored=own.mirrored)))
    parameters = make_parameters(config, fit_gaussians(light.rest, config.light.lobes), None, light)
    history: list[dict] = []
    if config.guidance.kind != "none" and config.fit.steps > 0:
        objectives = [Objective(w, config, parameters, make_guidance(s, w, config, denoiser, on_event, None))
                      for s, w in zip(scenes, works, strict=True)]
        for objective in objectives:
            objective.guidance.keep(parameters)
        objective = _Together(objectives)
        history = minimise(objective, parameters, replace(config.fit, seed=split_seed(config.seed, "fit")),
                           on_event=on_event)

    # ---- every frame's picture ----
    fitted, tones = final_light(parameters, config), final_tones(parameters)
    frames, near = [], torch.device("cpu")
    for scene, original in zip(scenes, given, strict=True):
        made = final_picture(scene, fitted, tones, config, on_event)
        # At once: all frames' passes together would fill a GPU.
        passes, image, plate = device.moved((made.passes, made.composite_disp, made.plate_disp), near)
        frames.append(Inserted(original, made.camera, passes, image, plate))
    provenance = {"seed": config.seed, "device": device.current().record(), "light": light.to_dict(),
                  "light_guesses": light.guesses_to_dict()}
    alone = tuple(own.start for own in lights)
    return SequenceResult(tuple(frames), *device.moved((fitted, tones, light.start, alone), near), history, provenance)


def surest_shade(scenes: Sequence[Scene]) -> Shade:
    """Of the plates' own cast shadows those that are most surely some."""
    return max((Shade.of(scene) for scene in scenes), key=lambda shade: shade.sure)


@dataclass(frozen=True)
class _Together:
    """The mean of the frames' objectives."""

    frames: list[Objective]

    def __call__(self, step: int) -> tuple[Tensor, Mapping[str, float | Tensor], Callable[[], Mapping[str, Image]]]:
        each = [objective(step) for objective in self.frames]
        count = len(each)
        numbers = {key: sum(_double(scalars[key]) for _, scalars, _ in each) / count for key in each[0][1]}
        return sum(value for value, _, _ in each) / count, numbers, each[0][2]


def _double(number: float | Tensor) -> float | Tensor:
    """As precise as Python's numbers; a tensor is not read here, where a GPU would have to be waited for."""
    return number.detach().double() if isinstance(number, Tensor) else number


def flicker(colours: Tensor) -> float:
    """Of one thing's colour in F frames, (F, 3), what the view changes divided out: the largest over channels of
    standard deviation / mean."""
    return float((colours.std(0, correction=0) / colours.mean(0).clamp_min(1e-6)).max())
