"""The light prior: one plate -> the light that falls into it, by a small directly trained network.

It works where its plates are: directions must be there too, the network is brought there, and what it says comes out
there; guesses and sources are on the CPU.
"""
from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Directions, EnvMap, Image
from dipir.errors import PriorError
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.priors.light_input import DETAILED, FLOOR, Features, facing, features, turn_to_front, windows
from dipir.priors.nets.light_unet import LightEstimate, LightUNet, LightUNetConfig
from dipir.priors.weights import PRIORS, read_weights, write_weights
from dipir.scene.light import azimuth_elevation_deg
from dipir.scene.source import SUN_SIGMA, Source, ground_irradiance

DEFAULT_PATH = PRIORS / "light.safetensors"
ARCHITECTURE = "dipir.light_unet.3"
SETTINGS = ("sharpness", "trust", "lean")


@dataclass(frozen=True)
class Hypothesis:
    """One guess at the dominant light."""

    direction: Tensor
    """(3,) unit vector, world, on the CPU."""
    chance: float
    """Probability in [0, 1] that it comes from within 30 degrees of that."""

    def to_dict(self) -> dict[str, float]:
        """For a result: azimuth and elevation in degrees, chance."""
        azimuth, elevation = azimuth_elevation_deg(self.direction)
        return {"azimuth_deg": round(azimuth, 1), "elevation_deg": round(elevation, 1),
                "chance": round(self.chance, 3)}


@dataclass(frozen=True)
class Look:
    """What one look at a plate says about the light that falls into it, in the frame of the directions given."""

    soft: EnvMap
    """(16, 32, 3) everything, the dominant light where it is likely: what to take when there is no hard light."""
    rest: EnvMap
    """(16, 32, 3) without the dominant light."""
    hard: float
    """Chance that direct light of one source reaches the place."""
    guesses: tuple[Hypothesis, ...]
    """Where the dominant light may be, likeliest first."""
    sources: tuple[Source, ...]
    """The dominant light of each guess, with its own strength."""

    def committed(self, guess: int = 0) -> tuple[EnvMap, Source | None]:
        """(map, source) to light the place with: the source of ``guess`` 1, 2, 3 beside the rest; for guess 0 that of
        the first when hard light is likelier than not, else no source and everything in the map."""
        if guess or self.hard >= 0.5:
            return self.rest, self.sources[min(guess or 1, len(self.sources)) - 1]
        return self.soft, None

    def envmap(self, guess: int = 0) -> EnvMap:
        """(16, 32, 3) :meth:`committed` as one map, the source in the texels that its lobe touches."""
        level, source = self.committed(guess)
        return level if source is None else level + source.lobe().envmap(*level.shape[:2]).to(level)


_LOG_RANGE = -9.0, 9.0
CONE_DEG, MODE_DEG = 30.0, 13.0
"""How near counts as the same direction, for the chance of a hypothesis; others are at least twice as far away. Over
what a mode's middle is found between the texels."""
_AGREE = 0.7
"""Power of what a part of a plate says of the direction that is quite sure to see hard light."""
_VOICES = 2.0
"""Largest sum of these powers: parts of one plate do not err independently of each other."""
_TOTAL = 0.6
"""Power of what the energy adds to what the ground receives in all."""
_LOWEST = 0.12
"""Sine of the elevation below which a source's strength is no longer told by its share of the ground's light."""


@functools.lru_cache(maxsize=8)
def _sphere(height: int, width: int, where: torch.device) -> tuple[Directions, Tensor]:
    """Directions (H, W, 3) and solid angles of the texels of a map; kept, because they are asked for often."""
    return latlong.directions(height, width, device=where), latlong.solid_angles(height, width, device=where)


