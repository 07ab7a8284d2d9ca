"""CO3Dv2 sets with known light: every file of the format, its quirks included, and the truth beside them.

Quirks, all of which real sets have: both formats of intrinsics, oblong images upright and across, a world of arbitrary
rotation, place and scale, frames without camera or mask, depths with a scale and holes, masks that leak, points that
are wrong, keys that no one knows, a sequence without points or quality.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dipir import disk
from dipir.arrays import EnvMap, split_seed
from dipir.captures import co3d, co3d_pixels
from dipir.captures.point_cloud import write_points
from dipir.disk import write_text
from dipir.errors import ConfigError, nearest
from dipir.event import Event, Notify
from dipir.image.files import read_envmap, write_exr
from dipir.scene.camera import Camera
from dipir.workshop import shards
from dipir.workshop.captures.posed import Posed, PosedSettings, photograph, surface_points
from dipir.workshop.things.objects import KINDS
from dipir.workshop.worlds import panoramas

VERSION = 1
TRUTH = "truth"
SUBSETS = ("fewview_train", "fewview_dev")
_POINTS = 4000


@dataclass(frozen=True)
class Co3dSettings:
    """What a set in the format of CO3D holds."""

    categories: tuple[str, ...] = ("mug", "furniture", "rock")  # kinds of ``things.objects``
    sequences: int = 3  # of each
    posed: PosedSettings = PosedSettings()  # how they are photographed
    environments: tuple[str, ...] = ()  # HDR files of the light, in turn; none = procedural panoramas
    noise: float = 0.004  # of points, in sizes of the whole cloud
    wrong: float = 0.03  # share of points that are anywhere

    def __post_init__(self) -> None:
        for name in self.categories:
            if name not in KINDS:
                raise ConfigError(f"category '{name}' is unknown; there are {', '.join(KINDS)}."
                                  f"{nearest(name, KINDS)}")
        if not self.categories or self.sequences < 1 or self.posed.frames < 4:
            raise ConfigError("accepted are one category or more, one sequence or more of each, and 4 frames or more.")


@dataclass(frozen=True, eq=False)
class Similarity:
    """What lies between our world and the reconstruction's: x -> scale rotation x + shift."""

    rotation: np.ndarray
    shift: np.ndarray
    scale: float

    def points(self, x: np.ndarray) -> np.ndarray:
        """(N, 3) -> (N, 3)."""
        return self.scale * x @ self.rotation.T + self.shift

    def camera(self, camera: Camera) -> Camera:
        """The camera in the other world."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.rotation @ camera.to_world[:3, :3], self.points(camera.position[None])[0]
        return replace(camera, to_world=pose)


def default_dir() -> Path:
    """``co3d/vN`` in the cache folder."""
    return disk.cache_dir() / "co3d" / f"v{VERSION}"


def generate(out: Path | None = None, seed: int = 0, settings: Co3dSettings = Co3dSettings(), workers: int = 1,
             on_event: Notify = None) -> Path:
    """Make the set, or what is missing of it; the folder. ``truth/CATEGORY/SEQUENCE.json`` and ``.exr`` hold the light,
    the place of the object and the similarity of each sequence. ConfigError when the folder holds another set,
    RenderError when a worker fails."""
    shards.check_numbers("co3d", settings.sequences, workers)
    folder = out or default_dir()
    _check_set(folder, seed, settings)
    plan = [(category, k) for category in settings.categories for k in range(settings.sequences)]
    jobs = [(_truth(folder, c, sequence_name(c, k, seed)), range(n, n + 1)) for n, (c, k) in enumerate(plan)]
    missing = [(path, index) for path, index in jobs if not path.is_file()]
    done = len(jobs) - len(missing)
    for _ in shards.work(missing, workers, _make, (folder, plan, seed, settings)):
        done += 1
        if on_event is not None:
            on_event(Event("co3d", done, len(jobs)))
    for category in settings.categories:
        _annotate(folder, category, [_truth(folder, category, sequence_name(category, k, seed))
                                     for k in range(settings.sequences)])
    return folder


def sequence_name(category: str, number: int, seed: int) -> str:
    """As CO3D names them: three numbers."""
    a, b = np.random.default_rng(split_seed(seed, "name", category, number)).integers(1000, 99999, 2)
    return f"{100 + number}_{a}_{b}"


def _truth(folder: Path, category: str, name: str) -> Path:
    return folder / TRUTH / category / f"{name}.json"


def _check_set(folder: Path, seed: int, settings: Co3dSettings) -> None:
    about = json.dumps({"version": VERSION, "seed": seed, "settings": asdict(settings)}, sort_keys=True)
    path = folder / TRUTH / "set.json"
    if path.is_file():
        if path.read_text() != about:
            raise ConfigError(f"{folder}: holds another set; choose another --out, or delete it.")
    elif (folder / TRUTH).exists() or any((folder / c).exists() for c in settings.categories):
        raise ConfigError(f"{folder}: holds something else; choose an empty --out.")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, about)


# ---- one sequence ----------------------------------------------------------------------------------------------------

def _make(path: Path, indices: range, folder: Path, plan: Sequence[tuple[str, int]], seed: int,
          settings: Co3dSettings) -> None:
    """A worker's job: photographs and writes one sequence; ``path`` is written last."""
    (number,) = indices
    category, k = plan[number]
    rng = np.random.default_rng(split_seed(seed, "co3d", category, k))
    posed_settings = settings.posed
    if k % 3 == 1:
        posed_settings = replace(posed_settings, width=posed_settings.height, height=posed_settings.width)
    made = photograph(category, _radiance(settings, number, seed), split_seed(seed, "co3d shots", category, k),
                      posed_settings)
    world = _similarity(rng)
    name = sequence_name(category, k, seed)
    frames = _write_frames(folder, f"{category}/{name}", made, world, rng, co3d.FORMATS[k % 2])
    cloud = None
    if k % 4 != 3:
        cloud = f"{category}/{name}/pointcloud.ply"
        write_points(folder / cloud, *_points(made, world, rng, settings))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_exr(path.with_suffix(".exr"), {c: made.light[..., i].numpy() for i, c in enumerate("RGB")})
    thing = made.things[0]
    truth = {"category": category, "sequence": name, "points": cloud, "frames": frames,
             "object": {"kind": category, "height_m": float(thing.to_world[1, 1] * thing.asset.bounds[1, 1])},
             "similarity": {"rotation": world.rotation.tolist(), "shift": world.shift.tolist(), "scale": world.scale},
             "quality": None if k % 4 == 3 else {"points": round(float(rng.uniform(-1, 2)), 4),
                                                 "viewpoints": round(float(rng.uniform(0, 3)), 4)}}
    write_text(path, json.dumps(truth))


