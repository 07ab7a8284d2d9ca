"""The photo's lens put back: what was rendered for the straight picture, bent as the photo is."""
from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from torch import Tensor

from dipir.render.renderer import GBuffers, Passes
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.lens import REACH, Lens, to_straight, warped
from dipir.scene.plate import Plate
from dipir.scene.scene import Scene

_MIXED = ("alpha", "ground")   # Shares of a pixel; all other G-buffers are those of one place.


@dataclass(frozen=True, eq=False)
class BentView:
    """What has to be rendered so that it fills the photo, and the way from there to the photo."""

    camera: Camera
    """Of the straight picture, larger than the plate where the photo shows more than that."""
    lens: Lens
    """At the photo's size."""
    to: tuple[np.ndarray, np.ndarray]
    """Of every pixel of the photo (H, W), where ``camera`` sees it; NaN where no pinhole does."""
    photo: Plate
    """Both colour states of the photo itself."""

    def bent(self, passes: Passes) -> Passes:
        """The passes of ``camera``, (1, C, h, w), as the photo's lens shows them, (1, C, H, W): light and coverage
        between four pixels, what is of one place (depth, normal, colour, number) of the nearest. Where nothing was
        rendered there is nothing. Where the ground is in no shadow the shadow ratio stays 1 exactly."""
        buffers = passes.gbuffers
        new = GBuffers(**{f.name: self._warped(getattr(buffers, f.name), f.name not in _MIXED)
                          for f in fields(buffers)})
        light = {name: self._warped(getattr(passes, name)) for name in ("object_rgb", "ground_lit", "ground_shadowed")}
        sampled = None if passes.sampled is None else self._warped(passes.sampled, True)
        return replace(passes, **light, gbuffers=new, sampled=sampled)

    def _warped(self, image: Tensor, nearest: bool = False) -> Tensor:
        return warped(image, self.to, nearest=nearest)


def bent_view(scene: Scene, camera: Camera) -> BentView:
    """The view for a final picture as large as ``camera``'s, which is the scene's at some size; the scene's plate has
    its ``original``."""
    original, scale = scene.plate.original, camera.width / scene.camera.width
    lens, size = original.lens, tuple(max(1, round(side * scale)) for side in original.lens.size)
    lens = lens if lens.size == size else lens.resized(*size)
    x, y = to_straight(lens, camera)
    x0, width = _span(x, camera.width)
    y0, height = _span(y, camera.height)
    photo = replace(scene.plate, disp=original.disp, lin=original.lin, kind=original.kind,
                    original=None).resized(*size)
    return BentView(camera.crop(x0, y0, width, height, width, height), lens, (x - x0, y - y0), photo)


def _span(at: np.ndarray, side: int) -> tuple[int, int]:
    """(first, number) of the pixels that cover ``at``, as far as REACH allows."""
    known = np.isfinite(at)
    at = np.clip(at[known], -REACH * side, (1 + REACH) * side) if known.any() else np.array([0, side])
    first = int(np.floor(at.min())) - 1
    return first, int(np.ceil(at.max())) + 1 - first


def geometry_of(scene: Scene) -> dict | None:
    """For a result's provenance: whether its pictures are those of the straight plate or of the photo's lens, and that
    lens; None where no lens was taken out."""
    if scene.plate.original is None:
        return None
    lens = scene.plate.original.lens
    return {"pictures": "photo" if scene.redistort else "straight",
            "lens": {"model": lens.model, "size": list(lens.size), "params": list(lens.params)}}


def geometry_text(geometry: dict | None) -> str:
    """The same for ``layers.exr``."""
    if geometry is None:
        return ""
    lens = geometry["lens"]
    said = f"lens {lens['model']} {lens['params']} of {lens['size'][0]} x {lens['size'][1]} pixels (COLMAP's order)"
    if geometry["pictures"] == "photo":
        return ("Pixels are those of the photo: worldToCamera and dipirCamera are of the straight picture, bent by the "
                f"{said}.")
    return f"Pixels are those of the straight picture, without the {said}."

