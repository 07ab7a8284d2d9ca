"""Methods of the insertion benchmark: four baselines, the default, the files of ``configs/insert/ablation``, and the
default with other weights."""
from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import ROOT
from dipir.arrays import EnvMap
from dipir.errors import ConfigError, nearest
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.color import luminance
from dipir.image.tone import ToneCurve
from dipir.insert import method
from dipir.insert.config import InsertConfig, load_config
from dipir.insert.objective import final_light, final_tones
from dipir.insert.problem import Work, prepare
from dipir.priors.light import LightPrior
from dipir.priors.plate_light import ambient_light, light_of_plate
from dipir.priors.weights import PRIORS
from dipir.scene.light import SIGMA_MIN, SphericalGaussians, fit_gaussians
from dipir.scene.scene import Scene

ABLATION = ROOT / "configs" / "insert" / "ablation"
BASELINES = ("ambient", "projected", "oracle-sg", "truth")
PUBLISHED = ("lds", "sds-lora", "sds", "no-concepts", "no-tone", "single-map", "dataset-update")
"""Rows of DiPIR's own ablation."""
GROUPS = ("baselines", "ablation", "published", "all")
LIGHT_ROWS = 256
SUN_DEG, AROUND_DEG, SUN_SHARE, FAINTEST = 3.0, 6.0, 0.05, 0.01
"""The oracle's sun: how far it reaches from its middle, how far the ring goes that shows what is behind it, the least
part of all light that makes it one, and the part of its peak's radiance below which texels are glare around it."""


@dataclass(frozen=True)
class Estimate:
    """What a method believes."""

    light: EnvMap  # (H, W, 3) radiance, plate white = 1
    tones: tuple[ToneCurve, ToneCurve] | None = None  # (object's, shadow's) or None
    seconds: float = 0.0  # seconds, cpu_seconds: of the estimate, without the final render
    cpu_seconds: float = 0.0
    guesses: tuple[Tensor, ...] = ()
    """(3,) unit vectors, likeliest first: where it thinks that the dominant light may be."""


def names() -> list[str]:
    """Every method: baselines, ``default``, ablation."""
    return [*BASELINES, "default", *sorted(p.stem for p in ABLATION.glob("*.yaml"))]


def chosen(text: str) -> list[str]:
    """Method names of a comma-separated list that may hold groups, in the order of :func:`names` (``truth`` last).
    ConfigError for an unknown one."""
    words = [w.strip() for w in text.split(",") if w.strip()]
    every = names()
    ablation = every[len(BASELINES) + 1:]
    members = {"baselines": BASELINES, "ablation": [m for m in ablation if m not in PUBLISHED], "published": PUBLISHED,
               "all": every}
    unknown = [w for w in words if w not in every and w not in members]
    if unknown or not words:
        raise ConfigError(f"--methods: {', '.join(unknown) or 'nothing'} given; accepted are {', '.join(every)} and "
                          f"the groups {', '.join(GROUPS)}."
                          + (nearest(unknown[0], [*every, *GROUPS]) if unknown else ""))
    wanted = {m for w in words for m in members.get(w, (w,))}
    return [m for m in every if m in wanted and m != "truth"] + ["truth"] * ("truth" in wanted)


def given_weights(words: Sequence[str]) -> dict[str, Path]:
    """Method -> file of the light prior's weights, from ``NAME=FILE``. ConfigError for a name that is taken or a file
    that is not there."""
    files: dict[str, Path] = {}
    for word in words:
        name, _, file = word.partition("=")
        if not name or not file or name in (*names(), *GROUPS, *files) or not name.replace("-", "").isalnum():
            raise ConfigError(f"--weights {word}: accepted is NAME=FILE with a name (letters, numbers, -) that no "
                              f"other method has; taken are {', '.join((*names(), *files))}.")
        if not Path(file).is_file():
            raise ConfigError(f"--weights {word}: {file} is not there; give the .safetensors file of a light prior.")
        files[name] = Path(file).resolve()
    return files


def settings_of(name: str, seed: int, overrides: Sequence[str] = (),
                weights: Mapping[str, Path] = {}) -> InsertConfig | None:
    """The settings of one of our methods; None for a baseline. A method of other ``weights`` has those of the
    default."""
    if name in BASELINES:
        return None
    extra = [] if name == "default" or name in weights else [ABLATION / f"{name}.yaml"]
    return load_config("default", extra, [f"seed={seed}", *overrides])


def weights_digest(config: InsertConfig, light_prior: Path | None = None) -> str:
    """Hex hash of the weights that a method can read: those that ship, a file that ``config.prior`` names, and those of
    another light prior."""
    files = sorted(PRIORS.glob("*.safetensors"))
    if config.prior != "embedded":
        files += [Path(config.prior)] if Path(config.prior).is_file() else sorted(Path(config.prior).rglob("*.json"))
    digest = hashlib.sha256()
    for f in [*files, *([light_prior] if light_prior else [])]:
        digest.update(f.name.encode() + hashlib.sha256(f.read_bytes()).digest())
    return digest.hexdigest()


