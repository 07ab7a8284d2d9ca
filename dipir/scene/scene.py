"""The scene: what is pictured."""
from __future__ import annotations

from dataclasses import dataclass

from dipir.event import Remark
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
    redistort: bool = False
    """The finished picture is that of the photo's lens, ``plate.original``, instead of the straight one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks about plate and assets (:class:`dipir.event.Remark`), each with its file in front, each once."""
        plate = self.plate.path.name if self.plate.path is not None else "plate"
        said = [Remark.about(plate, note) for note in self.plate.notes]
        for item in self.objects:
            path = item.asset.path
            said += [Remark.about(item.name if path is None else path.name, note) for note in item.asset.notes]
        return tuple(dict.fromkeys(said))
