"""What the relighting benchmark compares: baselines, the truth, and the engines of ``dipir relight``, by name."""
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from benchmarks.relight.cases import Case, ramp
from dipir.errors import ConfigError, nearest
from dipir.image.editing import luminosity_bound
from dipir.priors.geometry import Geometry
from dipir.priors.relit.relighting import RelightingNet
from dipir.relight.config import RelightConfig, load_config
from dipir.relight.method import Engine, Picture, RelightRequest, find_engine, relight
from dipir.scene.direction import LightDirection

Method = Callable[[Case], Tensor]
ENGINES = {"layers": (), "layers-none": ("guidance.kind=none",), "layers-posterior": ("guidance.kind=posterior",),
           "layers-sds": ("guidance.kind=sds",), "net": ("engine=net",), "physics": ("guidance.kind=none",)}
"""Their settings, over those of ``configs/relight/default.yaml``."""
DEFAULT = ("layers", "net", "physics")
GUIDED = ("layers-none", "layers-posterior", "layers-sds")
"""What guides the layers, compared; two of them are fitted to every picture, which takes seconds."""
BARE = "physics"
"""The engine whose first guess no network corrects."""
RAMP = 0.1


def checked(names: Sequence[str]) -> list[str]:
    """``names`` without empty ones. ConfigError when one is no engine."""
    unknown = [name for name in names if name and name not in ENGINES]
    if unknown:
        raise ConfigError(f"method '{unknown[0]}' is unknown; there are {', '.join(ENGINES)}."
                          f"{nearest(unknown[0], ENGINES)}")
    return [name for name in names if name]


def engine_of(name: str, overrides: Sequence[str] = ()) -> tuple[RelightConfig, Engine]:
    """The settings of an engine, its own last, and its networks. PriorError when there are no weights."""
    config = load_config("default", (), [*overrides, *ENGINES[name]])
    engine = find_engine(config, RelightRequest(LightDirection(0, 0)))
    if name == BARE:
        # A network at its beginning corrects nothing.
        nets = copy.deepcopy(engine.geometry.nets)
        nets.relighting = RelightingNet(nets.config)
        engine = replace(engine, geometry=Geometry(nets))
    return config, engine


def weights_of(engine: Engine) -> str:
    """The checksums of its networks, so that a result says which ones it is about."""
    named = [engine.fingerprint] if engine.fingerprint else []
    return ", ".join([*named, *([engine.geometry.hash] if engine.geometry is not None else [])])


def methods(names: Sequence[str], overrides: Sequence[str] = ()) -> dict[str, Method]:
    """The baselines and the engines ``names``. Each takes a case and gives a picture (1, 3, H, W). ``exposure`` is told
    the target's mean: the best that one factor for the whole picture can do. ``bound`` is told the whole target."""
    def engine(name: str) -> Method:
        config, networks = engine_of(name, overrides)
        return lambda case: relight(Picture(case.image, name=case.name), RelightRequest(case.direction), config,
                                    engine=networks).image

    made: dict[str, Method] = {
        "identity": lambda case: case.image,
        "exposure": lambda case: (case.image * case.target.mean() / case.image.mean()).clamp(0, 1),
        "ramp": lambda case: ramp(case.image, case.direction, RAMP),
        "bound": lambda case: luminosity_bound(case.image, case.target), "truth": lambda case: case.target}
    return made | {name: engine(name) for name in checked(names)}
