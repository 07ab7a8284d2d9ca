"""glTF materials -> :class:`Material`: factors multiplied in, extensions as far as the BSDF goes, the rest said.

glTF 2.0 section 3.9: base colour and emission textures are sRGB; metallic-roughness is linear with G = roughness and
B = metallic; normals are linear with +Y up.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipir.scene.assets.asset import ROUGHNESS_MIN, SPECULAR_MIN, Material
from dipir.scene.assets.material import has_textures, linear_rgb, normal_map, number, numbers, scalar_map
from dipir.scene.gltf.document import GltfDocument, extension, shown
from dipir.scene.gltf.images import Images, placement

_DIELECTRIC = 0.04  # Reflectance of the common dielectric, index 1.5.
# Extension -> (what it is, the number that switches it on, its default).
_LEFT_OUT = {"KHR_materials_anisotropy": ("anisotropy", "anisotropyStrength", 0.0),
             "KHR_materials_iridescence": ("iridescence", "iridescenceFactor", 0.0),
             "KHR_materials_dispersion": ("dispersion", "dispersion", 0.0),
             "KHR_materials_diffuse_transmission": ("diffuse transmission", "diffuseTransmissionFactor", 0.0),
             "KHR_materials_volume": ("the colour and thickness of its volume", "thicknessFactor", 0.0)}


@dataclass(frozen=True)
class GltfMaterial:
    """A material and where its textures lie."""

    material: Material
    infos: Mapping[str, dict]  # slot ("base_color", "normal", ...) -> textureInfo, for the slots that have a texture
    alpha_mode: str = "OPAQUE"

    @property
    def needs_uvs(self) -> bool:
        """Whether the mesh must have UVs."""
        return has_textures(self.material)


def build_surface(document: GltfDocument, index: Any, images: Images) -> GltfMaterial:
    """The material of number ``index``, None = the primitive has none. Remarks go to the document."""
    if index is None:
        document.note("a primitive without material was given a grey one.")
        return GltfMaterial(Material(), {})
    entry = document.item("materials", index)
    name = shown(entry.get("name", "material"))
    for key, (what, switch, default) in _LEFT_OUT.items():
        found = extension(entry, key)
        if found is not None and number(found.get(switch), default) > 0:
            document.warn(f"material '{name}': {what} was left out.")
    pbr = entry.get("pbrMetallicRoughness") or {}
    values: dict[str, Any] = {"name": name, "double_sided": bool(entry.get("doubleSided", False))}
    infos: dict[str, dict] = {}
    # ---- colour, roughness, metallic, opacity ----
    gloss = extension(entry, "KHR_materials_pbrSpecularGlossiness")
    if gloss is not None:
        values |= _specular_glossiness(document, name, gloss, images, infos)
        alpha, texture = numbers(gloss.get("diffuseFactor"), (1.0,) * 4)[3], gloss.get("diffuseTexture")
    else:
        values |= _color(pbr, images, infos)
        if extension(entry, "KHR_materials_unlit") is not None:
            document.warn(f"material '{name}' is unlit; it was taken as a matte surface.")
            values |= {"roughness": 1.0, "metallic": 0.0}
        else:
            values |= _surface(pbr, images, infos)
        values["specular"] = _specular(document, name, entry, images)
        alpha, texture = numbers(pbr.get("baseColorFactor"), (1.0,) * 4)[3], pbr.get("baseColorTexture")
    values |= _opacity(entry, alpha, texture, images, infos)
    # ---- emission, normals, layers ----
    values |= _emission(entry, images, infos)
    normal = entry.get("normalTexture")
    if normal:
        values["normal_texture"] = images.made(normal_map, normal, number(normal.get("scale"), 1.0))
        infos["normal"] = normal
    values |= _layers(document, name, entry, images)
    material = Material(**values)
    return GltfMaterial(material, {slot: info for slot, info in infos.items()
                              if getattr(material, f"{slot}_texture") is not None},
                   str(entry.get("alphaMode", "OPAQUE")))


def _unit(values: Any) -> tuple:
    return tuple(float(np.clip(v, 0, 1)) for v in values)


def _color(pbr: dict, images: Images, infos: dict) -> dict:
    factor = _unit(numbers(pbr.get("baseColorFactor"), (1.0,) * 4)[:3])
    info = pbr.get("baseColorTexture")
    if not info:
        return {"base_color": factor}
    texture = images.made(linear_rgb, info, factor)
    infos["base_color"] = info
    return {"base_color": _unit(texture.mean((0, 1))), "base_color_texture": texture}


def _channel(rgba: np.ndarray, channel: int, factor: float, low: float) -> tuple[float, np.ndarray | None]:
    return scalar_map(rgba[..., channel], factor, low)


def _surface(pbr: dict, images: Images, infos: dict) -> dict:
    roughness = float(np.clip(number(pbr.get("roughnessFactor"), 1.0), 0, 1))
    metallic = float(np.clip(number(pbr.get("metallicFactor"), 1.0), 0, 1))
    info = pbr.get("metallicRoughnessTexture")
    if not info:
        return {"roughness": max(roughness, ROUGHNESS_MIN), "metallic": metallic}
    roughness, roughness_map = images.made(_channel, info, 1, roughness, ROUGHNESS_MIN)
    metallic, metallic_map = images.made(_channel, info, 2, metallic, 0.0)
    infos["roughness"] = infos["metallic"] = info
    return {"roughness": roughness, "roughness_texture": roughness_map,
            "metallic": metallic, "metallic_texture": metallic_map}


def _alpha(rgba: np.ndarray, factor: float, cutoff: float | None) -> tuple[float, np.ndarray | None]:
    alpha = rgba[..., 3]
    if cutoff is None:
        return scalar_map(alpha, factor)
    return scalar_map(((alpha.astype(np.float32) / 255 * np.float32(factor)) >= cutoff).astype(np.uint8) * 255)


def _opacity(entry: dict, factor: float, info: dict | None, images: Images, infos: dict) -> dict:
    """Alpha modes of section 3.9.4: OPAQUE ignores alpha, MASK compares with the cutoff, BLEND takes it as it is."""
    mode = entry.get("alphaMode", "OPAQUE")
    if mode not in ("MASK", "BLEND"):
        return {}
    cutoff = number(entry.get("alphaCutoff"), 0.5) if mode == "MASK" else None
    if info:
        opacity, opacity_map = images.made(_alpha, info, factor, cutoff)
        infos["opacity"] = info
    else:
        opacity, opacity_map = _alpha(np.full((1, 1, 4), 255, np.uint8), factor, cutoff)
    return {"opacity": opacity, "opacity_texture": opacity_map}


def _emission(entry: dict, images: Images, infos: dict) -> dict:
    strength = number((extension(entry, "KHR_materials_emissive_strength") or {}).get("emissiveStrength"), 1.0)
    factor = np.maximum(numbers(entry.get("emissiveFactor"), (0.0,) * 3), 0) * max(strength, 0.0)
    info = entry.get("emissiveTexture")
    if not factor.any() or not info:
        return {"emission": tuple(float(f) for f in factor)}
    texture = images.made(linear_rgb, info, tuple(float(f) for f in factor))
    if not texture.any():
        return {}
    infos["emission"] = info
    return {"emission": tuple(float(v) for v in texture.mean((0, 1))), "emission_texture": texture}


def _specular(document: GltfDocument, name: str, entry: dict, images: Images) -> float:
    """Principled specular: 0.08 * specular is the reflectance at normal incidence (0.5 = index 1.5)."""
    ior = number((extension(entry, "KHR_materials_ior") or {}).get("ior"), 1.5)
    reflectance = ((ior - 1) / (ior + 1)) ** 2 if ior >= 1 else _DIELECTRIC
    stated = extension(entry, "KHR_materials_specular") or {}
    weight = number(stated.get("specularFactor"), 1.0)
    color = np.maximum(numbers(stated.get("specularColorFactor"), (1.0,) * 3), 0)
    if stated.get("specularTexture"):
        weight *= _average(document, name, "specular", images, stated["specularTexture"], 3)
    if stated.get("specularColorTexture") or np.ptp(color) > 1e-3:
        document.warn(f"material '{name}': the colour of its specular reflection was left out.")
    return round(float(np.clip(weight * color.mean() * reflectance / 0.08, SPECULAR_MIN, 1)), 9)


def _average(document: GltfDocument, name: str, what: str, images: Images, info: dict, channel: int) -> float:
    """Mean of one channel of a texture for which the BSDF has one number only, said where it varies."""
    mean, varying = images.made(_channel, info, channel, 1.0, 0.0)
    if varying is not None:
        document.warn(f"material '{name}': its {what} texture was averaged to one number.")
    return mean


def _layers(document: GltfDocument, name: str, entry: dict, images: Images) -> dict:
    """Transmission, clear coat and sheen."""
    values: dict[str, float] = {}
    glass = extension(entry, "KHR_materials_transmission") or {}
    transmission = float(np.clip(number(glass.get("transmissionFactor"), 0.0), 0, 1))
    if transmission and glass.get("transmissionTexture"):
        transmission *= _average(document, name, "transmission", images, glass["transmissionTexture"], 0)
    values["transmission"] = transmission
    if transmission and not number((extension(entry, "KHR_materials_volume") or {}).get("thicknessFactor"), 0.0):
        document.warn(f"material '{name}' transmits light through thin walls (no KHR_materials_volume); it was taken "
                      "as solid glass, which refracts.")
    # ---- clear coat: the lobe's width 0.1 ... 0.001 is the square of glTF's roughness ----
    coat = extension(entry, "KHR_materials_clearcoat") or {}
    factor = float(np.clip(number(coat.get("clearcoatFactor"), 0.0), 0, 1))
    if factor and coat.get("clearcoatTexture"):
        factor *= _average(document, name, "clear coat", images, coat["clearcoatTexture"], 0)
    if factor:
        rough = float(np.clip(number(coat.get("clearcoatRoughnessFactor"), 0.0), 0, 1))
        if coat.get("clearcoatRoughnessTexture"):
            rough *= _average(document, name, "clear coat roughness", images, coat["clearcoatRoughnessTexture"], 1)
        if rough ** 2 > 0.1 or coat.get("clearcoatNormalTexture"):
            document.warn(f"material '{name}': its clear coat was approximated (roughness to 0.32, no normal map).")
        values |= {"clearcoat": factor, "clearcoat_gloss": float(np.clip((0.1 - rough ** 2) / 0.099, 0, 1))}
    # ---- sheen ----
    cloth = extension(entry, "KHR_materials_sheen") or {}
    sheen = float(np.clip(np.mean(numbers(cloth.get("sheenColorFactor"), (0.0,) * 3)), 0, 1))
    if sheen:
        values["sheen"] = sheen
        document.warn(f"material '{name}': its sheen was approximated (white, no roughness, no texture).")
    return values


def _specular_glossiness(document: GltfDocument, name: str, gloss: dict, images: Images, infos: dict) -> dict:
    """Metallic-roughness values of the older specular-glossiness model."""
    diffuse_factor = _unit(numbers(gloss.get("diffuseFactor"), (1.0,) * 4)[:3])
    specular_factor = _unit(numbers(gloss.get("specularFactor"), (1.0,) * 3))
    glossiness = float(np.clip(number(gloss.get("glossinessFactor"), 1.0), 0, 1))
    diffuse_info, specular_info = gloss.get("diffuseTexture"), gloss.get("specularGlossinessTexture")
    diffuse = np.array([[diffuse_factor]], np.float32)
    specular = np.array([[specular_factor]], np.float32)
    rough, rough_map = max(1 - glossiness, ROUGHNESS_MIN), None
    if diffuse_info:
        diffuse = images.made(linear_rgb, diffuse_info, diffuse_factor)
    if specular_info:
        specular = images.made(linear_rgb, specular_info, specular_factor)
        rough, rough_map = images.made(_roughness_of_gloss, specular_info, glossiness)
    color, metallic = images.once(("gloss", json.dumps(gloss, sort_keys=True)),
                                  lambda: metallic_of_specular(diffuse, specular))
    if diffuse_info and specular_info and not _alike(diffuse_info, specular_info):
        document.warn(f"material '{name}': its two textures lie differently; the diffuse one's UVs were used for both.")
    document.note(f"material '{name}': specular-glossiness was turned into metallic-roughness.")
    values: dict[str, Any] = {"roughness": rough, "roughness_texture": rough_map, "base_color": _unit(
        color.mean((0, 1))), "metallic": float(metallic.mean()), "specular": float(np.clip(
            min(float(specular.max(-1).mean()), _DIELECTRIC) / 0.08, SPECULAR_MIN, 1))}
    info = diffuse_info or specular_info
    if info:
        values |= {"base_color_texture": color, "metallic_texture": metallic if np.ptp(metallic) > 1 / 255 else None}
        infos |= {"base_color": info, "metallic": info}
    if specular_info:
        infos["roughness"] = specular_info
    return values


def _alike(one: dict, other: dict) -> bool:
    """Whether two textures lie on the mesh in the same way."""
    (set_one, move_one), (set_other, move_other) = placement(one), placement(other)
    return set_one == set_other and np.allclose(move_one, move_other)


def _roughness_of_gloss(rgba: np.ndarray, factor: float) -> tuple[float, np.ndarray | None]:
    rough = np.clip(1 - rgba[..., 3].astype(np.float32) / 255 * np.float32(factor), ROUGHNESS_MIN, 1)
    return float(rough.mean()), rough if float(np.ptp(rough)) > 1 / 255 else None


def metallic_of_specular(diffuse: np.ndarray, specular: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Base colour (H, W, 3) and metallic (H, W), float32, that reflect as ``diffuse`` and ``specular`` (H, W, 3;
    linear, [0, 1]) do; the smaller map is enlarged by repetition. The conversion is the one that comes with the
    extension's specification: metallic solves a quadratic in the brightness of both."""
    height, width = max(diffuse.shape[0], specular.shape[0]), max(diffuse.shape[1], specular.shape[1])
    diffuse, specular = (m[np.arange(height) * m.shape[0] // height][:, np.arange(width) * m.shape[1] // width]
                         if m.shape[:2] != (1, 1) else m for m in (diffuse, specular))
    left = 1 - specular.max(-1)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    light, shine = (np.sqrt((m * m) @ weights) for m in (diffuse, specular))
    # ---- metallic ----
    b = light * left / (1 - _DIELECTRIC) + shine - 2 * _DIELECTRIC
    root = np.sqrt(np.maximum(b * b - 4 * _DIELECTRIC * (_DIELECTRIC - shine), 0))
    metallic = np.where(shine < _DIELECTRIC + 1e-3, 0, np.clip((root - b) / (2 * _DIELECTRIC), 0, 1))[..., None]
    # ---- base colour: of the diffuse part where it is no metal, of the specular one where it is ----
    of_diffuse = diffuse * left[..., None] / (1 - _DIELECTRIC) / np.maximum(1 - metallic, 1e-6)
    of_specular = (specular - _DIELECTRIC * (1 - metallic)) / np.maximum(metallic, 1e-6)
    color = np.clip(of_diffuse + (of_specular - of_diffuse) * metallic ** 2, 0, 1)
    return color.astype(np.float32), np.broadcast_to(metallic[..., 0], color.shape[:2]).astype(np.float32)
