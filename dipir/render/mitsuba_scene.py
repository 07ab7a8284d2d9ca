"""Scene -> Mitsuba scene: one shape per part, principled BSDF, textures as float bitmaps, one environment emitter."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

import drjit as dr
import numpy as np

from dipir.errors import RenderError, SceneError
from dipir.render.backend import mitsuba
from dipir.scene.assets.asset import ROUGHNESS_MIN, SPECULAR_MIN, Material, Part
from dipir.scene.camera import Camera
from dipir.scene.scene import Scene

_PLACEHOLDER = (16, 32)
Kind = Literal["base_color", "roughness", "metallic", "emission"]


@dataclass(frozen=True)
class BuiltScene:
    """A scene loaded by Mitsuba."""

    objects: object  # mi.Scene with every asset and the environment (no proxy)
    proxy: object | None  # mi.Scene of the proxy mesh or None
    proxy_mesh: Part | None  # that mesh
    params: object  # traversed parameters of ``objects``
    parts: tuple[tuple[int, Part], ...]  # (object index, Part) in the order of shape ids
    keys: tuple[str, ...]  # the parts' names in ``params``
    masked: bool  # some material has cut-outs or is translucent
    emissive: bool  # some material emits
    center: np.ndarray  # of the assets' bounding sphere, metres
    radius: float  # of the same
    spheres: tuple[tuple[np.ndarray, float], ...]  # (center, radius) of each object
    standing: list  # [parts that are in ``objects`` now]; shared with what was `moved` from it


@dataclass(frozen=True)
class MaterialName:
    """A value of a part's material that has gradients: a number or colour, or the texture in its place."""

    key: str  # its name in ``BuiltScene.params``
    kind: Kind

    @property
    def part(self) -> str:
        """Of ``BuiltScene.keys``."""
        return self.key.partition(".")[0]


def material_names(params: object) -> list[MaterialName]:
    """Every such value among Mitsuba's parameters, ``objectI_partJ....value`` or ``.data``, in their order."""
    paths: dict[str, Kind] = {"base_color": "base_color", "roughness": "roughness", "metallic": "metallic",
                              "radiance": "emission"}
    return [MaterialName(key, kind) for key in params.keys() if key.endswith((".value", ".data"))
            for path, kind in paths.items() if f".{path}." in key]


def set_values(params: object, names: Iterable[str], arrays: Iterable) -> None:
    """Write Dr.Jit tensors into a scene's parameters (shape of a plain value kept). RenderError for a name that is not
    there."""
    for name, array in zip(names, arrays, strict=True):
        if name not in params:
            raise RenderError(f"no material parameter '{name}'; "
                              f"this scene has: {', '.join(n.key for n in material_names(params))}.")
        old = params[name]
        params[name] = array if dr.is_tensor_v(old) else dr.unravel(type(old), array.array)
    params.update()


def shape_key(object_index: int, part_index: int) -> str:
    """Name of a part in the Mitsuba scene."""
    return f"object{object_index}_part{part_index}"


def build(scene: Scene) -> BuiltScene:
    """Load the scene once; later light and material changes go through ``params``. Raises SceneError without objects'
    geometry being finite."""
    mi = mitsuba()
    parts, keys, content = [], [], {"type": "scene"}
    for i, placed in enumerate(scene.objects):
        for j, part in enumerate(placed.parts):
            content[shape_key(i, j)] = make_mesh(part, shape_key(i, j))
            parts.append((i, part))
            keys.append(shape_key(i, j))
    content["environment"] = {"type": "envmap", "bitmap": mi.Bitmap(np.full((*_PLACEHOLDER, 3), 0.5, np.float32))}
    objects = mi.load_dict(content)
    points = np.concatenate([p.vertices for _, p in parts]) if parts else np.zeros((1, 3), np.float32)
    if not np.isfinite(points).all():
        raise SceneError("an asset has NaN or infinite vertices; repair the mesh before it is placed.")
    proxy = None
    if scene.proxy.mesh is not None:
        proxy = mi.load_dict({"type": "scene", "proxy": make_mesh(scene.proxy.mesh, "proxy", plain=True)})
    materials = [p.material for _, p in parts]
    return BuiltScene(objects, proxy, scene.proxy.mesh, mi.traverse(objects), tuple(parts), tuple(keys),
                      any(m.opacity_texture is not None or m.opacity < 1 for m in materials),
                      any(max(m.emission) > 0 or m.emission_texture is not None for m in materials),
                      *_sphere(points), _spheres(scene), [tuple(parts)])


