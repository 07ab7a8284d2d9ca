"""What a plate says about the light that falls into it: the light prior's estimate, the plate itself on the sphere, its
mean colour; and whether that is a sun and the rest, or soft light alone."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap, Image
from dipir.image import latlong
from dipir.priors.light import Hypothesis, LightPrior, Look
from dipir.priors.light_input import features
from dipir.priors.plate_shadows import SURE, ground_shadows
from dipir.scene.framing import as_directions
from dipir.scene.light import azimuth_elevation_deg
from dipir.scene.proxy import ray_mesh
from dipir.scene.scene import Scene
from dipir.scene.source import SUN_SIGMA, Source

Start = Literal["prior", "mirrored", "ambient"]
LIKELY = 0.5
"""Chance of a hard light from which on the light commits to it."""
SUN_UP_TO = 0.015
"""Sources that seem no wider are the sun: texels and glare make it as wide in maps that widths are learned from."""


@dataclass(frozen=True)
class Shade:
    """How dark the plate's own cast shadows are."""

    ratio: float
    """Luminance of shaded over that of sunlit ground, in (0, 1]."""
    rest_share: float
    """What open ground keeps of its light without the source, in (0, 1]: more than ``ratio``, because a thing that
    throws a shadow hides a part of the sky as well."""
    sure: float
    """Chance that these are cast shadows, in [0, 1]."""

    @staticmethod
    def of(scene: Scene) -> Shade:
        """Measured on the scene's plate."""
        seen = ground_shadows(scene)
        return Shade(seen.level, seen.rest_share, seen.sure)

    @property
    def believed(self) -> bool:
        """Whether it is taken for a shadow."""
        return self.sure >= SURE

    @property
    def share(self) -> float:
        """The source's part of the light on open ground, in [0.02, 0.98]."""
        return min(max(1 - self.rest_share, 0.02), 0.98)


@dataclass(frozen=True)
class PlateLight:
    """Light of one plate, radiance with plate white = 1."""

    start: EnvMap
    """(16, 32, 3), all of it: what a fit begins with."""
    mirrored: EnvMap
    """(16, 32, 3), the plate projected on the sphere, mirrored and filled."""
    guesses: tuple[Hypothesis, ...] = ()
    """Where the light prior thinks that the dominant light may be, likeliest first."""
    sources: tuple[Source, ...] = ()
    """The light of each guess with its own strength."""
    source: Source | None = None
    """The one that the light committed to, None = the light is soft."""
    chosen: int = 0
    """Its index among the guesses."""
    hard: float | None = None
    """Chance that direct light of one source reaches the place; None where the light prior was not asked."""
    shade: Shade | None = None
    """Of the plate's own shadows, where they set the source's strength."""
    up: Tensor | None = None
    """(3,) unit normal of the ground where the objects stand, None = level."""
    around: EnvMap | None = None
    """(16, 32, 3), what is beside the dominant light; None = not known."""
    looked: EnvMap | None = None
    """(16, 32, 3), ``around`` before the plate's own shadows were believed; None = the same."""
    told: str = ""
    """Of a light that was given, not estimated: what it is."""

    @property
    def rest(self) -> EnvMap:
        """(16, 32, 3) all but the source: where the spherical Gaussians begin."""
        return self.start if self.source is None else self.around

    @property
    def share(self) -> float:
        """The source's part of the luminance that the ground receives, 0 without one."""
        return 0.0 if self.source is None else self.source.ground_share(self.rest, self.up)

    def envmap(self, height: int) -> EnvMap:
        """(height, 2 height, 3) with the source as sharp as that many rows can hold; ``height`` a multiple of 16."""
        times = height // len(self.rest)
        whole = self.rest.repeat_interleave(times, 0).repeat_interleave(times, 1)
        return whole if self.source is None else whole + self.source.lobe().envmap(height, 2 * height)

    def describe(self) -> str:
        """What was decided, in one line for people; empty where there was nothing to decide."""
        if self.hard is None:
            return f"light: as given: {self.told}" if self.told else ""
        if self.source is None:
            return f"light: soft, no single source (chance of one {self.hard:.2f}); --guess 1, 2, 3 for one"
        others = [str(n + 1) for n in range(len(self.guesses)) if n != self.chosen]
        found = f" (chance {self.guesses[self.chosen].chance:.2f})" if self.guesses else ""
        measured = f" by the plate's own shadows (ratio {self.shade.ratio:.2f})" if self.shade else ""
        more = f"; --guess {', '.join(others)} for others" if others else ""
        share = f", {100 * self.share:.0f} % of the ground's light"
        return f"light: {self.source.describe()}{found}{share}{measured}{more}"

    def to_dict(self) -> dict:
        """For a result."""
        told = {"decided": self.describe(), "committed": self.source is not None, "hard": self.hard}
        if self.source is not None:
            azimuth, elevation = azimuth_elevation_deg(self.source.direction.cpu())
            told |= {"guess": self.chosen + 1, "azimuth_deg": round(azimuth, 1), "elevation_deg": round(elevation, 1),
                     "sigma": self.source.sigma, "share": round(self.share, 4),
                     "plate_shadow_ratio": None if self.shade is None else round(self.shade.ratio, 4)}
        return told

    def guesses_to_dict(self) -> list[dict[str, float]]:
        """The guesses for a result, each with the share of the ground's light that its source would have."""
        if self.around is None:
            return [guess.to_dict() for guess in self.guesses]
        shares = [self.shade.share if self.shade else s.ground_share(self.around, self.up) for s in self.sources]
        return [{**g.to_dict(), "share": round(s, 3)} for g, s in zip(self.guesses, shares, strict=True)]


