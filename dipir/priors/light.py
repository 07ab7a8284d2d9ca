"""The light prior: one plate -> the whole environment map that lit it, by a small directly trained network.

It works where its plates are: directions must be there too, the network is brought there, and the maps come out there.
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
from dipir.image.color import srgb_to_linear
from dipir.priors.nets.light_unet import LightEstimate, LightUNet, LightUNetConfig
from dipir.priors.weights import PRIORS, read_weights, write_weights
from dipir.scene.light import azimuth_elevation_deg
from dipir.scene.source import Source

DEFAULT_PATH = PRIORS / "light.safetensors"
ARCHITECTURE = "dipir.light_unet.2"
SETTINGS = ("sharpness", "focus", "trust")
SPHERE, PLATE, FLOOR = (32, 64), (96, 128), 0.02
"""Rows and columns of the sphere features and of the plate, radiance added before every logarithm."""


@dataclass(frozen=True)
class Features:
    """What the network reads."""

    sphere: Tensor
    """(B, 12, 32, 64)."""
    plate: Tensor
    """(B, 7, 96, 128)."""
    base: Tensor
    """(B, 3, 16, 32) radiance of the extrapolated plate, plate white = 1 (the plate projected to the sphere, mirrored,
    the rest filled smoothly)."""


def features(plate_disp: Image, directions: Directions) -> Features:
    """plate_disp : (B, 3, H, W) display [0, 1];  directions : (B, H, W, 3) world, camera azimuth at +Z."""
    clipped = (plate_disp.amax(1, keepdim=True) >= 0.98).to(plate_disp.dtype)
    planes = torch.cat([plate_disp, clipped, directions.permute(0, 3, 1, 2)], 1)
    if planes.shape[-2:] != PLATE:
        planes = functional.interpolate(planes, PLATE, mode="bilinear", antialias=True)
    rays = planes[:, 4:] * planes[:, 4:].square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt()
    light = torch.cat([srgb_to_linear(planes[:, :3].clamp(0, 1)), planes[:, 3:4]], 1)
    colour, visible = _project(functional.avg_pool2d(light, 2), functional.avg_pool2d(rays, 2))
    # Azimuth a becomes 180 degrees - a: what is in front is also thought to be behind.
    mirror = [torch.roll(x.flip(-1), SPHERE[1] // 2, -1) for x in (colour, visible)]
    weight = visible + 0.25 * mirror[1] * (1 - visible)
    filled = fill((colour * visible + mirror[0] * mirror[1] * (1 - visible))[:, :3], weight)
    compass = _compass(plate_disp.device).expand(len(plate_disp), -1, -1, -1)
    shown = (colour[:, :3].clamp_min(0) ** (1 / 2.2) - 0.5) * visible
    sphere = torch.cat([shown, colour[:, 3:] * visible, visible, (filled + FLOOR).log() / 2, compass], 1)
    plate = torch.cat([(planes[:, :3] - 0.5) * 2, planes[:, 3:4], rays], 1)
    return Features(sphere, plate, functional.avg_pool2d(filled, 2))


@functools.lru_cache(maxsize=8)
def _compass(where: torch.device) -> Tensor:
    """(4, 32, 64) what the network is told about the texels themselves: height, its complement, azimuth."""
    x, y, z = latlong.directions(*SPHERE, device=where).unbind(-1)
    across = y.square().neg().add(1).clamp_min(1e-6).sqrt()
    return torch.stack([y, across, x / across, z / across])


def _project(values: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B, C, 32, 64) over the pixels that fall into each texel, and 1 where there are any (B, 1, 32, 64)."""
    batch, channels = values.shape[:2]
    height, width = SPHERE
    u, v = latlong.uv(rays.permute(0, 2, 3, 1))
    column, row = (u * width).long().clamp(0, width - 1), (v * height).long().clamp(0, height - 1)
    index = (torch.arange(batch, device=values.device)[:, None, None] * height + row) * width + column
    flat = torch.cat([values, torch.ones_like(values[:, :1])], 1).permute(0, 2, 3, 1).reshape(-1, channels + 1)
    total = flat.new_zeros(batch * height * width, channels + 1).index_add_(0, index.flatten(), flat)
    total = total.reshape(batch, height, width, channels + 1).permute(0, 3, 1, 2)
    return total[:, :-1] / total[:, -1:].clamp_min(1), (total[:, -1:] > 0).to(values.dtype)