def moved(built: BuiltScene, scene: Scene) -> BuiltScene | None:
    """The scene whose objects stand elsewhere (turned, scaled), in the loaded one: a scene loaded anew takes longer and
    makes all kernels slower as long as both are there. None when its objects or its proxy are other ones. Of the two
    :func:`put` brings back the one that is wanted."""
    parts = tuple((i, part) for i, placed in enumerate(scene.objects) for part in placed.parts)
    mesh, known = scene.proxy.mesh, built.proxy_mesh
    if len(parts) != len(built.parts) or mesh is not known or not all(
            i == j and _same_thing(new, old) for (i, new), (j, old) in zip(parts, built.parts, strict=True)):
        return None
    points = np.concatenate([p.vertices for _, p in parts]) if parts else np.zeros((1, 3), np.float32)
    if not np.isfinite(points).all():
        raise SceneError("an object was moved to NaN or infinity; give a finite pose.")
    center, radius = _sphere(points)
    again = replace(built, parts=parts, center=center, radius=radius, spheres=_spheres(scene))
    put(again)
    return again


def put(built: BuiltScene) -> None:
    """See to it that the objects stand where this one has them, in a loaded scene that several share."""
    if built.standing[0] is built.parts:
        return
    mi = mitsuba()
    for key, (_, part) in zip(built.keys, built.parts, strict=True):
        built.params[f"{key}.vertex_positions"] = mi.Float(part.vertices.astype(np.float32).ravel())
        if part.normals is not None:
            built.params[f"{key}.vertex_normals"] = mi.Float(part.normals.astype(np.float32).ravel())
    built.params.update()
    built.standing[0] = built.parts


def _same_thing(one: Part, other: Part) -> bool:
    """The same mesh and material, wherever it is."""
    arrays = [(one.faces, other.faces), (one.uvs, other.uvs)]
    arrays += [(getattr(one.material, f.name), getattr(other.material, f.name)) for f in fields(Material)]
    return len(one.vertices) == len(other.vertices) and (one.normals is None) == (other.normals is None) and all(
        a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in arrays)


def _spheres(scene: Scene) -> tuple[tuple[np.ndarray, float], ...]:
    return tuple(_sphere(np.concatenate([p.vertices for p in o.parts])) for o in scene.objects)


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere around the bounding box."""
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float(np.linalg.norm(high - low) / 2)


def make_mesh(part: Part, name: str, plain: bool = False):
    """mi.Mesh of a part. Mitsuba's v axis points down the image, ours up, hence 1 - v."""
    mi = mitsuba()
    props = mi.Properties()
    props["bsdf"] = mi.load_dict({"type": "diffuse"} if plain else material_dict(part.material, part.uvs is not None))
    if part.normals is None:
        props["face_normals"] = True
    emission = None if plain else _emission(part.material, part.uvs is not None)
    if emission is not None:
        props["emitter"] = mi.load_dict({"type": "area", "radiance": emission})
    has_uv = part.uvs is not None
    mesh = mi.Mesh(name, len(part.vertices), len(part.faces), props, has_vertex_normals=part.normals is not None,
                   has_vertex_texcoords=has_uv)
    params = mi.traverse(mesh)
    params["vertex_positions"] = mi.Float(part.vertices.astype(np.float32).ravel())
    params["faces"] = mi.UInt32(part.faces.astype(np.uint32).ravel())
    if part.normals is not None:
        params["vertex_normals"] = mi.Float(part.normals.astype(np.float32).ravel())
    if has_uv:
        flipped = np.stack([part.uvs[:, 0], 1 - part.uvs[:, 1]], -1)
        params["vertex_texcoords"] = mi.Float(flipped.astype(np.float32).ravel())
    params.update()
    return mesh