def light_of_plate(scene: Scene, start: Start, guess: int = 0, light_prior: LightPrior | None = None, *,
                   commit: bool = False, shade: Callable[[], Shade] | None = None) -> PlateLight:
    """By the light prior, the mirrored plate or the mean colour.

    guess : 0 = decide, 1, 2, 3 = choose the light prior's first, second, third guess at the dominant light
    commit : put the dominant light into one source when it is likelier hard than not, or when a guess was chosen; else
    it is spread over the directions that it may come from, or over the texels of the chosen one
    shade : measures the plate's own shadows; asked only then, and believed when it is sure
    Raises PriorError when the weights that ship are wanted and cannot be used.
    """
    plate, directions = small_plate(scene)
    mirrored = features(plate, directions[None]).base[0].permute(1, 2, 0)
    if start == "prior":
        light_prior = light_prior or LightPrior.load()
    look = light_prior.look(plate, directions, towards_place(scene)) if light_prior else None
    if start == "prior":
        return decided(look, mirrored, guess, commit=commit, shade=shade, up=ground_normal(scene))
    return PlateLight(mirrored if start == "mirrored" else ambient_light(scene), mirrored,
                      look.guesses if look else (), tuple(s.to(mirrored) for s in look.sources) if look else ())


def decided(look: Look, mirrored: EnvMap, guess: int = 0, *, commit: bool = True,
            shade: Callable[[], Shade] | None = None, up: Tensor | None = None) -> PlateLight:
    """The light of a plate from a look at it (arguments as of :func:`light_of_plate`, ``up`` as of
    :class:`PlateLight`). Shadows that the plate surely shows are evidence of a hard light beside the look's own."""
    sources = tuple(replace(s, sigma=SUN_SIGMA) if s.sigma <= SUN_UP_TO else s for s in look.sources)
    sources = tuple(source.to(mirrored) for source in sources)
    soft = PlateLight(look.soft, mirrored, look.guesses, sources, hard=look.hard, up=up, around=look.rest)
    if not (commit and sources):
        return replace(soft, start=look.envmap(guess)) if guess else soft
    seen = shade() if shade else None
    seen = seen if seen is not None and seen.believed else None
    hard = look.hard if seen is None else _both_say(look.hard, seen.sure)
    if not guess and hard < LIKELY:
        return replace(soft, hard=hard)
    chosen = min(max(guess, 1), len(sources)) - 1
    return committed(replace(soft, hard=hard), chosen, seen)