def fill(colour: Tensor, weight: Tensor) -> Tensor:
    """Colours (B, C, H, W) with weights (B, 1, H, W) in [0, 1] -> colours everywhere: push-pull, wrapping around."""
    if min(colour.shape[-2:]) == 1:
        total = weight.mean((2, 3), keepdim=True).clamp_min(1e-6)
        return ((colour * weight).mean((2, 3), keepdim=True) / total).expand_as(colour)
    coarse_weight = functional.avg_pool2d(weight, 2)
    coarse = functional.avg_pool2d(colour * weight, 2) / coarse_weight.clamp_min(1e-6)
    below = functional.interpolate(fill(coarse, (4 * coarse_weight).clamp(0, 1)), scale_factor=2.0)
    below = torch.cat([below[..., -1:], below, below[..., :1]], -1)
    below = functional.avg_pool2d(functional.pad(below, (0, 0, 1, 1), mode="replicate"), 3, 1)
    return colour * weight + below * (1 - weight)


def facing(directions: Directions) -> tuple[float, Directions]:
    """The azimuth of the plate's middle in degrees (0 = +Z, towards +X), and the directions (H, W, 3) turned by it so
    that the middle faces +Z. A plate that looks straight up or down is left as it is."""
    # One read from a GPU; the three numbers are then worked out on the CPU.
    x, _, z = directions.reshape(-1, 3).mean(0).double().cpu()
    if float(torch.hypot(x, z)) < 1e-3:
        return 0.0, directions
    yaw = torch.atan2(x, z)
    c, s = float(yaw.cos()), float(yaw.sin())
    turn = directions.new_tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return float(torch.rad2deg(yaw)), directions @ turn


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


_LOG_RANGE = -9.0, 9.0
CONE_DEG, DECIDED_DEG, CHOSEN_FOCUS = 30.0, 45.0, 0.5
"""How near counts as the same direction, for the chance of a hypothesis; others are at least twice as far away. How far
a guess that is stood by reaches, and what part of a chosen one's light lies in its middle."""


@functools.lru_cache(maxsize=8)
def _sphere(height: int, width: int, where: torch.device) -> tuple[Directions, Tensor]:
    """Directions (H, W, 3) and solid angles of the texels of a map; kept, because they are asked for often."""
    return latlong.directions(height, width, device=where), latlong.solid_angles(height, width, device=where)


def hypotheses(chance: Tensor, count: int = 3) -> list[Hypothesis]:
    """The directions around which a distribution over directions (H, W) gathers, likeliest first: the cone that holds
    most of it, then the best one that does not overlap."""
    # Small, and one decision after the other: on the CPU.
    chance = chance.cpu()
    rays = _sphere(*chance.shape, chance.device)[0].reshape(-1, 3)
    mass = chance.flatten() / chance.sum()
    near = (rays @ rays.T > math.cos(math.radians(CONE_DEG))).to(mass.dtype)
    held, found = near @ mass, []
    allowed = torch.ones_like(mass, dtype=torch.bool)
    for _ in range(count):
        best = int(torch.where(allowed, held, -1.0).argmax())
        middle = functional.normalize(((near[best] * mass)[:, None] * rays).sum(0), dim=0)
        found.append(Hypothesis(middle, float(held[best])))
        allowed &= rays @ rays[best] < math.cos(math.radians(2 * CONE_DEG))
        if not bool(allowed.any()):
            break
    return found


def decided(chance: Tensor, guess: Directions, doubt: float, focus: Tensor) -> Tensor:
    """Distributions over directions (B, H, W) that stand by one guess (B, 3): what is over ``DECIDED_DEG`` away from it
    counts ``doubt`` times as much, the part ``focus`` (B,) of all lies in a lobe of sharpness 60 (10 degrees) there;
    both in [0, 1], 1 and 0 change nothing. The mean over all guesses has the smallest expected error, but an object lit
    by broad half suns throws no shadow, and no one takes that for a photo."""
    rays, share = _sphere(*chance.shape[1:], chance.device)
    rays = rays.reshape(-1, 3)
    cosine, mass = guess @ rays.T, chance.flatten(1)
    kept = torch.where(cosine > math.cos(math.radians(DECIDED_DEG)), 1.0, doubt) * mass
    lobe = (60 * (cosine - 1)).exp() * share.expand(chance.shape[1:]).flatten()
    def unit(x):
        return x / x.sum(1, keepdim=True).clamp_min(1e-12)
    return ((1 - focus)[:, None] * unit(kept) + focus[:, None] * unit(lobe)).reshape_as(chance)


