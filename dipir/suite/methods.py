"""Methods that suites can name."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dipir.errors import ConfigError
from dipir.event import Event
from dipir.insert.config import InsertConfig, load_config
from dipir.suite.file import JobSpec


def check(jobs: Sequence[JobSpec]) -> None:
    """ConfigError for settings of ``insert`` that are wrong whatever the scene, before work starts."""
    fine: set[str] = set()
    for job in jobs:
        key = repr(sorted(job.settings.items()))
        if job.method != "insert" or key in fine:
            continue
        try:
            _config(job)
        except ConfigError as problem:
            raise ConfigError(f"job {job.name}: {problem}") from problem
        fine.add(key)


def _config(spec: JobSpec) -> InsertConfig:
    settings = dict(spec.settings)
    return load_config(str(settings.pop("preset", "default")), [],
                       [f"seed={spec.seed}", *(f"{k}={v}" for k, v in settings.items())])


def insert(spec: JobSpec, folder: Path, on_event: Callable[[Event], None]) -> dict[str, float]:
    """``dipir insert`` of a scene file; the setting ``preset`` chooses the preset, others go on top. Figures: the terms
    that the fit ended with, the dominant light's azimuth and elevation, degrees, and its distance from the true one
    (``light_deg``) where the scene file names that."""
    from dipir.image.files import read_envmap
    from dipir.image.metrics import direction_error_deg
    from dipir.insert import method
    from dipir.insert.result import save
    from dipir.scene.light import azimuth_elevation_deg, dominant_direction
    from dipir.scene.scene_file import build_scene, load_scene_file

    config, file = _config(spec), load_scene_file(spec.scene)
    scene = build_scene(file, spec.scene)
    prior, light_prior = method.ready(config)
    result = method.insert(scene, config, prior=prior, light_prior=light_prior, on_event=on_event, out=folder,
                           resume=True)
    save(result, folder)
    found = dominant_direction(result.light.envmap(64, 128))
    azimuth, elevation = azimuth_elevation_deg(found)
    last = result.history[-1] if result.history else {}
    figures = {k: float(v) for k, v in last.items() if isinstance(v, (int, float)) and k not in ("step", "rate")}
    figures |= {"azimuth_deg": azimuth, "elevation_deg": elevation}
    if file.light is not None:
        figures["light_deg"] = float(direction_error_deg(found, dominant_direction(read_envmap(file.light))))
    return figures
