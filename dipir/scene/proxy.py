"""The proxy that catches shadows, and the placement of assets on it."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dipir.errors import SceneError
from dipir.scene.assets.asset import Asset, Part
from dipir.scene.camera import Camera, turned_about_y

STEEPEST_COS = 0.34       # Nothing stands on a proxy steeper than 70 degrees; such a hit is a wall.
LEAST_VISIBLE = 0.05      # Share of the object's outline that must lie in the picture.
LEAST_PIXELS = 4.0        # An object smaller than this has no look to fit.
FULL_FRAME = 0.95         # An object that covers this much of the picture leaves nothing to insert it into.


@dataclass(frozen=True)
class Proxy:
    """Rough stand-in for the pictured surroundings; catches shadows, itself invisible."""

    mesh: Part | None = None  # world-space mesh, metres, or None = the infinite ground plane y = 0


@dataclass(frozen=True)
class PlacedAsset:
    """An asset at a place in the world."""

    asset: Asset
    to_world: np.ndarray  # (4, 4) float64, asset frame to world (rotation, uniform scale, translation)
    name: str = "asset"

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts in world coordinates (normals rotated)."""
        rotation_scale = self.to_world[:3, :3]
        rotation = rotation_scale / np.cbrt(np.linalg.det(rotation_scale))
        return tuple(
            replace(p, vertices=(p.vertices @ rotation_scale.T + self.to_world[:3, 3]).astype(np.float32),
                    normals=None if p.normals is None else (p.normals @ rotation.T).astype(np.float32))
            for p in self.asset.parts)


# ---- where a pixel meets the proxy -----------------------------------------------------------------------------------

def contact_point(camera: Camera, at_px: tuple[float, float], proxy: Proxy = Proxy()) -> np.ndarray:
    """(3,) world point, metres, where the ray through plate pixel ``at_px`` meets the proxy.

    Raises :class:`SceneError` when the pixel is outside the image, shows no proxy (above the horizon, beside the mesh)
    or a wall of it, or when the camera is under the plane.
    """
    x, y = at_px
    if not (math.isfinite(x) and math.isfinite(y)) or not (0 <= x < camera.width and 0 <= y < camera.height):
        raise SceneError(f"the contact pixel {x:g},{y:g} is outside the plate, which has {camera.width} x "
                         f"{camera.height} pixels counted from the top left; give --at X,Y inside it.")
    origin, direction = camera.position, camera.directions(np.array([x, y], dtype=float))
    if proxy.mesh is not None:
        return _mesh_contact(proxy.mesh, origin, direction, at_px)
    if origin[1] <= 0:
        raise SceneError(f"the camera is {-origin[1]:g} m under the ground plane y = 0 (or on it); give a camera "
                         "height above 0.")
    if direction[1] >= -1e-4:
        raise SceneError(_no_ground(camera, at_px))
    return origin + direction * (-origin[1] / direction[1])


def _no_ground(camera: Camera, at_px: tuple[float, float]) -> str:
    horizon = camera.horizon_y(at_px[0])
    if not 0 <= horizon < camera.height:
        advice = "no ground is visible there: correct the camera (--pitch, --fov)" if horizon >= camera.height else (
            "correct the camera (--pitch, --roll)")
    else:
        advice = (f"give a pixel below it ({horizon + 1:.0f} to {camera.height - 1}), or correct the camera "
                  "(--pitch, --fov)")
    return (f"the contact pixel {at_px[0]:g},{at_px[1]:g} is above the horizon, which lies at y = {horizon:.0f} there, "
            f"so its ray never meets the ground; {advice}.")


def _mesh_contact(mesh: Part, origin: np.ndarray, direction: np.ndarray, at_px: tuple[float, float]) -> np.ndarray:
    distance, face = ray_mesh(origin, direction, mesh.vertices, mesh.faces)
    if face < 0:
        raise SceneError(f"the contact pixel {at_px[0]:g},{at_px[1]:g} does not show the proxy mesh '{mesh.name}'; "
                         "give a pixel on it, or correct the camera or the mesh (world space, metres, +Y up).")
    a, b, c = mesh.vertices[mesh.faces[face].astype(np.int64)].astype(float)
    normal = np.cross(b - a, c - a)
    if abs(normal[1]) < STEEPEST_COS * np.linalg.norm(normal):
        raise SceneError(f"the contact pixel {at_px[0]:g},{at_px[1]:g} shows a wall of the proxy mesh '{mesh.name}', "
                         "where nothing can stand; give a pixel on a level part.")
    return origin + distance * direction


def ray_mesh(origin: np.ndarray, direction: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[float, int]:
    """(distance, face) of the nearest hit of one ray with a mesh, either side; (inf, -1) without a hit.

    Moeller and Trumbore, "Fast, minimum storage ray-triangle intersection" (1997), over all triangles at once.
    """
    a, b, c = (vertices[faces[:, k].astype(np.int64)].astype(float) for k in range(3))
    edge1, edge2 = b - a, c - a
    p = np.cross(direction, edge2)
    determinant = (edge1 * p).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / determinant
        s = origin - a
        u = (s * p).sum(1) * inverse
        q = np.cross(s, edge1)
        v = (q @ direction) * inverse
        t = (edge2 * q).sum(1) * inverse
        # The tolerance keeps a ray from slipping through the seam of two triangles.
        hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 1e-6) & np.isfinite(t)
    if not hit.any():
        return math.inf, -1
    face = int(np.where(hit, t, np.inf).argmin())
    return float(t[face]), face