def sunlike(smooth: EnvMap, energy: Tensor) -> Tensor:
    """(B,) from 0 to 1 as the dominant light's share of all light rises from 0.5 to 0.65: smooth (B, H, W, 3), energy
    (B, 3) mean radiance. Below, lamps, windows and bright clouds; above, in the training environments, mostly suns."""
    share = _sphere(*smooth.shape[1:3], smooth.device)[1][..., None] / (4 * math.pi)
    level, rest = energy.sum(1), (smooth * share).sum((1, 2, 3))
    return ((level / (level + rest).clamp_min(1e-12) - 0.5) / 0.15).clamp(0, 1)


class LightPrior:
    """Estimates the light of a plate. Make one by :meth:`load`; ``hash`` names the weights in a result. Kept with the
    weights: ``sharpness``, the exponent on the chance of each direction of the dominant light in the map;
    ``focus``, how far the map stands by the first guess where the light is :func:`sunlike`, see :func:`decided`;
    ``trust``, the factor on the chances of guesses that makes them true on average."""

    def __init__(self, net: LightUNet, hash: str = "untrained", sharpness: float = 1.0, focus: float = 0.0,
                 trust: float = 1.0) -> None:
        self.net = net.eval().requires_grad_(False)
        self.hash = hash
        self.sharpness, self.focus, self.trust = sharpness, focus, trust

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

    def estimate(self, plate_disp: Image, directions: Directions, guess: int = 0) -> EnvMap:
        """The surroundings of one plate.

        plate_disp : (1, 3, H, W) sRGB display [0, 1];  directions : (H, W, 3) world direction of every pixel
        (``Camera.directions()``), +Y up, any azimuth;  guess : 0 weighs all directions of the dominant light as they
        are likely, 1 ... 3 puts it where :meth:`hypotheses` has its first, second, third guess.
        Returns (16, 32, 3) radiance, linear BT.709, plate white = 1, in the frame of ``directions``. The mean of the
        plate's estimate and that of its mirror image. PriorError when the shapes do not agree.
        """
        return self.look(plate_disp, directions, guess).soft

    def look(self, plate_disp: Image, directions: Directions, guess: int = 0) -> Look:
        """All that one look at the plate says (arguments as of :meth:`estimate`)."""
        yaw_deg, ahead = self._ahead(plate_disp, directions)
        both = self._both(plate_disp, ahead[None])
        soft, guesses = self._map(both, guess)[0], self._guesses(both, yaw_deg, 3)
        smooth = _unmirrored(both.smooth.clamp(*_LOG_RANGE).exp().permute(0, 2, 3, 1))
        energy = torch.stack(both.energy.clamp(*_LOG_RANGE).exp().chunk(2)).mean(0)
        sources = [Source(g.direction, 4 * math.pi * energy[0].cpu()) for g in guesses]
        return Look(latlong.rotate_yaw(soft, yaw_deg), latlong.rotate_yaw(smooth[0], yaw_deg),
                    float(sunlike(smooth, energy)[0]), tuple(guesses), tuple(sources))

    def hypotheses(self, plate_disp: Image, directions: Directions, count: int = 3) -> list[Hypothesis]:
        """Where the dominant light of a plate may be (arguments as of :meth:`estimate`), likeliest first. The chance of
        the first says how far the direction in the estimate can be trusted."""
        yaw_deg, ahead = self._ahead(plate_disp, directions)
        return self._guesses(self._both(plate_disp, ahead[None]), yaw_deg, count)

    def _guesses(self, both: LightEstimate, yaw_deg: float, count: int) -> list[Hypothesis]:
        chance = self._chance(both)[0]
        found = hypotheses(latlong.rotate_yaw(chance[..., None], yaw_deg)[..., 0], count)
        return [replace(guess, chance=self.trust * guess.chance) for guess in found]

    def estimate_together(self, plates: Sequence[Image], directions: Sequence[Directions],
                          agree: float = 0.5, votes: Tensor | None = None) -> EnvMap:
        """One map for plates of one place taken in one light and with one exposure: (16, 32, 3) radiance in the frame
        of ``directions``, arguments as of :meth:`estimate`.

        Means of what is smooth and of the dominant light's energy. Distributions over its direction are multiplied, as
        those of witnesses, each to the power ``agree`` (1 = they err independently of each other; 1 / their number =
        they say the same thing); ``votes``, (16, 32) logarithms, are one more witness. PriorError when there is
        nothing, or shapes do not agree.
        """
        if not plates or len(plates) != len(directions):
            raise PriorError(f"{len(plates)} plates with {len(directions)} directions; accepted: as many, 1 or more")
        smooth, energy, chance = [], [], []
        for plate, rays in zip(plates, directions, strict=True):
            yaw_deg, ahead = self._ahead(plate, rays)
            both = self._both(plate, ahead[None])
            level = both.smooth.clamp(*_LOG_RANGE).exp().permute(0, 2, 3, 1)
            smooth.append(latlong.rotate_yaw(_unmirrored(level)[0], yaw_deg))
            energy.append(both.energy.clamp(*_LOG_RANGE).exp().mean(0))
            chance.append(latlong.rotate_yaw(self._chance(both)[0][..., None], yaw_deg)[..., 0])
        voices = agree * torch.stack(chance).clamp_min(1e-9).log().sum(0)
        if votes is not None:
            if votes.shape != voices.shape:
                raise PriorError(f"votes {tuple(votes.shape)}; accepted are {tuple(voices.shape)}")
            voices = voices + votes
        together = voices.flatten().softmax(0).reshape(voices.shape)
        place = hypotheses(together, 1)[0].direction[None].to(together.device)
        together = together ** self.sharpness / (together ** self.sharpness).sum()
        level, sun = torch.stack(smooth).mean(0)[None], torch.stack(energy).mean(0)[None]
        return (level + spread(sun, decided(together[None], place, 1.0, self.focus * sunlike(level, sun))))[0]

    def _ahead(self, plate_disp: Image, directions: Directions) -> tuple[float, Directions]:
        if plate_disp.shape != (1, 3, *directions.shape[:2]) or directions.shape[-1] != 3:
            raise PriorError(f"plate {tuple(plate_disp.shape)} with directions {tuple(directions.shape)}; accepted: "
                             f"plate (1, 3, H, W) and directions (H, W, 3) of the same H and W")
        return facing(directions.to(plate_disp.dtype))

    def estimate_ahead(self, plate_disp: Image, directions: Directions, guess: int = 0) -> Tensor:
        """Batched :meth:`estimate` for plates whose middle already looks to +Z: (B, 3, H, W), (B, H, W, 3) ->
        (B, 16, 32, 3). Mirroring plate and directions mirrors the result exactly."""
        return self._map(self._both(plate_disp, directions), guess)

    def _map(self, both: LightEstimate, guess: int) -> Tensor:
        smooth = _unmirrored(both.smooth.clamp(*_LOG_RANGE).exp().permute(0, 2, 3, 1))
        energy = torch.stack(both.energy.clamp(*_LOG_RANGE).exp().chunk(2)).mean(0)
        chance = self._chance(both)
        place = torch.stack([hypotheses(c, guess or 1)[-1].direction for c in chance.cpu()]).to(chance.device)
        chance = chance ** self.sharpness / (chance ** self.sharpness).sum((1, 2), keepdim=True)
        doubt, focus = (0.0, smooth.new_full((len(smooth),), CHOSEN_FOCUS)) if guess else (
            1.0, self.focus * sunlike(smooth, energy))
        return smooth + spread(energy, decided(chance, place, doubt, focus))

    def _chance(self, both: LightEstimate) -> Tensor:
        """(B, H, W) distribution over directions from those of the plates and of their mirror images."""
        return _unmirrored(both.direction.flatten(1).softmax(1).reshape_as(both.direction))

    @torch.no_grad()
    def _both(self, plate_disp: Image, directions: Directions) -> LightEstimate:
        """Of the plates and of their mirror images, one batch of twice the size."""
        mirrored = directions.flip(2) * directions.new_tensor([-1.0, 1.0, 1.0])
        plates = torch.cat([plate_disp, plate_disp.flip(-1)])
        return predict(self.net.to(plates.device), features(plates, torch.cat([directions, mirrored])))


def predict(net: LightUNet, inputs: Features) -> LightEstimate:
    """The network's outputs, float32."""
    out = net(inputs.sphere, inputs.plate, (inputs.base + FLOOR).log())
    return LightEstimate(out.smooth.float(), out.direction.float(), out.energy.float())


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