def _both_say(one: float, other: float) -> float:
    """Chance of what two witnesses hold for likely, their odds multiplied."""
    yes, no = one * other, (1 - one) * (1 - other)
    return yes / max(yes + no, 1e-12)


def committed(soft: PlateLight, chosen: int, shade: Shade | None = None) -> PlateLight:
    """The light around and the source of guess number ``chosen`` (from 0), as strong as it is by itself or as the
    plate's own shadows say; then the ground as a whole stays as bright as it was. What ``soft`` was committed to before
    does not count."""
    looked = soft.around if soft.looked is None else soft.looked
    source, rest = soft.sources[chosen], looked
    if shade is not None:
        source, rest = source.shared_out(rest, shade.share, soft.up)
    whole = rest + source.lobe().envmap(*rest.shape[:2])
    return replace(soft, start=whole, around=rest, source=source, chosen=chosen, shade=shade,
                   looked=looked)


def towards_place(scene: Scene) -> Tensor | None:
    """(3,) unit direction from the camera to the ground where the first object stands; None without objects."""
    if not scene.objects:
        return None
    foot = scene.objects[0].to_world[:3, 3].copy()
    foot[1] = min(float(part.vertices[:, 1].min()) for part in scene.objects[0].parts)
    away = torch.from_numpy(foot - scene.camera.position).to(scene.plate.lin)
    return away / away.norm().clamp_min(1e-6)


def ground_normal(scene: Scene) -> Tensor | None:
    """(3,) unit normal of the proxy under the first object; None = level: the plane, or no mesh below it."""
    mesh = scene.proxy.mesh
    if mesh is None or not scene.objects:
        return None
    points = np.concatenate([part.vertices for part in scene.objects[0].parts]).astype(float)
    low, high = points.min(0), points.max(0)
    _, face = ray_mesh(np.array([(low[0] + high[0]) / 2, high[1], (low[2] + high[2]) / 2]), np.array([0.0, -1.0, 0.0]),
                       mesh.vertices, mesh.faces)
    if face < 0:
        return None
    a, b, c = mesh.vertices[mesh.faces[face].astype(np.int64)].astype(float)
    normal = np.cross(b - a, c - a)
    normal = normal / max(np.linalg.norm(normal), 1e-12) * (1 if normal[1] >= 0 else -1)
    return torch.from_numpy(normal).to(scene.plate.lin)


def small_plate(scene: Scene, longest: int = 768) -> tuple[Image, Tensor]:
    """(plate display, pixel directions) at a size that is enough for estimating light."""
    width, height = scene.plate.size
    factor = min(1.0, longest / max(width, height))
    w, h = max(8, round(width * factor)), max(8, round(height * factor))
    plate = functional.interpolate(scene.plate.disp, (h, w), mode="bilinear", antialias=True)
    return plate, as_directions(scene.camera.resized(w, h), plate.device)


def ambient_light(scene: Scene) -> EnvMap:
    """(16, 32, 3): the plate's mean linear colour from everywhere."""
    return scene.plate.lin.mean((0, 2, 3)).expand(16, 32, 3).clone()


def with_plate(light: EnvMap, scene: Scene) -> EnvMap:
    """The map with the plate's own pixels where it shows something, fading out over a twentieth of the plate to its
    edges: what glass refracts. Where the plate is clipped the light stays at least as it was."""
    height, width = light.shape[:2]
    camera = scene.camera
    points = camera.position + latlong.directions(height, width).double().numpy()
    uv, depth = (torch.from_numpy(v).to(light) for v in camera.project(points))
    x, y = uv[..., 0] / camera.width, uv[..., 1] / camera.height
    edge = torch.stack([x, 1 - x, y, 1 - y]).amin(0)
    weight = ((edge / 0.05).clamp(0, 1) * (depth > 1e-3))[..., None]
    grid = torch.stack([2 * x - 1, 2 * y - 1], -1)[None]
    seen = functional.grid_sample(scene.plate.lin, grid, align_corners=False)[0].permute(1, 2, 0)
    clipped = (seen.amax(-1, keepdim=True) >= 0.98).float()
    return light + weight * (torch.lerp(seen, torch.maximum(seen, light), clipped) - light)