# ---- placement -------------------------------------------------------------------------------------------------------

def place(asset: Asset, camera: Camera, at_px: tuple[float, float], *, height_m: float | None = None,
          scale: float | None = None, yaw_deg: float = 0.0, proxy: Proxy = Proxy(), name: str = "asset") -> PlacedAsset:
    """The asset standing upright on the proxy at plate pixel ``at_px`` (the middle of its foot).

    height_m : height of the placed object, metres, or scale : factor on the asset's own size (default 1)
    yaw_deg : turn about +Y; 0 = the asset's +Z looks at the camera, > 0 turns it to the camera's right
    Raises :class:`SceneError` for a contact pixel without ground (:func:`contact_point`), an impossible size, and an
    object that is out of view, around or behind the camera, or too small to see.
    """
    factor = _factor(asset, height_m, scale, name)
    point = contact_point(camera, at_px, proxy)
    yaw = facing_yaw(camera, point) + math.radians(yaw_deg)
    pose = np.eye(4)
    pose[:3, :3] = factor * turned_about_y(yaw)
    pose[:3, 3] = point - [0, factor * asset.bounds[0, 1], 0]
    placed = PlacedAsset(asset, pose, name)
    check_view(placed, camera)
    return placed


def _factor(asset: Asset, height_m: float | None, scale: float | None, name: str) -> float:
    if height_m is not None and scale is not None:
        raise SceneError(f"'{name}': height {height_m:g} m and scale {scale:g} were both given; give one of them.")
    for label, value in (("height", height_m), ("scale", scale)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise SceneError(f"'{name}': the {label} must be a positive number, got {value:g}.")
    if height_m is None:
        return 1.0 if scale is None else scale
    own = float(asset.bounds[1, 1] - asset.bounds[0, 1])
    if own < 1e-6 * float(np.ptp(asset.bounds, axis=0).max()):
        raise SceneError(f"'{name}': the asset is flat, so no scale gives it a height of {height_m:g} m; give a scale.")
    return height_m / own


def facing_yaw(camera: Camera, point: np.ndarray) -> float:
    """Radians about +Y that turn +Z at ``point`` towards the camera. Straight below the camera, where that has no
    meaning, towards the lower edge of the image."""
    towards = (camera.position - point)[[0, 2]]
    if np.hypot(*towards) < 1e-6 * max(1e-3, abs(camera.position[1] - point[1])):
        towards = -camera.to_world[[0, 2], 1]
    return math.atan2(towards[0], towards[1])


def check_view(placed: PlacedAsset, camera: Camera) -> None:
    """Raise :class:`SceneError` unless the object is well in view: not behind or around the camera, at least 5 % of its
    outline in the picture, at least 4 pixels large, and not all of the picture."""
    where = f"'{placed.name}'"
    points = np.concatenate([p.vertices for p in placed.parts]).astype(float)
    low, high = points.min(0), points.max(0)
    if ((camera.position > low) & (camera.position < high)).all():
        raise SceneError(f"{where} is so large that the camera is inside it ({_size(low, high)}); give a smaller "
                         "height, or a contact pixel further away.")
    pixels, depth = camera.project(points)
    front = depth > 1e-3 * max(1e-3, float(np.linalg.norm(high - low)))
    if not front.any():
        raise SceneError(f"{where} is behind the camera; choose another contact pixel or correct the camera.")
    hull = cv2.convexHull(np.clip(pixels[front], -1e6, 1e6).astype(np.float32))
    extent = np.ptp(hull.reshape(-1, 2), axis=0)
    if extent.max() < LEAST_PIXELS:
        raise SceneError(f"{where} is only {extent.max():.1f} pixels large ({_size(low, high)}, {depth.min():.1f} m "
                         "away); give a larger height, or a contact pixel that is nearer.")
    frame = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]], np.float32)
    seen = cv2.intersectConvexConvex(hull, frame.reshape(-1, 1, 2))[0]
    if front.all() and seen < LEAST_VISIBLE * cv2.contourArea(hull) or seen <= 0:
        raise SceneError(f"{where} is out of view: {1 - seen / max(cv2.contourArea(hull), 1e-9):.0%} of its outline is "
                         f"outside the picture ({_size(low, high)}); give a smaller height or another contact pixel.")
    if seen > FULL_FRAME * camera.width * camera.height:
        raise SceneError(f"{where} fills the whole picture ({_size(low, high)}); give a smaller height, or a contact "
                         "pixel further away.")


def _size(low: np.ndarray, high: np.ndarray) -> str:
    return " x ".join(f"{v:.3g}" for v in high - low) + " m"
