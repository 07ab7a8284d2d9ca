"""Lenses: where a photo shows what a pinhole would show elsewhere. The models are those of COLMAP (pycolmap).

https://colmap.github.io/cameras.html has their parameters.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch

from dipir.arrays import Image
from dipir.errors import ImageError, MissingExtra, nearest
from dipir.event import warn
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.scene.camera import Camera
from dipir.scene.plate import Original, Plate

PANORAMA = "EQUIRECTANGULAR"
MOST_PIXELS, MOST_STRETCH = 100_000, 10
"""Of an image's side; of the two focal lengths to each other."""
_MOST_WARPED = 32_766   # Pixels of a side, of OpenCV's remap.
_FISHEYE = ("FISHEYE", "FOV", "EUCM", "DIVISION")
REACH = 0.5
"""Of the straight picture's sides: as far beyond them is rendered where a lens is put back and shows more."""
_SURE = 0.01            # Pixels that a point may come back beside itself through a lens and back.
_ROWS = 64              # Of a picture, looked up at once.


def _library() -> ModuleType:
    """pycolmap, imported when a lens is used. MissingExtra where it is not there: Linux on ARM has no wheel of it."""
    try:
        import pycolmap
    except ImportError as problem:
        raise MissingExtra("lenses and COLMAP's cameras need pycolmap, which is not there: pip install pycolmap. Where "
                           "there is none for this machine, straighten the photos elsewhere and leave lens and "
                           "distortion out.") from problem
    return pycolmap


def models() -> tuple[str, ...]:
    """Names of the lens models that are honoured."""
    return tuple(name for name in _library().CameraModelId.__members__ if name not in ("INVALID", PANORAMA))


def parameter_count(model: str) -> int:
    """How many parameters a model of :func:`models` has."""
    return len(_blank(model).params_info.split(","))


def _blank(model: str) -> Any:
    pycolmap = _library()
    camera = pycolmap.Camera()
    camera.model = pycolmap.CameraModelId.__members__[model]
    return camera


@dataclass(frozen=True)
class Lens:
    """A lens and the size of the photos it makes, in pixels from the image corner. ValueError for a model that is not
    there and for parameters that make no lens."""

    model: str
    """One of :func:`models`."""
    size: tuple[int, int]
    """(width, height)."""
    params: tuple[float, ...]
    """In COLMAP's order."""

    def __post_init__(self) -> None:
        if self.model not in models():
            raise ValueError(f"the lens model '{self.model[:60]}' is not supported; accepted are {', '.join(models())}."
                             f"{nearest(self.model, models())}")
        if not (min(self.size) > 0 and max(self.size) <= MOST_PIXELS and np.isfinite(self.params).all()):
            raise ValueError(f"a lens of {self.size[0]} x {self.size[1]} pixels with the parameters {self.params}")
        names = self._camera().params_info
        if not self._camera().verify_params():
            raise ValueError(f"{len(self.params)} parameters of a {self.model} camera, which has {names}")
        x, y = self.focal
        if not (min(x, y) > 0 and 1 / MOST_STRETCH < x / y < MOST_STRETCH):
            raise ValueError(f"focal lengths {x:g} and {y:g}")

    @staticmethod
    def of(model: str, size: tuple[int, int], focal: tuple[float, float], centre: tuple[float, float],
           distortion: Iterable[float] = ()) -> Lens:
        """``distortion`` : what follows focal lengths and principal point in COLMAP's order."""
        single = model.startswith("SIMPLE_") or model in ("RADIAL", "RADIAL_FISHEYE")
        if single and abs(focal[0] / focal[1] - 1) > 1e-9:
            raise ValueError(f"a {model} camera has one focal length, not {focal[0]:g} and {focal[1]:g}")
        return Lens(model, size, (*(focal[:1] if single else focal), *centre, *distortion))

    @property
    def focal(self) -> tuple[float, float]:
        """Along x and y, pixels."""
        which = list(self._camera().focal_length_idxs())
        return self.params[which[0]], self.params[which[-1]]

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point."""
        x, y = self._camera().principal_point_idxs()
        return self.params[x], self.params[y]

    @property
    def bends(self) -> bool:
        """Whether straight lines may become curves."""
        extra = [self.params[k] for k in self._camera().extra_params_idxs()]
        return any(extra) or any(word in self.model for word in _FISHEYE)

    def resized(self, width: int, height: int) -> Lens:
        """The same lens for photos of another number of pixels."""
        camera = self._camera()
        camera.rescale(width, height)
        return replace(self, size=(width, height), params=tuple(float(p) for p in camera.params))

    def pinhole(self, to_world: np.ndarray) -> tuple[Camera, float]:
        """The camera of the straightened photo and the factor by which its rows are stretched: focal length and
        principal point are the lens's own (see :meth:`Camera.oblong`)."""
        return Camera.oblong(*self.size, self.focal, self.centre, to_world)

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Points that a pinhole of focal length 1 sees at (..., 2), +Y down, -> pixels (..., 2); NaN where the lens
        shows none."""
        flat = np.concatenate([points.reshape(-1, 2), np.ones((points.size // 2, 1))], 1)
        return np.asarray(self._camera().img_from_cam(flat), float).reshape(points.shape)

    def looks(self, pixels: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`seen`; NaN where no pinhole sees what the pixel shows, or the lens model is not to be
        inverted."""
        with np.errstate(all="ignore"):
            points = np.asarray(self._camera().cam_from_img(pixels.reshape(-1, 2).astype(float)), float)
            points[~(np.abs(self.seen(points) - pixels.reshape(-1, 2)).max(1) < _SURE)] = np.nan
        return points.reshape(pixels.shape)

    def folds(self, camera: Camera) -> bool:
        """Whether in the straightened photo some place would be shown twice: the numbers are none of such a photo."""
        x, y = (np.linspace(0, side, 65) for side in (camera.width, camera.height))
        pixels = self.seen(_normalised(camera, np.stack(np.meshgrid(x, y), -1)))
        across, down = np.diff(pixels[:-1], axis=1), np.diff(pixels[:, :-1], axis=0)
        return bool((across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] <= 0).any())

    def _camera(self) -> Any:
        camera = _blank(self.model)
        camera.width, camera.height, camera.params = *self.size, list(self.params)
        return camera