def _radiance(settings: Co3dSettings, number: int, seed: int) -> EnvMap:
    if not settings.environments:
        return panoramas.one(number, split_seed(seed, "co3d light"))[0]
    radiance = read_envmap(settings.environments[number % len(settings.environments)])
    height = min(radiance.shape[0], 512)
    resized = cv2.resize(radiance.numpy(), (2 * height, height), interpolation=cv2.INTER_AREA)
    turned = np.roll(resized, int(np.random.default_rng(split_seed(seed, "turn", number)).integers(2 * height)), 1)
    return radiance.new_tensor(turned)


def _similarity(rng: np.random.Generator) -> Similarity:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return Similarity(q if np.linalg.det(q) > 0 else -q, rng.normal(size=3) * 3, float(np.exp(rng.normal(0, 0.7))) * 8)


def _write_frames(folder: Path, place: str, made: Posed, world: Similarity, rng: np.random.Generator,
                  format: co3d.Format) -> list[dict[str, Any]]:
    """Images, masks and depths below ``place``, CATEGORY/SEQUENCE; the annotations as they will be packed."""
    name = place.rpartition("/")[2]
    depth_scale, records = float(rng.uniform(0.5, 3)), []
    for part in ("images", "masks", "depths", "depth_masks"):
        (folder / place / part).mkdir(parents=True, exist_ok=True)
    for k, shot in enumerate(made.shots, 1):
        stem = f"frame{k:06d}"
        note = co3d.FrameNote(name, k, f"{place}/images/{stem}.jpg", shot.mask.shape,
                              co3d.viewpoint_of(world.camera(shot.camera), format), f"{place}/masks/{stem}.png",
                              f"{place}/depths/{stem}.jpg.geometric.png", depth_scale,
                              f"{place}/depth_masks/{stem}.png", "known" if k % 5 else "unseen")
        co3d_pixels.write_photo(folder / note.image, shot.image)
        co3d_pixels.write_mask(folder / note.mask, _leaking(shot.mask, rng))
        known = (shot.depth > 0) & (rng.random(shot.depth.shape) > 0.1)
        depth = np.where(shot.depth > 0, shot.depth * world.scale / depth_scale, 0)
        co3d_pixels.write_depth(folder / note.depth, depth)
        co3d_pixels.write_mask(folder / note.depth_mask, known.astype(np.float32))
        if k % 7 == 0:
            note = replace(note, mask=None)
        if k % 11 == 0:
            note = replace(note, viewpoint=None)
        records.append({**co3d.frame_record(note), "our_own_key": {"nobody": ["knows", k]}})
    return records


