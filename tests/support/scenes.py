"""Small scenes made in memory for tests."""
from __future__ import annotations

import numpy as np
import torch

from dipir.scene.assets.asset import Asset, Material
from dipir.scene.camera import Camera
from dipir.scene.framing import grounded
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset, Proxy
from dipir.scene.scene import Scene
from dipir.workshop.things.objects import simple_asset

MATERIALS = {
    "diffuse": Material(base_color=(0.7, 0.4, 0.2), roughness=0.8),
    "glossy": Material(base_color=(0.2, 0.3, 0.6), roughness=0.25),
    "metal": Material(base_color=(0.8, 0.7, 0.5), roughness=0.3, metallic=1.0),
}


def placed(asset: Asset, x: float = 0.0, z: float = 3.0, height_m: float = 0.8, yaw_rad: float = 0.4,
           name: str = "a") -> PlacedAsset:
    """The asset standing on the ground at (x, z)."""
    low, high = asset.bounds
    return PlacedAsset(asset, grounded(float((high - low)[1]), height_m, np.array([x, 0.0, z]), yaw_rad), name)


def grey_plate(width: int, height: int, value: float = 0.5) -> Plate:
    """A flat grey plate."""
    disp = torch.full((1, 3, height, width), value)
    return Plate(disp, ((disp + 0.055) / 1.055) ** 2.4)


def scene_of(*objects: PlacedAsset, size: int = 24, fov_deg: float = 36.0, proxy: Proxy = Proxy()) -> Scene:
    """Objects about 3 m in front of a camera that looks a little down."""
    camera = Camera.looking(size, size, fov_deg, 1.2, 17.0)
    return Scene(grey_plate(size, size), camera, objects, proxy)


def sphere_scene(material: str = "diffuse", size: int = 24) -> Scene:
    """One sphere on the ground."""
    return scene_of(placed(simple_asset("sphere", MATERIALS[material])), size=size)


def sunny(direction, height: int = 16, peak: float = 60.0, sky: float = 0.4) -> torch.Tensor:
    """(H, 2H, 3): dim blue sky, darker ground and a small warm sun in a direction."""
    from dipir.image import latlong

    d = latlong.directions(height, 2 * height)
    axis = torch.as_tensor(direction, dtype=torch.float32)
    cos = d @ (axis / axis.norm())
    base = torch.where(d[..., 1:2] > 0, torch.tensor([0.6, 0.8, 1.0]) * sky, torch.tensor([0.3, 0.25, 0.2]) * sky)
    return base + torch.exp((cos - 1) / 0.1**2)[..., None] * torch.tensor([1.0, 0.9, 0.7]) * peak