def _normalised(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    return (pixels - [camera.cx, camera.cy]) / camera.focal_px


# ---- pictures --------------------------------------------------------------------------------------------------------

def to_photo(lens: Lens, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Of every pixel of the straight picture (H, W) where the photo shows it, x and y from the image corner."""
    return _looked_up(camera.width, camera.height, lambda p: lens.seen(_normalised(camera, p)))


def to_straight(lens: Lens, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Of every pixel of the photo (H, W) where the straight picture shows it; NaN where it never could."""
    return _looked_up(*lens.size, lambda p: lens.looks(p) * camera.focal_px + [camera.cx, camera.cy])


def _looked_up(width: int, height: int, where) -> tuple[np.ndarray, np.ndarray]:
    found = np.empty((2, height, width), np.float32)
    for top in range(0, height, _ROWS):
        y, x = np.mgrid[top:min(top + _ROWS, height), :width] + 0.5
        found[:, top:top + _ROWS] = where(np.stack([x, y], -1)).transpose(2, 0, 1)
    return found[0], found[1]


def warped(image: Image, to: tuple[np.ndarray, np.ndarray], *, repeat: bool = False, nearest: bool = False) -> Image:
    """(1, C, H, W) looked up at places (h, w) from the image corner: (1, C, h, w), between four pixels or the nearest.
    What is outside is 0, or with ``repeat`` what the edge has; NaN is outside."""
    if max(*image.shape[-2:], *to[0].shape) > _MOST_WARPED:
        raise ImageError(f"a picture of {image.shape[-1]} x {image.shape[-2]} pixels cannot be straightened; accepted "
                         f"are sides of up to {_MOST_WARPED}. Make it smaller.")
    x, y = (np.nan_to_num(v - np.float32(0.5), nan=-1e6, posinf=1e6, neginf=-1e6).clip(-1e6, 1e6) for v in to)
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    border = cv2.BORDER_REPLICATE if repeat else cv2.BORDER_CONSTANT
    planes = [cv2.remap(np.ascontiguousarray(plane), x, y, how, borderMode=border, borderValue=0)
              for plane in image[0].detach().float().cpu().numpy()]
    return torch.from_numpy(np.stack(planes))[None].to(image)


def out_of_reach(lens: Lens, camera: Camera) -> float:
    """Share of the photo's pixels that show what is too far outside the straight picture to be rendered."""
    x, y = (np.linspace(0.5, side - 0.5, 97) for side in lens.size)
    pixels = lens.looks(np.stack(np.meshgrid(x, y), -1)) * camera.focal_px + [camera.cx, camera.cy]
    sides = np.array([camera.width, camera.height])
    return float(1 - ((pixels >= -REACH * sides) & (pixels <= (1 + REACH) * sides)).all(-1).mean())


def straightened(plate: Plate, lens: Lens, camera: Camera) -> Plate:
    """The plate as ``camera`` sees it, the lens taken out, bilinear; the photo itself is kept in ``original``. Edges
    are repeated where the photo shows nothing, which is said."""
    to = to_photo(lens, camera)
    # Display-referred colours outside of sRGB are in the light alone.
    if plate.kind.linear or plate.kind.own is not None:
        lin = warped(plate.lin, to, repeat=True)
        disp = linear_to_srgb(lin.clamp(0, 1))
    else:
        disp = warped(plate.disp, to, repeat=True).clamp(0, 1)
        lin = srgb_to_linear(disp)
    outside = 1 - np.mean((to[0] >= 0) & (to[0] <= lens.size[0]) & (to[1] >= 0) & (to[1] <= lens.size[1]))
    notes: list[str] = [f"the lens ({lens.model}) was taken out: pixels of the scene are those of the straight "
                        "picture; --redistort puts it back into the finished one"]
    if outside > 1e-4:
        notes.append(warn(f"{max(outside, 1e-3):.1%} of the straight picture is outside the photo and repeats its "
                          "edge"))
    return replace(plate, disp=disp, lin=lin, fov_x_deg=None, notes=(*plate.notes, *notes), kind=plate.kind.scaled(),
                   original=Original(plate.disp, plate.lin, lens, plate.kind))
