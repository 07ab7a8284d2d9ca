"""Photos of scenes with known surfaces: light is mixed; a camera exposes, develops, blurs, adds noise, compresses."""
from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from dipir.image.color import BT709, linear_to_srgb
from dipir.priors.relit.depth_shadows import in_camera
from dipir.workshop.relight.pairs import log_shading
from dipir.workshop.stored import decode, part, tall
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import INDOOR, OUTDOOR, SurfaceSet

_BURNT = 1.2


@dataclass(frozen=True)
class ShotConfig:
    """How scenes are photographed. Shares are chances, levels display values."""

    ambient: tuple[float, float] = (0.06, 0.6)
    """Radiance of the sky where a white wall that faces the key light has 1."""
    even: float = 0.2  # even, double: share under the sky alone and under two lights; the others have one
    double: float = 0.2
    level: tuple[float, float] = (0.5, 1.5)
    """Linear brightness of the 97 % quantile, above 1 is clipped."""
    sky: float = 0.45  # share of backdrops before which things stand that are nothing but sky
    plain: float = 0.4  # share of skies that are a plain ramp, as studios have it
    targets: int = 0
    """Other lights of the scene in which each is wanted too, besides a fill of ``fill``."""
    fill: float = 0.2
    camera: bool = True  # blur, noise, response, JPEG; False = sRGB as it is
    augment: bool = True  # mirror, exchange colours


@dataclass(frozen=True)
class Photos:
    """B photos of S x S pixels and what they show."""

    image: Tensor  # (B, 3, S, S) display [0, 1]
    normal: Tensor  # (B, 3, S, S) length up to 1; frame of ``SurfaceSet.normal``
    albedo: Tensor  # (B, 3, S, S) linear
    shading: Tensor  # (B, 1, S, S) log2(light / its mean) / 2, of light over albedo
    depth: Tensor  # (B, 1, S, S) stops about the median
    shadow: Tensor  # (B, 1, S, S) share of the key light that something keeps off surfaces that face it
    solid: Tensor  # (B, 1, S, S) 1 = a surface, 0 = sky
    known: Tensor  # (B, 1, S, S) where ``solid`` is known: not before a photographed place
    subject: Tensor  # (B, 1, S, S) coverage by objects
    up: Tensor  # (B, 3) the vertical
    target: Tensor  # (B, K, 3, S, S) display: the same in other light, as bright in the mean
    light: Tensor  # (B, K, 4) that light, ``LightDirection.numbers``
    far: Tensor  # (B,) 1 = the lights are far away; 0 = lamps in a room, which fall off as no direction tells

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: slice | Tensor) -> Photos:
        return part(self, rows)


@torch.no_grad()
def draw(rng: np.random.Generator, data: SurfaceSet, backdrops: Backdrops, count: int,
         config: ShotConfig = ShotConfig()) -> Photos:
    """``count`` photos of random scenes; everything follows from ``rng``."""
    scene = torch.from_numpy(rng.integers(len(data), size=count))
    lights = torch.from_numpy(rng.permuted(np.tile(np.arange(data.lit.shape[1]), (count, 1)), axis=1))

    def number(x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float32)

    # ---- light ----
    kind = rng.random(count)
    even, double = kind < config.even, (kind >= config.even) & (kind < config.even + config.double)
    ambient = np.where(even, 1.0, np.exp(rng.uniform(*np.log(config.ambient), size=count)))
    share = np.where(even, 0.0, np.where(double, rng.uniform(0.5, 0.85, count), 1.0))
    tint = number(np.exp(rng.normal(size=(3, count, 3)) * 0.12 * config.augment))
    parts = [(share, decode(data.lit[scene, lights[:, 0]])),
             (np.where(double, 1 - share, 0), decode(data.lit[scene, lights[:, 1]])),
             (ambient, decode(data.sky[scene]))]
    linear = sum(tall(number(part)) * tall(colour) * light for colour, (part, light) in zip(tint, parts, strict=True))
    alpha, subject = data.alpha[scene] / 255, data.subject[scene] / 255
    albedo, normal = data.albedo[scene] / 255, data.normal[scene] / 127
    facing = (normal * tall(in_camera(data.light[scene, lights[:, 0]], data.up[scene]))).sum(1, keepdim=True)
    shadow = (1 - data.free[scene, lights[:, 0]][:, None] / 255) * (facing > 0.1) * tall(number(~even)) * alpha
    wanted = lights[:, 2:2 + config.targets]
    after = torch.stack([decode(data.lit[scene, wanted[:, k]]) for k in range(config.targets)], 1) if config.targets \
        else linear.new_zeros(count, 0, *linear.shape[1:])
    after = after + config.fill * decode(data.sky[scene])[:, None]
    # ---- exposure, backdrop ----
    level = number(np.exp(rng.uniform(*np.log(config.level), size=count)))
    linear = linear * tall(level / _bright(linear))
    gain = linear.mean((1, 2, 3))[:, None] / after.mean((2, 3, 4)).clamp_min(1e-4)
    gain = torch.minimum(gain, level.clamp_min(_BURNT)[:, None] / _bright(after))
    after = after * gain[..., None, None, None]
    shading = log_shading(linear / alpha.clamp_min(0.05), albedo * (alpha > 0.3))
    world = (data.kind[scene] == OUTDOOR) | (data.kind[scene] == INDOOR)
    open_air = world | torch.from_numpy(rng.random(count) < config.sky)
    places = backdrops.places[torch.from_numpy(rng.integers(len(backdrops.places), size=count))].float()
    skies = backdrops.skies[torch.from_numpy(rng.integers(len(backdrops.skies), size=count))].float()
    plain = tall(torch.from_numpy(rng.random(count) < config.plain))
    skies = torch.where(plain, _ramps(rng, count, skies.shape[-1]), skies)
    behind = torch.where(tall(open_air), skies * tall(number(np.exp(rng.uniform(-0.7, 0.9, count)))),
                         places * tall(number(np.exp(rng.uniform(-1.2, 0.5, count)))))
    linear, after = linear + behind * (1 - alpha), after + (behind * (1 - alpha))[:, None]
    known = torch.where(tall(open_air), torch.ones_like(alpha), (alpha > 0.02).float())
    # ---- colours, mirror images ----
    pictures = Photos(linear, normal, albedo, shading, data.depth[scene].float(), shadow, alpha, known, subject,
                      data.up[scene], after, data.light[scene[:, None], wanted],
                      (data.kind[scene] != INDOOR).float())
    if config.augment:
        pictures = _varied(rng, pictures)
    image, *rest = developed(rng, torch.cat([pictures.image[:, None], pictures.target], 1).clamp_min(0),
                             config.camera).split((1, config.targets), 1)
    return replace(pictures, image=image[:, 0], target=rest[0])


