"""Images and samplers of glTF textures: each image decoded once, each map made once, all within one budget."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from dipir.scene.assets.asset import Sampling
from dipir.scene.assets.files import MAX_TEXTURE_SIDE, decode_image, image_size, read_reference, resolve_reference
from dipir.scene.gltf.accessors import view_bytes
from dipir.scene.gltf.document import GltfDocument, extension, shown
from dipir.scene.gltf.ktx import decode_ktx, is_ktx, ktx_size

BUDGET_TEXELS = 128_000_000
"""Texels of all maps of a file together, a map counted once however many materials share it."""
MAX_PIXELS = 2_000_000_000
"""Pixels of all images of a file together, before they are scaled down: decoding takes time as well as memory."""
_READ = ("baseColorTexture", "metallicRoughnessTexture", "normalTexture", "emissiveTexture", "diffuseTexture",
         "specularGlossinessTexture", "clearcoatTexture", "clearcoatRoughnessTexture", "specularTexture",
         "transmissionTexture")
_WRAP = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
_NEAREST = 9728
_T = TypeVar("_T")


class Images:
    """Decoded images and the maps made of them, for the materials of one document."""

    def __init__(self, document: GltfDocument, materials: list[dict]):
        """``materials`` : those that are used; their textures share the budget, and all are scaled down to meet it."""
        self.document = document
        self._decoded: dict[int, np.ndarray] = {}
        self._made: dict[tuple, Any] = {}
        # Images that are the same file or view count as one.
        self._same: dict[object, int] = {}
        # Every reference is checked, used or not: a file that points outside its folder is not trusted at all.
        for image in document.tree.get("images", []):
            if "uri" in image:
                resolve_reference(document.path, image["uri"], "texture")
        self._side = self._affordable(materials)

    def fetch(self, info: dict) -> np.ndarray:
        """(H, W, 4) uint8 of a textureInfo."""
        index = self._source(info)
        if index not in self._decoded:
            label, data = self._data(index)
            decode = decode_ktx if is_ktx(data) else decode_image
            self._decoded[index], note = decode(data, label, self._side)
            if note:
                self.document.note(note)
        return self._decoded[index]

    def made(self, make: Callable[..., _T], info: dict, *arguments: Any) -> _T:
        """``make(image, *arguments)`` of a textureInfo, made once for all materials that ask for the same."""
        return self.once((make.__qualname__, self._source(info), arguments), lambda: make(self.fetch(info), *arguments))

    def once(self, key: tuple, make: Callable[[], _T]) -> _T:
        """``make()``, made once for all that ask with the same key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def sampler(self, info: dict) -> tuple[str, str, bool]:
        """Wrap modes along u and v, and whether the nearest texel counts, of a textureInfo."""
        texture = self.document.item("textures", info["index"])
        if "sampler" not in texture:
            return "repeat", "repeat", False
        sampler = self.document.item("samplers", texture["sampler"])
        wraps = [_WRAP.get(sampler.get(key, 10497), "repeat") for key in ("wrapS", "wrapT")]
        return wraps[0], wraps[1], sampler.get("magFilter") == _NEAREST

    def _affordable(self, materials: list[dict]) -> int:
        """The longest side that lets every map of the materials fit the budget, halved until it does."""
        wanted: dict[tuple[int, str], tuple[int, int]] = {}
        sizes: dict[int, tuple[int, int]] = {}
        for material in materials:
            factors = json.dumps(_factors(material), sort_keys=True)
            for info in texture_infos(material):
                index = self._source(info)
                if index not in sizes:
                    data = self._data(index)[1]
                    sizes[index] = ktx_size(data) if is_ktx(data) else image_size(data)
                wanted[index, factors] = sizes[index]
        if sum(width * height for width, height in sizes.values()) > MAX_PIXELS:
            raise self.document.refused(f"its textures have more than {MAX_PIXELS // 10**6} megapixels together",
                                        "Scale them down.")
        side = MAX_TEXTURE_SIDE
        while sum(_texels(size, side) for size in wanted.values()) > BUDGET_TEXELS and side > 1:
            side //= 2
        if side < MAX_TEXTURE_SIDE:
            self.document.warn(f"the textures were scaled down to {side} pixels along the longer side, because all "
                               f"together exceed {BUDGET_TEXELS // 10**6} megapixels.")
        return side

    def _source(self, info: dict) -> int:
        """Number of the image of a textureInfo."""
        texture = self.document.item("textures", info["index"])
        webp, basis = (extension(texture, name) or {} for name in ("EXT_texture_webp", "KHR_texture_basisu"))
        index = webp.get("source", texture.get("source", basis.get("source")))
        if index is None:
            raise self.document.refused(f"texture {shown(info['index'])} has no PNG, JPEG, WebP or KTX2 image",
                                        "Export it with PNG or JPEG textures.")
        image = self.document.item("images", index)
        return self._same.setdefault(image["uri"] if "uri" in image else ("view", image["bufferView"]), index)

    def _data(self, index: int) -> tuple[str, bytes]:
        image = self.document.item("images", index)
        path = self.document.path
        if "uri" in image:
            short = shown(image["uri"]) if not image["uri"].startswith("data:") else f"{index} (embedded)"
            return f"{path}: texture '{short}'", read_reference(path, image["uri"], "texture")
        data, _ = view_bytes(self.document, image["bufferView"])
        return f"{path}: texture '{shown(image.get('name', index))}'", bytes(data)