def _leaking(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a segmentation network gives it: soft at the edges, here and there a bit too much or too little."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    blot = cv2.GaussianBlur(rng.normal(size=mask.shape).astype(np.float32), (0, 0), 6)
    return np.clip(soft + (soft > 0.02) * (soft < 0.98) * blot / max(float(blot.std()), 1e-6) * 0.15, 0, 1)


def _points(made: Posed, world: Similarity, rng: np.random.Generator,
            settings: Co3dSettings) -> tuple[np.ndarray, np.ndarray]:
    points, colours = surface_points(made.shots, _POINTS, rng)
    span = float(np.ptp(points, 0).max())
    points = points + rng.normal(size=points.shape) * settings.noise * span
    wrong = rng.random(len(points)) < settings.wrong
    points[wrong] = rng.uniform(-1, 1, (int(wrong.sum()), 3)) * span
    return world.points(points), colours


# ---- annotations -----------------------------------------------------------------------------------------------------

def _annotate(folder: Path, category: str, truths: Sequence[Path]) -> None:
    """The category's annotation files, set lists and eval batches."""
    made = [json.loads(path.read_text()) for path in truths]
    frames = [record for truth in made for record in truth["frames"]]
    sequences = [co3d.SequenceNote(t["sequence"], category, t["points"], t["quality"] or {}) for t in made]
    co3d.write_category(folder, category, frames, sequences, *_lists(made))


def _lists(made: Sequence[dict]) -> tuple[dict, dict]:
    """Set lists and eval batches: all but the last sequence are for training, every fifth frame is unseen."""
    lists: dict[str, dict[str, list]] = {s: {"train": [], "val": [], "test": []} for s in SUBSETS}
    batches: dict[str, list] = {s: [] for s in SUBSETS}
    for n, truth in enumerate(made):
        subset = SUBSETS[1] if n == len(made) - 1 else SUBSETS[0]
        rows = [[f["sequence_name"], f["frame_number"], f["image"]["path"]] for f in truth["frames"]]
        for f, row in zip(truth["frames"], rows, strict=True):
            unseen = f["meta"]["frame_type"] == "unseen"
            lists[subset]["val" if unseen else "train"].append(row)
            if unseen:
                lists[subset]["test"].append(row)
                batches[subset].append([row, *[r for r in rows if r != row][:3]])
    return lists, batches