class Estimator:
    """Runs methods on one scene. Methods that begin with the same light share the recorded transport and the
    personalised weights; the time of those is counted for each of them.

    folder : an empty one, for the weights;  shared : what estimators under the same light need again
    """

    def __init__(self, scene: Scene, true: EnvMap, folder: Path, shared: dict | None = None) -> None:
        self.scene, self.true, self.folder = scene, true, folder
        self.shared = {} if shared is None else shared
        self._adapters: dict[tuple, tuple[float, float]] = {}
        self._works: dict[tuple, tuple[Work, float, float]] = {}

    def __call__(self, name: str, config: InsertConfig | None, weights: str | Path | None = None) -> Estimate:
        """The light that method ``name`` finds (with ``config``, if it is one of ours, and perhaps with a light prior
        of other ``weights``)."""
        baselines: dict[str, Callable[[], EnvMap]] = {
            "ambient": lambda: ambient_light(self.scene),
            "projected": lambda: light_of_plate(self.scene, "mirrored").start,
            "truth": lambda: self.true}
        clock = _Clock()
        if name == "oracle-sg":
            return self._oracle(clock)
        if config is None:
            return Estimate(baselines[name](), None, *clock.read())
        return self._ours(config, weights, clock)

    def _oracle(self, clock: _Clock) -> Estimate:
        """The fitted truth, once for all meshes under the same light; its time counts for each of them."""
        key = hashlib.sha256(self.true.contiguous().numpy().tobytes()).hexdigest()
        if key not in self.shared:
            light = oracle(self.true, InsertConfig().light.lobes).envmap(LIGHT_ROWS, 2 * LIGHT_ROWS)
            self.shared.clear()
            self.shared[key] = Estimate(light, None, *clock.read())
        return self.shared[key]

    def _ours(self, config: InsertConfig, weights: str | Path | None, clock: _Clock) -> Estimate:
        """With the (wall, CPU) time of what an earlier method made and this one used again."""
        denoiser = method.find_prior(config.prior, config)
        prior = LightPrior.load(weights) if config.light.start == "prior" else None
        work, recording = self._work(config, denoiser.working_size or config.guidance.size, prior, weights)
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
        light = final_light(parameters, config).envmap(LIGHT_ROWS, 2 * LIGHT_ROWS)
        seconds, cpu = (own + a + b for own, a, b in zip(clock.read(), recording, adapter, strict=True))
        return Estimate(light, final_tones(parameters), seconds, cpu,
                        tuple(g.direction for g in work.light.guesses) if prior else ())

    def _work(self, config: InsertConfig, size: int, prior: LightPrior | None,
              weights: str | Path | None) -> tuple[Work, tuple[float, float]]:
        if {"material", "emission"} & set(config.optimize):
            # The tracer of fitted materials belongs to one fit.
            return prepare(self.scene, config, size, prior), (0.0, 0.0)
        # Of the settings of the light those of the fit alone do not matter here, but are cheap to tell apart.
        key = (size, config.transport, config.light, str(weights))
        if key not in self._works:
            clock = _Clock()
            self._works[key] = prepare(self.scene, config, size, prior), *clock.read()
            return self._works[key][0], (0.0, 0.0)
        work, *recording = self._works[key]
        return work, tuple(recording)


def oracle(true: EnvMap, lobes: int) -> SphericalGaussians:
    """The true map (H, W, 3) as our representation can hold it: a sun or one strong lamp, if there is one, as a lobe
    with its energy, direction and size; ``lobes`` spherical Gaussians for the rest, fitted at 32 x 64."""
    sun, rest = sun_and_rest(true)
    fitted = fit_gaussians(latlong.resize(rest, 32, 64), lobes)
    if sun is None:
        return fitted
    parts = (torch.cat(pair) for pair in zip(fitted.parameters().values(), sun.parameters().values(), strict=True))
    return SphericalGaussians(*parts)


def sun_and_rest(true: EnvMap) -> tuple[SphericalGaussians | None, EnvMap]:
    """(one lobe, the map without it), or (None, the map itself) where what is concentrated around the brightest texel
    is less than SUN_SHARE of all light. Behind a sun is the median of the ring around it."""
    height, width = true.shape[:2]
    level, rays = luminance(true.permute(2, 0, 1)[None])[0, 0], latlong.directions(height, width)
    omega = latlong.solid_angles(height, width).expand(height, width)[..., None]
    cosine = rays @ rays.reshape(-1, 3)[int(level.argmax())]
    inside = (cosine >= math.cos(math.radians(SUN_DEG)))[..., None]
    ring = ~inside[..., 0] & (cosine > math.cos(math.radians(AROUND_DEG)))
    behind = true[ring].median(0).values
    excess = (true - behind).clamp_min(0) * inside * omega
    energy = excess.sum((0, 1))
    if float(luminance(energy.reshape(1, 3, 1, 1))) < SUN_SHARE * float((level[..., None] * omega).sum()):
        return None, true
    # ---- direction and size, without the glare ----
    weight = (excess.mean(-1) * (level > FAINTEST * level.max())).double()
    middle = torch.nn.functional.normalize((weight[..., None] * rays).sum((0, 1)), dim=0)
    # 1 - cos t of a narrow lobe has the mean sigma^2; a texel's own size, which the map adds, is taken out.
    spread = float((weight * (1 - rays.double() @ middle)).sum() / weight.sum())
    sigma, middle = math.sqrt(max(spread - (math.pi / height) ** 2 / 12, SIGMA_MIN**2)), middle.to(true)
    amplitude = energy / (2 * math.pi * sigma**2 * -math.expm1(-2 / sigma**2))
    return (SphericalGaussians.of(middle[None], amplitude[None], torch.tensor([sigma])),
            torch.where(inside, torch.minimum(true, behind.expand_as(true)), true))


class _Clock:
    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, CPU) seconds since it was made."""
        return time.monotonic() - self._wall, time.process_time() - self._cpu
