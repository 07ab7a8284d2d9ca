"""The spheres of the protocol under many maps: diffuse, matte silver, mirror; no noise.

The scene is convex, fixed and linear in the map, so an image is ``response @ map``. A row of the response is Mitsuba's
principled BSDF of the pixel's normal and view towards the centre of each texel, times the texel's solid angle; rows are
made in blocks, used for every map at once and dropped. The mirror, whose lobe is narrower than a texel, looks the map
up in the reflected directions instead, times the same BSDF's reflectance (Schlick).

Axes: Blender shows the middle of a map at its +X, the column at a quarter of the width at +Y, the top row at +Z
(Cycles: u = 1/2 - atan2(y, x) / 2 pi). With ours, +Z, +X and +Y (``dipir/arrays.py``), Blender's (x, y, z) is our
(y, z, x), and its camera at (0, -16, 2) is at our (-16, 2, 0): what a plate shows in its middle lies on the right of
the spheres' picture.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image, Mask
from dipir.image import latlong
from dipir.scene.camera import Camera

BASE = 0.8
MATERIALS = {"diffuse": {"metallic": 0.0, "specular": 0.5, "roughness": 0.364},
             # Specular 0 stands in the protocol. Mitsuba then renders metals black; any value above 0 gives the same.
             "matte": {"metallic": 1.0, "specular": 0.01, "roughness": 0.3271},
             "mirror": {"metallic": 1.0, "specular": 0.2, "roughness": 0.0}}
FRAME = (540, 960)
RAYS = 4
_BLOCK = 2**24  # Pairs of pixel and texel evaluated at once: about 1 GiB with all intermediate values.


def camera(height: int = FRAME[0], width: int = FRAME[1]) -> Camera:
    """At our (-16, 2, 0), looking at the sphere in the origin; 85 mm lens, 36 mm wide sensor."""
    position = np.array([-16.0, 2.0, 0.0])
    forward = -position / np.linalg.norm(position)
    left = np.cross([0.0, 1.0, 0.0], forward)
    left /= np.linalg.norm(left)
    pose = np.eye(4)
    pose[:3] = np.stack([left, np.cross(forward, left), forward, position], 1)
    return Camera(width, height, 85 / 36 * width, width / 2, height / 2, pose)


@dataclass(frozen=True)
class Sphere:
    """The pixels that see the sphere."""

    alpha: Mask  # (1, 1, H, W) coverage
    pixels: Tensor  # (N,) their flat numbers
    normal: Tensor  # normal, view: (N, 3) unit, mean over the part that is covered, ``view`` towards the camera
    view: Tensor
    rays: Tensor  # (N, R) which of a pixel's R rays hit
    reflected: Tensor  # reflected, cosine: (N, R, 3), (N, R) of each ray
    cosine: Tensor

    @staticmethod
    def seen_by(view: Camera, rays: int = RAYS) -> Sphere:
        """The unit sphere in the origin, ``rays`` x ``rays`` rays a pixel."""
        x, y = np.meshgrid(np.arange(view.width), np.arange(view.height))
        corner = np.stack([x, y], -1).reshape(-1, 1, 2)
        step = (np.arange(rays) + 0.5) / rays
        offsets = np.stack(np.meshgrid(step, step), -1).reshape(1, -1, 2)
        direction = view.directions(corner + offsets)
        along = -(direction @ view.position)
        under_root = along**2 - view.position @ view.position + 1
        hit = under_root > 0
        pixels = np.flatnonzero(hit.any(1))
        d, hit = direction[pixels], hit[pixels]
        distance = along[pixels] - np.sqrt(under_root[pixels].clip(0))
        normal = view.position + d * distance[..., None]
        cosine = -(d * normal).sum(-1)
        alpha = np.zeros(view.height * view.width)
        alpha[pixels] = hit.mean(1)

        def mean(v):
            return torch.nn.functional.normalize(torch.from_numpy((v * hit[..., None]).sum(1)).float(), dim=-1)

        def tensor(v):
            return torch.from_numpy(v).float()

        return Sphere(tensor(alpha).reshape(1, 1, view.height, view.width), torch.from_numpy(pixels), mean(normal),
                      mean(-d), tensor(hit.astype(float)), tensor(d + 2 * cosine[..., None] * normal), tensor(cosine))


def render(maps: Sequence[EnvMap], material: str, sphere: Sphere) -> Iterator[Image]:
    """One premultiplied image (1, 3, H, W) on black a map (H', W', 3); all maps of one size. ``material`` is a key of
    MATERIALS."""
    if material == "mirror":
        fresnel = BASE + (1 - BASE) * (1 - sphere.cosine.clamp(0, 1)) ** 5
        weight = (fresnel * sphere.rays)[..., None] / sphere.rays.shape[1]
        colours = ((latlong.sample(m, sphere.reflected) * weight).sum(1) for m in maps)
    else:
        colours = _lit(torch.stack(list(maps)), MATERIALS[material], sphere)
    return (_image(colour, sphere) for colour in colours)


def _image(colour: Tensor, sphere: Sphere) -> Image:
    height, width = sphere.alpha.shape[2:]
    image = colour.new_zeros(3, height * width)
    image[:, sphere.pixels] = colour.T
    return image.reshape(1, 3, height, width)


def _lit(maps: Tensor, material: dict[str, float], sphere: Sphere) -> Tensor:
    """(M, H, W, 3) maps -> (M, N, 3) premultiplied colours of the sphere's pixels."""
    count, height, width, _ = maps.shape
    light = (maps * latlong.solid_angles(height, width)[..., None]).permute(1, 2, 0, 3).reshape(height * width, -1)
    towards = latlong.directions(height, width).reshape(-1, 3)
    rows = max(1, _BLOCK // len(towards))
    blocks = [response(sphere.normal[i:i + rows], sphere.view[i:i + rows], towards, material) @ light
              for i in range(0, len(sphere.pixels), rows)]
    alpha = sphere.alpha.flatten()[sphere.pixels]
    return (torch.cat(blocks) * alpha[:, None]).reshape(-1, count, 3).permute(1, 0, 2)


def response(normal: Tensor, view: Tensor, towards: Tensor, material: dict[str, float]) -> Tensor:
    """(P, T) BSDF times cosine, 1/sr, of P pixels (normals and directions to the camera, (P, 3)) for light from T
    directions (T, 3); grey, hence one channel."""
    import drjit as dr

    from dipir.render.backend import mitsuba
    from dipir.render.bridge import to_torch

    mi = mitsuba()
    bsdf = mi.load_dict({"type": "principled", "base_color": {"type": "rgb", "value": BASE}, **material})
    pair = dr.arange(mi.UInt32, len(normal) * len(towards))
    pixel, texel = pair // len(towards), pair % len(towards)

    def pick(values, index):
        return mi.Vector3f(
            *(dr.gather(mi.Float, mi.Float(np.ascontiguousarray(column)), index) for column in values.numpy().T))

    frame = mi.Frame3f(pick(normal, pixel))
    si = dr.zeros(mi.SurfaceInteraction3f, len(normal) * len(towards))
    si.wi = frame.to_local(pick(view, pixel))
    value = bsdf.eval(mi.BSDFContext(), si, frame.to_local(pick(towards, texel)))
    return to_torch(value.x).reshape(len(normal), len(towards))
