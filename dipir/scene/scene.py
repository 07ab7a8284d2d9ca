"""The scene: what is pictured."""
from __future__ import annotations

from dataclasses import dataclass

from dipir.scene.camera import Camera
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset, Proxy


@dataclass(frozen=True)
class Scene:
    """What is pictured."""

    plate: Plate
    camera: Camera
    """Has the plate's resolution."""
    objects: tuple[PlacedAsset, ...]
    """An object's id in the passes is 1 + its index."""
    proxy: Proxy = Proxy()
    prompt: str = ""
    """What the finished picture shows, in words."""
    name: str = "scene"