def _bitmap(texture: np.ndarray) -> dict:
    """A float bitmap: raw (already linear), float32 so that it has gradients (8-bit ones have none since 3.9)."""
    mi = mitsuba()
    data = texture[..., None] if texture.ndim == 2 else texture
    return {"type": "bitmap", "data": mi.TensorXf(np.ascontiguousarray(data, np.float32)), "raw": True}


def _rgb(value) -> dict:
    return {"type": "rgb", "value": [float(v) for v in value]}


def material_dict(material: Material, textured: bool) -> dict:
    """Principled BSDF of a material. Specular never below 0.01 (a metal with specular 0 renders black) and roughness
    never below 0.05 (gradients turn NaN near 0)."""
    m = material

    def pick(texture: np.ndarray | None, constant: object) -> object:
        return _bitmap(texture) if textured and texture is not None else constant

    roughness = None if m.roughness_texture is None else np.clip(m.roughness_texture, ROUGHNESS_MIN, 1)
    bsdf = {"type": "principled",
            "base_color": pick(m.base_color_texture, _rgb(m.base_color)),
            "roughness": pick(roughness, float(np.clip(m.roughness, ROUGHNESS_MIN, 1))),
            "metallic": pick(m.metallic_texture, float(np.clip(m.metallic, 0, 1))),
            "specular": float(np.clip(m.specular, SPECULAR_MIN, 1))}
    if m.transmission > 0:
        bsdf["spec_trans"] = float(min(m.transmission, 1))
    if textured and m.normal_texture is not None:
        bsdf = {"type": "normalmap", "normalmap": _bitmap(m.normal_texture), "bsdf": bsdf}
    if m.transmission == 0:
        # What refracts has two different sides of its own.
        bsdf = {"type": "twosided", "bsdf": bsdf}
    if (textured and m.opacity_texture is not None) or m.opacity < 1:
        opacity = pick(m.opacity_texture, float(m.opacity))
        if isinstance(opacity, dict) and np.isin(m.opacity_texture, (0.0, 1.0)).all():
            # A cut-out has no half-open edge: interpolation would make one.
            opacity["filter_type"] = "nearest"
        bsdf = {"type": "mask", "opacity": opacity, "bsdf": bsdf}
    return bsdf


def _emission(material: Material, textured: bool) -> dict | None:
    if textured and material.emission_texture is not None:
        return _bitmap(material.emission_texture)
    return _rgb(material.emission) if max(material.emission) > 0 else None


def sensor_dict(camera: Camera, spp: int, even: bool = False) -> dict:
    """Perspective sensor with box filter (alpha and transport share it); principal point as fractions of the film.
    Many samples are correlated multi-jittered, which halves their noise, and few as well where ``even`` asks for it;
    otherwise few are independent (those are the renders that a fit repeats)."""
    mi = mitsuba()
    return {"type": "perspective", "fov": camera.fov_x_deg, "fov_axis": "x", "near_clip": 0.01, "far_clip": 1e5,
            "principal_point_offset_x": 0.5 - camera.cx / camera.width,
            "principal_point_offset_y": 0.5 - camera.cy / camera.height,
            "to_world": mi.ScalarTransform4f(camera.to_world),
            "film": {"type": "hdrfilm", "width": camera.width, "height": camera.height, "pixel_format": "rgba",
                     "component_format": "float32", "rfilter": {"type": "box"}},
            "sampler": {"type": "multijitter" if even or spp >= 64 else "independent", "sample_count": spp}}