def _bright(x: Tensor) -> Tensor:
    """(..., 3, S, S) -> (...) what 97 % of the pixels stay below."""
    lightest = x.amax(-3).flatten(-2)
    return lightest.kthvalue(int(0.97 * lightest.shape[-1]), -1).values.clamp_min(1e-3)


def _ramps(rng: np.random.Generator, count: int, side: int) -> Tensor:
    """(count, 3, S, S) from one colour at the top to another below."""
    low, high = (tall(torch.as_tensor(rng.uniform(0, 1.1, (count, 1)) ** 2 * np.exp(rng.normal(size=(count, 3)) * 0.2),
                                      dtype=torch.float32)) for _ in range(2))
    down = torch.linspace(0, 1, side)[:, None]
    return (high * (1 - down) + low * down).expand(-1, -1, -1, side)


def _varied(rng: np.random.Generator, p: Photos) -> Photos:
    count = len(p)
    # Not all: grass is green, and the sky blue.
    order = np.tile(np.arange(3), (count, 1))
    mixed = rng.random(count) < 0.35
    order[mixed] = rng.permuted(order[mixed], axis=1)
    colours = tall(torch.from_numpy(order))
    image, albedo = (x.gather(1, colours.expand_as(x)) for x in (p.image, p.albedo))
    p = replace(p, image=image, albedo=albedo, target=p.target.gather(2, colours[:, None].expand_as(p.target)))
    mirrored = torch.from_numpy(rng.random(count) < 0.5)
    across = torch.tensor([-1.0, 1, 1])

    def turned(x: Tensor, value: Tensor) -> Tensor:
        return torch.where(mirrored.reshape(-1, *[1] * (x.ndim - 1)), value, x)

    flipped = {name: turned(value, value.flip(-1)) for name, value in vars(p).items() if value.ndim > 3}
    normal = turned(p.normal, p.normal.flip(-1) * across[:, None, None])
    return replace(p, **flipped | {"normal": normal, "up": turned(p.up, p.up * across),
                                   "light": turned(p.light, p.light * torch.tensor([-1.0, 1, 1, 1]))})


def developed(rng: np.random.Generator, linear: Tensor, camera: bool) -> Tensor:
    """Exposed linear light (B, N, 3, S, S), that of the photo first -> photos of 8 bits, the others as the camera would
    show them without blur, noise and compression."""
    count = len(linear)
    if not camera:
        return (linear_to_srgb(linear.clamp(0, 1)) * 255).round() / 255
    # ---- defocus ----
    for k in np.nonzero(rng.random(count) < 0.35)[0]:
        picture = linear[k, 0].permute(1, 2, 0).contiguous().numpy()
        blurred = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.3)))
        linear[k, 0] = torch.from_numpy(blurred).permute(2, 0, 1)

    def number(low: float, high: float, share: float = 1.0) -> Tensor:
        values = rng.uniform(low, high, count) * (rng.random(count) < share)
        return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1, 1, 1)

    # ---- response ----
    x = linear_to_srgb(linear.clamp(0, 1))
    x = x ** torch.exp(number(-0.3, 0.3, 0.6))
    contrast = number(-0.25, 0.45, 0.6)
    x = x + contrast * (x * x * (3 - 2 * x) - x)
    grey = torch.tensordot(x, torch.tensor(BT709), ([2], [0]))[:, :, None]
    x = (grey + (x - grey) * (1 + number(-0.5, 0.35, 0.6))).clamp(0, 1)
    # ---- noise, JPEG ----
    photo = x[:, 0]
    noise = torch.from_numpy(rng.standard_normal(tuple(photo.shape), dtype=np.float32))
    codes = ((photo + noise * number(0, 0.035, 0.6)[:, 0]).clamp(0, 1) * 255).round().byte()
    for k in np.nonzero(rng.random(count) < 0.45)[0]:
        picture = codes[k].permute(1, 2, 0).contiguous().numpy()
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 93))])
        codes[k] = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)).permute(2, 0, 1)
    return torch.cat([codes[:, None].float() / 255, x[:, 1:]], 1)