def _texels(size: tuple[int, int], side: int) -> float:
    scale = min(1.0, side / max(*size, 1))
    return size[0] * scale * size[1] * scale


def texture_infos(entry: Any) -> Iterator[dict]:
    """Every textureInfo in a material object, also of its extensions, that is read at all."""
    stack = [entry]
    while stack:
        at = stack.pop()
        for key, value in at.items() if isinstance(at, dict) else ():
            if key in _READ and isinstance(value, dict) and "index" in value:
                yield value
            elif isinstance(value, dict) and key != "extras":
                stack.append(value)


def _factors(entry: dict) -> dict:
    """The numbers of a material, by which its maps may differ from those of another with the same textures."""
    found, stack = {}, [("", entry)]
    while stack:
        path, at = stack.pop()
        for key, value in at.items():
            if isinstance(value, dict) and key != "extras":
                stack.append((f"{path}/{key}", value))
            elif key not in ("index", "texCoord", "name", "doubleSided", "extras"):
                found[f"{path}/{key}"] = value
    return found


def uv_matrix(transform: dict) -> np.ndarray:
    """(3, 3) of KHR_texture_transform, for UVs with v down the image."""
    (ox, oy), (sx, sy) = transform.get("offset", (0, 0)), transform.get("scale", (1, 1))
    c, s = np.cos(float(transform.get("rotation", 0.0))), np.sin(float(transform.get("rotation", 0.0)))
    matrix = np.array([[c * sx, s * sy, ox], [-s * sx, c * sy, oy], [0, 0, 1]], float)
    return matrix if np.isfinite(matrix).all() else np.eye(3)


def placement(info: dict) -> tuple[int, np.ndarray]:
    """UV set and (3, 3) matrix of a textureInfo; the transform's own texCoord goes before the texture's."""
    transform = extension(info, "KHR_texture_transform") or {}
    return transform.get("texCoord", info.get("texCoord", 0)), uv_matrix(transform)


def one_sampling(wraps: tuple[str, str], nearest: bool, uvs: np.ndarray, matrix: np.ndarray) -> tuple[Sampling, bool]:
    """The sampling of a texture at ``uvs`` (N, 2, already moved by its transform), ``matrix`` (3, 3) from the part's
    UVs; and whether it is exact. Two wrap modes become one: an axis that stays in [0, 1] takes the other's."""
    inside = [bool(((uvs[:, axis] >= -1e-6) & (uvs[:, axis] <= 1 + 1e-6)).all()) for axis in (0, 1)]
    wrap = wraps[1] if inside[0] and not inside[1] else wraps[0]
    # At the very edge modes differ by half a texel, which is as good as nothing.
    exact = wraps[0] == wraps[1] or any(inside)
    return Sampling(wrap, nearest, tuple(float(v) for v in matrix[:2].ravel())), exact
