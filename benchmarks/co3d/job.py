"""One sequence of ``dipir bench co3d``: read, put on its ground, an asset inserted under one light, judged."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.insert.cases import SINGLE_LIGHT, light_share
from dipir.arrays import EnvMap, split_seed
from dipir.captures.cast_shadow import shadow_votes
from dipir.captures.co3d import FORMATS, camera_of, read_category, read_sequence, viewpoint_of
from dipir.captures.ground import fit_ground
from dipir.captures.posed import read_posed
from dipir.captures.sequence import PosedSequence, on_ground
from dipir.disk import file_name, inside
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.files import read_envmap, write_png
from dipir.image.metrics import direction_error_deg
from dipir.insert.config import InsertConfig, load_config
from dipir.insert.sequence import SequenceResult, SequenceSettings, flicker, insert_sequence, scenes_of, thing_of
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.light import EnvironmentMap, dominant_direction
from dipir.suite.file import JobSpec
from dipir.workshop.captures.co3d import TRUTH

ROWS = 256


def job(spec: JobSpec, folder: Path, on_event: Callable[[Event], None]) -> dict[str, float]:
    """settings: root, category ("" = the root is one sequence), sequence, asset, preset, set, place, height, frames.
    Figures: see docs/bench-co3d.md."""
    s, began = spec.settings, time.monotonic()
    root = Path(s["root"])
    category = s["category"]
    read = read_sequence(read_category(root, category), s["sequence"]) if category else read_posed(root)
    ground = fit_ground(read.points, np.stack([f.camera.to_world for f in read.frames]), spec.seed)
    sequence = on_ground(read, ground)
    settings = SequenceSettings(frames=int(s["frames"]), place=s["place"], height=float(s["height"]))
    scenes = scenes_of(sequence, load_asset(s["asset"]), settings)
    config = load_config(s["preset"], [], [f"seed={spec.seed}", *s["set"]])
    votes = shadow_votes(sequence, *thing_of(sequence))
    made = insert_sequence(scenes, config, settings, votes=votes, on_event=on_event)
    for frame in made.frames:
        write_png(folder / f"{file_name(frame.scene.name)}.png", frame.image)
    write_png(folder / "composite.png", _sheet(made))
    light = None
    path = inside(root, f"{TRUTH}/{category}/{read.name}.json")
    if category and path.is_file():
        turn, light = between(json.loads(path.read_text()), read, sequence), read_envmap(path.with_suffix(".exr"))
        light = latlong.sample(light, latlong.directions(ROWS, 2 * ROWS) @ torch.from_numpy(turn).float())
    out = {"frames": float(len(scenes)), "ground_confidence": ground.confidence, **consistency(made, config, light)}
    if light is not None:
        out |= against_truth(turn, light, read, made)
    return {**out, "seconds_all": time.monotonic() - began}


def consistency(made: SequenceResult, config: InsertConfig, true: EnvMap | None = None) -> dict[str, float]:
    """How far the frames disagree: of the object's mean colour in each frame, divided by what it is there under the one
    light in a render of its own, the standard deviation over frames. ``flicker`` of the frames as they were rendered,
    ``flicker_alone`` of each under its own estimate, ``flicker_truth`` of the true light (in our world): how much of
    the way that the colour changes with the view is wrong."""
    shared = made.light.envmap(ROWS, 2 * ROWS).detach()
    shown: dict[str, list[torch.Tensor]] = {"flicker": [], "flicker_alone": []}
    if true is not None:
        shown["flicker_truth"] = []
    for k, (frame, alone) in enumerate(zip(made.frames, made.alone, strict=True)):
        tracer = PathTracer(frame.scene, frame.camera, RenderSettings(config.final.spp, config.final.depth),
                            gbuffer_samples=1)

        def mean(light, seed, tracer=tracer):
            return _mean(*tracer.object_pass(light, seed=split_seed(1, seed), spp=4 * config.final.spp))

        reference = mean(shared, k).clamp_min(1e-6)
        shown["flicker"].append(_mean(frame.passes.object_rgb, frame.passes.alpha) / reference)
        own = EnvironmentMap(alone).envmap(ROWS, 2 * ROWS)
        shown["flicker_alone"].append(mean(own, k) / reference)
        if true is not None:
            shown["flicker_truth"].append(reference / mean(true, k).clamp_min(1e-6))
    directions = torch.stack([dominant_direction(light) for light in made.alone])
    return {**{name: flicker(torch.stack(values)) for name, values in shown.items()},
            "spread_alone_deg": spread_deg(directions.double().numpy())}


def _mean(rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """(3,) mean colour of what is covered."""
    return rgb[0].detach().sum((1, 2)) / alpha.sum().clamp_min(1e-6)


def spread_deg(directions: np.ndarray) -> float:
    """Root mean square angle of unit vectors (N, 3) from their mean direction, degrees."""
    mean = directions.mean(0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    angles = np.degrees(np.arccos(np.clip(directions @ mean, -1, 1)))
    return float(np.sqrt((angles**2).mean()))


def between(truth: dict, read: PosedSequence, sequence: PosedSequence) -> np.ndarray:
    """(3, 3) rotation from the truth's world to that of the sequence on its ground."""
    first = read.frames[0].camera.to_world[:3, :3], sequence.frames[0].camera.to_world[:3, :3]
    return first[1] @ first[0].T @ np.array(truth["similarity"]["rotation"])


def against_truth(turn: np.ndarray, light: EnvMap, read: PosedSequence, made: SequenceResult) -> dict[str, float]:
    """Errors of camera round trip (pixels), ground (degrees), dominant light (degrees): of all frames together, and the
    mean of each by itself. light : the true one in the sequence's world
    ``sun_...`` repeats them where it counts as a sun or one strong lamp, as in ``insert/cases``, else ``soft_...``."""
    true, got = dominant_direction(light), dominant_direction(made.light.envmap(64, 128).detach())
    alone = [float(direction_error_deg(true, dominant_direction(one))) for one in made.alone]
    up = torch.tensor([0, 1.0, 0], dtype=torch.float64)
    out = {"round_trip_px": max(_round_trip(f.camera) for f in read.frames),
           "ground_deg": float(direction_error_deg(torch.from_numpy(turn) @ up, up)),
           "light_deg": float(direction_error_deg(true, got)), "light_alone_deg": float(np.mean(alone))}
    kind = "sun" if light_share(light) >= SINGLE_LIGHT else "soft"
    return {**out, f"{kind}_deg": out["light_deg"], f"{kind}_alone_deg": out["light_alone_deg"]}


def _round_trip(camera: Camera) -> float:
    """Pixels between where a camera and the ones read back from its annotations see the same points."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, [camera.width, camera.height], (50, 2))
    points = camera.position + camera.directions(pixels) * rng.uniform(0.5, 5, (50, 1))
    back = [camera_of(viewpoint_of(camera, form), camera.height, camera.width)[0] for form in FORMATS]
    return max(float(np.abs(b.project(points)[0] - pixels).max()) for b in back)


def _sheet(made: SequenceResult) -> torch.Tensor:
    """All frames beside each other, 240 pixels high."""
    rows = [torch.nn.functional.interpolate(f.image, (240, round(240 * f.camera.width / f.camera.height)),
                                            mode="bilinear", antialias=True) for f in made.frames]
    return torch.cat(rows, -1).clamp(0, 1)
