"""Methods of the insertion benchmark: four baselines, the default, and the files of ``configs/insert/ablation``."""
from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.common import ROOT
from dipir.arrays import EnvMap
from dipir.errors import ConfigError, nearest
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.tone import ToneCurve
from dipir.insert import method
from dipir.insert.config import InsertConfig, load_config
from dipir.insert.objective import final_light, final_tones
from dipir.insert.problem import Work, prepare
from dipir.priors.light import LightPrior
from dipir.priors.plate_light import ambient_light, light_of_plate
from dipir.priors.weights import PRIORS
from dipir.render.transport import TransportSettings
from dipir.scene.light import fit_gaussians
from dipir.scene.scene import Scene

ABLATION = ROOT / "configs" / "insert" / "ablation"
BASELINES = ("ambient", "projected", "oracle-sg", "truth")
GROUPS = ("baselines", "ablation", "all")
LIGHT_ROWS = 256


@dataclass(frozen=True)
class Estimate:
    """What a method believes."""

    light: EnvMap  # (H, W, 3) radiance, plate white = 1
    tones: tuple[ToneCurve, ToneCurve] | None = None  # (object's, shadow's) or None
    seconds: float = 0.0  # seconds, cpu_seconds: of the estimate, without the final render
    cpu_seconds: float = 0.0


def names() -> list[str]:
    """Every method: baselines, ``default``, ablation."""
    return [*BASELINES, "default", *sorted(p.stem for p in ABLATION.glob("*.yaml"))]


def chosen(text: str) -> list[str]:
    """Method names of a comma-separated list that may hold groups, in the order of :func:`names` (``truth`` last).
    ConfigError for an unknown one."""
    words = [w.strip() for w in text.split(",") if w.strip()]
    every = names()
    members = {"baselines": BASELINES, "ablation": every[len(BASELINES) + 1:], "all": every}
    unknown = [w for w in words if w not in every and w not in members]
    if unknown or not words:
        raise ConfigError(f"--methods: {', '.join(unknown) or 'nothing'} given; accepted are {', '.join(every)} and "
                          f"the groups {', '.join(GROUPS)}."
                          + (nearest(unknown[0], [*every, *GROUPS]) if unknown else ""))
    wanted = {m for w in words for m in members.get(w, (w,))}
    return [m for m in every if m in wanted and m != "truth"] + ["truth"] * ("truth" in wanted)


def settings_of(name: str, seed: int, overrides: Sequence[str] = ()) -> InsertConfig | None:
    """The settings of one of our methods; None for a baseline."""
    if name in BASELINES:
        return None
    extra = [] if name == "default" else [ABLATION / f"{name}.yaml"]
    return load_config("default", extra, [f"seed={seed}", *overrides])


def weights_digest(config: InsertConfig) -> str:
    """Hex hash of the weights that a method can read: those that ship, and a file that ``config.prior`` names."""
    files = sorted(PRIORS.glob("*.safetensors"))
    if config.prior != "embedded":
        files += [Path(config.prior)] if Path(config.prior).is_file() else sorted(Path(config.prior).rglob("*.json"))
    digest = hashlib.sha256()
    for f in files:
        digest.update(f.name.encode() + hashlib.sha256(f.read_bytes()).digest())
    return digest.hexdigest()


class Estimator:
    """Runs methods on one scene. Methods with equal settings share the recorded transport and the personalised weights;
    the time of those is counted for each of them.

    folder : an empty one, for the weights
    """

    def __init__(self, scene: Scene, true: EnvMap, folder: Path) -> None:
        self.scene, self.true, self.folder = scene, true, folder
        self._adapters: dict[tuple, tuple[float, float]] = {}
        self._works: dict[tuple[int, TransportSettings], tuple[Work, float, float]] = {}
        self._light_prior: LightPrior | None = None

    def __call__(self, name: str, config: InsertConfig | None) -> Estimate:
        """The light that method ``name`` finds (with ``config``, if it is one of ours)."""
        baselines: dict[str, Callable[[], EnvMap]] = {
            "ambient": lambda: ambient_light(self.scene),
            "projected": lambda: light_of_plate(self.scene, "mirrored").start,
            "oracle-sg": lambda: _gaussians(self.true), "truth": lambda: self.true}
        clock = _Clock()
        if config is None:
            return Estimate(baselines[name](), None, *clock.read())
        light, tones, shared = self._ours(config)
        seconds, cpu = clock.read()
        return Estimate(light, tones, seconds + shared[0], cpu + shared[1])

    def _ours(self, config: InsertConfig) -> tuple[EnvMap, tuple[ToneCurve, ToneCurve], tuple[float, float]]:
        """Light, tones, and the (wall, CPU) time of what an earlier method made and this one used again."""
        denoiser = method.find_prior(config.prior, config)
        if config.light.start == "prior" and self._light_prior is None:
            self._light_prior = LightPrior.load()
        work, recording = self._work(config, denoiser.working_size or config.guidance.size)
        clocks: list[_Clock] = []
        trained: list[tuple[float, float]] = []

        def watch(event: Event) -> None:
            if event.stage == "personalise":
                clocks.append(_Clock())
                if event.step == event.steps:
                    trained.append(clocks[0].read())

        start = fit_gaussians(work.start, config.light.lobes)
        parameters, _ = method.fit(self.scene, work, start, config, denoiser, on_event=watch, out=self.folder,
                                   resume=False)
        adapter = (0.0, 0.0)
        if config.guidance.personalise and config.guidance.kind != "none":
            key = (config.personalise, config.guidance.concepts, config.guidance.sampled_concepts, config.light.start)
            if trained:
                self._adapters[key] = trained[0]
            else:
                adapter = self._adapters.get(key, adapter)
        light = final_light(parameters, config).detach().envmap(LIGHT_ROWS, 2 * LIGHT_ROWS)
        return light, final_tones(parameters), (recording[0] + adapter[0], recording[1] + adapter[1])

    def _work(self, config: InsertConfig, size: int) -> tuple[Work, tuple[float, float]]:
        key, light_prior = (size, config.transport), self._light_prior if config.light.start == "prior" else None
        if {"material", "emission"} & set(config.optimize):
            # The tracer of fitted materials belongs to one fit.
            return prepare(self.scene, config, size, light_prior), (0.0, 0.0)
        if key not in self._works:
            clock = _Clock()
            self._works[key] = prepare(self.scene, config, size, light_prior), *clock.read()
            return self._works[key][0], (0.0, 0.0)
        work, *recording = self._works[key]
        light = light_of_plate(self.scene, config.light.start, config.light.guess, light_prior)
        return replace(work, light=light), tuple(recording)


def _gaussians(true: EnvMap) -> EnvMap:
    """The true map as our representation can hold it."""
    fitted = fit_gaussians(latlong.resize(true, 32, 64), InsertConfig().light.lobes)
    return fitted.envmap(LIGHT_ROWS, 2 * LIGHT_ROWS)


class _Clock:
    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, CPU) seconds since it was made."""
        return time.monotonic() - self._wall, time.process_time() - self._cpu
