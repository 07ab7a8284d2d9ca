"""Meshes and pictures as few bytes, and back; bytes from anywhere are looked at before they are decoded.

Of a mesh is kept what ``relight.scenes.random_scene`` shows of it: places to 1/65535 of its size, normals to half a
degree, textures of its common size as JPEGs in display values. What shines does not.
"""
from __future__ import annotations

import io
import json
import lzma
from dataclasses import fields

import numpy as np
import torch
from PIL import Image as Pictures
from safetensors.torch import load, save
from torch import Tensor

from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
from dipir.scene.assets.asset import Asset, Material, Part, Sampling
from dipir.workshop.relight.scenes import TEXTURE_PX, at_common_size

_MOST_BYTES = 64 * 2**20
_STEPS = 65535
_QUALITY = 92
_COLOURS = ("base_color_texture",)
_SLOTS = (*_COLOURS, "roughness_texture", "metallic_texture", "normal_texture")
_NUMBERS = ("base_color", "roughness", "metallic", "specular", "opacity", "transmission", "double_sided", "clearcoat",
            "clearcoat_gloss", "sheen")


# ------------------------------------------------------------------------------------------------------------ pictures
def jpeg(code: np.ndarray, quality: int) -> bytes:
    """(h, w) or (h, w, 3) uint8 as a JPEG whose colours have the full size."""
    stream = io.BytesIO()
    Pictures.fromarray(code).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue()


def picture(data: bytes, side: int) -> np.ndarray:
    """Inverse of :func:`jpeg` for (side, side). ValueError for anything else than a JPEG of that size."""
    try:
        with Pictures.open(io.BytesIO(data), formats=("JPEG",)) as file:
            if file.size != (side, side) or file.mode not in ("L", "RGB"):
                raise ValueError(f"a picture of {file.size}, {file.mode}; wanted {side} x {side}, L or RGB")
            return np.array(file)
    except (OSError, Pictures.DecompressionBombError) as problem:
        raise ValueError(f"a picture that is no JPEG ({problem})") from problem


# -------------------------------------------------------------------------------------------------------------- meshes
def mesh_bytes(asset: Asset) -> bytes:
    """A mesh as bytes."""
    low, size = asset.bounds[0].astype(np.float64), float(np.ptp(asset.bounds, axis=0).max())
    values: dict[str, Tensor] = {}
    listing = []
    for k, part in enumerate(asset.parts):
        found = {"vertices": _planes((part.vertices - low) / size * _STEPS),
                 "faces": _planes(np.diff(part.faces.astype(np.int64), axis=0, prepend=0))}
        entry = {"name": part.name, "material": _described(part.material)}
        if part.normals is not None:
            found["normals"] = np.round(part.normals.T * 127).astype(np.int8)
        if part.uvs is not None:
            corner, extent = part.uvs.min(0), np.maximum(np.ptp(part.uvs, axis=0), 1e-9)
            found["uvs"] = _planes((part.uvs - corner) / extent * _STEPS)
            entry["uvs"] = [corner.tolist(), extent.tolist()]
        if part.colors is not None:
            found["colors"] = _code(linear_to_srgb_array(part.colors.T))
        for slot in _SLOTS:
            texture = getattr(part.material, slot)
            if texture is not None:
                small = at_common_size(texture, 0.0)
                shown = linear_to_srgb_array(small) if slot in _COLOURS else small
                found[slot] = np.frombuffer(jpeg(_code(shown), _QUALITY), np.uint8)
        values |= {f"{k}/{name}": torch.from_numpy(np.array(value, order="C")) for name, value in found.items()}
        listing.append(entry)
    about = json.dumps({"low": low.tolist(), "size": size, "parts": listing}).encode()
    values["about"] = torch.frombuffer(bytearray(about), dtype=torch.uint8)
    return lzma.compress(save(values), preset=9)


def mesh(data: bytes) -> Asset:
    """Inverse of :func:`mesh_bytes` up to rounding. ValueError for bytes that are no mesh of ours."""
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=512 * 2**20)
        plain = unpacker.decompress(data, _MOST_BYTES)
        if not unpacker.eof:
            raise ValueError(f"a mesh that is cut short or larger than {_MOST_BYTES // 2**20} MiB")
        values = load(plain)
        about = json.loads(values["about"].numpy().tobytes())
        low, size = np.asarray(about["low"], np.float64), float(about["size"])
        return Asset(tuple(_part({name.partition("/")[2]: value.numpy() for name, value in values.items()
                                  if name.startswith(f"{k}/")}, entry, low, size)
                           for k, entry in enumerate(about["parts"])))
    # Whatever is wrong with the bytes, it is the file's fault.
    except Exception as problem:
        raise ValueError(f"no mesh ({type(problem).__name__}: {problem})") from problem


def _part(values: dict[str, np.ndarray], entry: dict, low: np.ndarray, size: float) -> Part:
    vertices = low + _whole(values["vertices"]) / _STEPS * size
    faces = np.cumsum(_whole(values["faces"]).astype(np.int64), axis=0)
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise ValueError("faces of vertices that do not exist")
    normals = uvs = colors = None
    if "normals" in values:
        normals = values["normals"].T.astype(np.float32)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    if "uvs" in values:
        corner, extent = (np.asarray(one) for one in entry["uvs"])
        uvs = (corner + _whole(values["uvs"]) / _STEPS * extent).astype(np.float32)
    if "colors" in values:
        colors = srgb_to_linear_array(values["colors"].T.astype(np.float32) / 255)
    for array in (normals, uvs, colors):
        if array is not None and len(array) != len(vertices):
            raise ValueError("as many normals, UVs or colours as vertices are wanted")
    textures = {}
    for slot in _SLOTS:
        if slot in values:
            shown = picture(values[slot].tobytes(), TEXTURE_PX).astype(np.float32) / 255
            textures[slot] = srgb_to_linear_array(shown) if slot in _COLOURS else shown
    return Part(str(entry["name"]), vertices.astype(np.float32), faces.astype(np.uint32), normals, uvs,
                _material(entry["material"], textures), colors)


def _described(material: Material) -> dict:
    sampling = [[slot, one.wrap, one.nearest, list(one.matrix)] for slot, one in material.sampling]
    return {"name": material.name, "sampling": sampling,
            **{name: np.asarray(getattr(material, name)).tolist() for name in _NUMBERS}}


def _material(described: dict, textures: dict[str, np.ndarray]) -> Material:
    known = {field.name for field in fields(Material)}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in described.items()
             if name in known and name != "sampling"}
    sampling = tuple((slot, Sampling(wrap, bool(nearest), tuple(matrix)))
                     for slot, wrap, nearest, matrix in described["sampling"])
    return Material(**plain, **textures, sampling=sampling)


def _code(shown: np.ndarray) -> np.ndarray:
    return np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def _planes(values: np.ndarray) -> np.ndarray:
    """(N, C) whole numbers, modulo 2^32 -> (4, C, N) uint8, lowest bytes first: bytes that are alike lie together."""
    whole = np.round(values).astype(np.int64).astype("<u4")
    return whole.view(np.uint8).reshape(*whole.shape, 4).transpose(2, 1, 0)


def _whole(planes: np.ndarray) -> np.ndarray:
    """Inverse of :func:`_planes`: (N, C) int32."""
    return np.ascontiguousarray(planes.transpose(2, 1, 0)).view("<i4")[..., 0]