@functools.lru_cache(maxsize=2)
def _neighbours(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which texels lie within CONE_DEG, and within MODE_DEG, of each other."""
    rays = latlong.directions(height, width, device=torch.device("cpu")).reshape(-1, 3)
    cosine = rays @ rays.T
    near, close = ((cosine > math.cos(math.radians(d))).float() for d in (CONE_DEG, MODE_DEG))
    return near, close


def hypotheses(chance: Tensor, count: int = 3) -> list[Hypothesis]:
    """The directions around which a distribution over directions (H, W) gathers, likeliest first: the cone that holds
    most of it, then the best one that does not overlap. Of each the middle of what lies around its highest density."""
    # Small, and one decision after the other: on the CPU.
    chance = chance.cpu()
    rays = _sphere(*chance.shape, chance.device)[0].reshape(-1, 3)
    mass = chance.flatten() / chance.sum()
    near, close = _neighbours(*chance.shape)
    held, dense, found = near @ mass, close @ mass, []
    allowed = torch.ones_like(mass, dtype=torch.bool)
    for _ in range(count):
        best = int(torch.where(allowed, held, -1.0).argmax())
        mode = int((near[best] * dense).argmax())
        middle = functional.normalize(((close[mode] * mass)[:, None] * rays).sum(0), dim=0)
        found.append(Hypothesis(middle, float(held[best])))
        allowed &= rays @ rays[best] < math.cos(math.radians(2 * CONE_DEG))
        if not bool(allowed.any()):
            break
    return found


@dataclass(frozen=True)
class _Said:
    """The network's answer, means over plate and mirror image, plate's middle at +Z; a row for each plate."""

    rest: Tensor  # (B, 16, 32, 3) radiance
    energy: Tensor  # (B, 3) mean radiance of the dominant light
    chance: Tensor  # (B, 16, 32) distribution over its direction
    hard: Tensor  # (B,) logit
    share: Tensor  # (B,) logit
    width: Tensor  # (B,) sigma


class LightPrior:
    """Estimates the light of a plate. Make one by :meth:`load`; ``hash`` names the weights in a result. Kept with the
    weights: ``sharpness``, the exponent on the chance of each direction of the dominant light in a soft map; ``trust``,
    the factor on the chances of guesses that makes them true on average; ``lean``, what is added to the logit of hard
    light for the same reason."""

    def __init__(self, net: LightUNet, hash: str = "untrained", sharpness: float = 1.0, trust: float = 1.0,
                 lean: float = 0.0) -> None:
        self.net = net.eval().requires_grad_(False)
        self.hash = hash
        self.sharpness, self.trust, self.lean = sharpness, trust, lean

    @staticmethod
    def load(path: str | Path | None = None) -> LightPrior:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when missing, truncated,
        damaged or of another architecture."""
        path = Path(path or DEFAULT_PATH)
        state, meta = read_weights(path, ARCHITECTURE, "dipir prior train light")
        try:
            net = LightUNet(_config(json.loads(meta["config"])))
            net.load_state_dict(state)
            settings = {key: float(meta[key]) for key in SETTINGS if key in meta}
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise PriorError(f"{path}: weights and configuration do not fit together; use the unchanged file "
                             "or remake it with `dipir prior train light`.") from error
        return LightPrior(net, meta["hash"], **settings)

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Writes the weights as float16 with configuration and checksum, atomically; returns the checksum."""
        notes = {**(notes or {}), **{key: str(getattr(self, key)) for key in SETTINGS}}
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, json.dumps(asdict(self.net.config)), notes)

    def look(self, plate_disp: Image, directions: Directions, place: Tensor | None = None) -> Look:
        """What one plate says about the light that falls into it.

        plate_disp : (1, 3, H, W) sRGB display [0, 1];  directions : (H, W, 3) world direction of every pixel
        (``Camera.directions()``), +Y up, any azimuth;  place : (3,) direction in which the ground is that something
        shall stand on, by default in the middle, three quarters down.  Radiance is linear BT.709, plate white = 1. The
        mean of what is said of the plate and of its mirror image. PriorError when the shapes do not agree.
        """
        return self.look_together([plate_disp], [directions], places=[place], agree=1.0)

    def look_together(self, plates: Sequence[Image], directions: Sequence[Directions], agree: float = 0.5,
                      votes: Tensor | None = None, places: Sequence[Tensor | None] | None = None) -> Look:
        """The same for plates of one place taken in one light and with one exposure, arguments as of :meth:`look`.

        Means of what is smooth, of the dominant light's energy, of logits. Distributions over its direction are
        multiplied, as those of witnesses, each to the power ``agree`` (1 = they err independently of each other;
        1 / their number = they say the same thing); ``votes``, (16, 32) logarithms, are one more witness. PriorError
        when there is nothing, or shapes do not agree.
        """
        if not plates or len(plates) != len(directions):
            raise PriorError(f"{len(plates)} plates with {len(directions)} directions; accepted: as many, 1 or more")
        heard = []
        for plate, rays, place in zip(plates, directions, places or [None] * len(plates), strict=True):
            heard.append(self._heard(plate, rays, place))
        voices = agree * torch.cat([h.chance for h in heard]).clamp_min(1e-9).log().sum(0)
        if votes is not None:
            if votes.shape != voices.shape:
                raise PriorError(f"votes {tuple(votes.shape)}; accepted are {tuple(voices.shape)}")
            voices = voices + votes
        together = voices.flatten().softmax(0).reshape(voices.shape)
        means = {key: torch.cat([getattr(h, key) for h in heard]).mean(0) for key in ("rest", "energy", "hard", "share",
                                                                                     "width")}
        return self.look_of(means, together)

    def _heard(self, plate: Image, directions: Directions, place: Tensor | None) -> _Said:
        """Of one plate, in the frame of ``directions``. Where it shows enough, its parts are witnesses as well: the
        rest of the light is told by the whole plate, the chance of hard light by all alike, direction, share and width
        by those that see hard light, as far as they are sure of it."""
        whole = self._turned(plate, directions, place)
        if max(plate.shape[2:]) < DETAILED:
            return whole
        all_ = [whole, *(self._turned(piece, rays, place) for piece, rays in windows(plate, directions))]
        hard = torch.cat([said.hard for said in all_])
        weight = (hard + self.lean).sigmoid().square()
        power = _AGREE * weight
        power[0] += (1 - power.sum()).clamp_min(0)
        power = power * (_VOICES / power.sum()).clamp_max(1)
        voices = (power[:, None, None] * torch.cat([s.chance for s in all_]).clamp_min(1e-9).log()).sum(0)
        share, width = ((weight * torch.cat([getattr(s, key) for s in all_])).sum()[None] / weight.sum()
                        for key in ("share", "width"))
        return replace(whole, chance=voices.flatten().softmax(0).reshape(1, *voices.shape), hard=hard.mean()[None],
                       share=share, width=width)

    def _turned(self, plate: Image, directions: Directions, place: Tensor | None) -> _Said:
        """:meth:`say` of one plate that looks anywhere, in the frame of its directions."""
        yaw_deg, ahead = self._ahead(plate, directions)
        spot = None if place is None else (place.to(ahead) @ turn_to_front(yaw_deg, ahead))[None]
        said = self.say(plate, ahead[None], spot)
        return replace(said, rest=latlong.rotate_yaw(said.rest[0], yaw_deg)[None],
                       chance=latlong.rotate_yaw(said.chance[0][..., None], yaw_deg)[None, ..., 0])

    def look_of(self, said: Mapping[str, Tensor], chance: Tensor) -> Look:
        """From one row of what :meth:`say` gives, and a distribution over directions (16, 32).

        How much of the ground's light is the source's is told by ``share``; how much light it is in all by the rest,
        and by the rest and the energy: the geometric mean of both, weighted by ``_TOTAL``.
        """
        guesses = tuple(replace(g, chance=self.trust * g.chance) for g in hypotheses(chance))
        share, sigma = float(said["share"].sigmoid()), max(SUN_SIGMA, float(said["width"]))
        heights = [max(_LOWEST, float(guess.direction[1])) for guess in guesses]
        energy = 4 * math.pi * said["energy"].cpu()
        weights = energy.new_tensor(BT709)
        level, full = float(ground_irradiance(said["rest"]).cpu() @ weights), float(energy @ weights)
        scale = ((1 - share) * (level + full * heights[0]) / level) ** _TOTAL
        own = share / (1 - share) * level * scale
        sources = tuple(Source(guess.direction, energy * (own / (full * height)), sigma)
                        for guess, height in zip(guesses, heights, strict=True))
        sharp = chance ** self.sharpness
        soft = said["rest"] + spread(said["energy"][None], (sharp / sharp.sum())[None])[0]
        return Look(soft, said["rest"] * scale, float((said["hard"] + self.lean).sigmoid()), guesses, sources)

    def estimate(self, plate_disp: Image, directions: Directions, guess: int = 0) -> EnvMap:
        """(16, 32, 3) the light of one plate as a map: :meth:`Look.envmap` of :meth:`look`."""
        return self.look(plate_disp, directions).envmap(guess)

    def _ahead(self, plate_disp: Image, directions: Directions) -> tuple[float, Directions]:
        if plate_disp.shape != (1, 3, *directions.shape[:2]) or directions.shape[-1] != 3:
            raise PriorError(f"plate {tuple(plate_disp.shape)} with directions {tuple(directions.shape)}; accepted: "
                             f"plate (1, 3, H, W) and directions (H, W, 3) of the same H and W")
        return facing(directions.to(plate_disp.dtype))

    @torch.no_grad()
    def say(self, plate_disp: Image, directions: Directions, place: Tensor | None = None) -> _Said:
        """Of plates whose middle looks to +Z: (B, 3, H, W), (B, H, W, 3), (B, 3). Mirroring plate, directions and place
        mirrors the result exactly."""
        def mirrored(x: Tensor) -> Tensor:
            return torch.cat([x, x * x.new_tensor([-1.0, 1.0, 1.0])])

        rays = mirrored(directions)
        rays[len(directions):] = rays[len(directions):].flip(2)
        plates = torch.cat([plate_disp, plate_disp.flip(-1)])
        both = predict(self.net.to(plates.device), features(plates, rays, None if place is None else mirrored(place)))

        def mean(values: Tensor) -> Tensor:
            return torch.stack(values.chunk(2)).mean(0)

        return _Said(_unmirrored(both.smooth.clamp(*_LOG_RANGE).exp().permute(0, 2, 3, 1)),
                     mean(both.energy.clamp(*_LOG_RANGE).exp()),
                     _unmirrored(both.direction.flatten(1).softmax(1).reshape_as(both.direction)),
                     mean(both.hard), mean(both.share), mean(both.width).clamp(math.log(SUN_SIGMA), 0).exp())


def predict(net: LightUNet, inputs: Features) -> LightEstimate:
    """The network's outputs, float32."""
    out = net(inputs.sphere, inputs.photo, inputs.coarse, inputs.ground, (inputs.base + FLOOR).log())
    return LightEstimate(*(value.float() for value in vars(out).values()))


def compose(estimate: LightEstimate, known: Tensor, weight: Tensor) -> Tensor:
    """(B, 16, 32, 3) radiance: the smooth part plus the dominant light's energy over its distribution of directions, to
    the part ``weight`` (B,) the ``known`` one (B, H, W), else the estimated one. Logarithms are limited to 9 (a
    radiance of 8,100) so that a stray value cannot overflow."""
    chance = estimate.direction.flatten(1).softmax(1).reshape_as(estimate.direction)
    chance = torch.lerp(chance, known, weight[:, None, None])
    smooth = estimate.smooth.clamp(*_LOG_RANGE).exp().permute(0, 2, 3, 1)
    return smooth + spread(estimate.energy.clamp(*_LOG_RANGE).exp(), chance)


def spread(energy: Tensor, chance: Tensor) -> Tensor:
    """Mean radiance (B, 3) over the sphere spread by a distribution over directions (B, H, W): (B, H, W, 3)."""
    height, width = chance.shape[-2:]
    share = (_sphere(height, width, chance.device)[1] / (4 * math.pi)).expand(height, width)
    return (chance / share)[..., None] * energy[:, None, None]


def _unmirrored(maps: Tensor) -> Tensor:
    """Means of the maps (2 B, H, W, ...) of plates and of their mirror images: (B, H, W, ...)."""
    straight, turned = maps.chunk(2)
    return 0.5 * (straight + turned.flip(2))


def _config(values: Mapping[str, object]) -> LightUNetConfig:
    return LightUNetConfig(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
