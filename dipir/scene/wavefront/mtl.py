"""MTL files: their blocks, the libraries and textures that they name, and :class:`Material` of a block."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipir.errors import AssetError, printable
from dipir.event import warn
from dipir.scene.assets.asset import ROUGHNESS_MIN, SPECULAR_MIN, Material, Sampling
from dipir.scene.assets.files import MAX_TEXTURE_SIDE, decode_image, find_beside, image_size, read_found
from dipir.scene.assets.material import linear_rgb, normal_map, scalar_map
from dipir.scene.wavefront.blocks import as_text, decoded
from dipir.scene.wavefront.unread import UNREAD_MAPS, unread

BUDGET_TEXELS, MAX_PIXELS = 128_000_000, 2_000_000_000
"""Texels of all maps of a file together; textures are scaled down to meet it. And pixels before that."""
MOST_FILES, MOST_MAPS, MOST_LIBRARIES = 2_000, 20_000, 100
# Options of map statements and how many values each takes at most ("-o u [v [w]]": trailing numbers are optional).
_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3, "-texres": 1, "-clamp": 1,
            "-bm": 1, "-imfchan": 1, "-type": 1, "-cc": 1, "-colorspace": 1}
_WORDS = {"-blendu", "-blendv", "-clamp", "-imfchan", "-type", "-cc", "-colorspace"}
_HARMLESS = {"-texres", "-type", "-colorspace", "-cc"}
_SLOTS = {"map_kd": "base_color", "map_ke": "emission", "map_d": "opacity", "map_pr": "roughness", "map_pm": "metallic",
          "norm": "normal", "map_kn": "normal", "map_bump": "normal", "bump": "normal"}
_MANY_WORDS = 20
_BUMPS = ("norm", "map_kn", "map_bump", "bump")


@dataclass(frozen=True)
class MapStatement:
    """A map statement taken apart."""

    file: str
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """In lower case, with their values."""

    def numbers(self, option: str, count: int, default: float) -> np.ndarray:
        """Values of an option; those left out, or all where it is not there, are the default."""
        given = [float(value) for value in dict(self.options).get(option, ())]
        return np.array([*given, *[default] * count][:count])

    def word(self, option: str) -> str:
        """The value of an option that takes a word, in lower case; "" where it is not there."""
        return (dict(self.options).get(option) or ("",))[0].lower()

    @property
    def content(self) -> MapStatement:
        """The file with the options that change its values."""
        return MapStatement(self.file, tuple(o for o in self.options if o[0] in ("-mm", "-imfchan")))

    @property
    def sampling(self) -> Sampling:
        """What -s, -o and -clamp ask for: u s + o, counted from the lower left."""
        (su, sv), (ou, ov) = self.numbers("-s", 2, 1.0), self.numbers("-o", 2, 0.0)
        matrix = tuple(float(v) for v in (su, 0.0, ou, 0.0, sv, 1.0 - sv - ov))
        return Sampling("clamp" if self.word("-clamp") == "on" else "repeat", matrix=matrix)

    def ignored(self) -> list[str]:
        """Options that change the picture and are not honoured."""
        read = {"-s", "-o", "-clamp", "-bm", "-mm", "-imfchan"} | _HARMLESS
        return [" ".join((option, *values)) for option, values in self.options if option not in read
                and not (option == "-t" and not self.numbers("-t", 3, 0.0).any())
                and not (option in ("-blendu", "-blendv") and values == ("on",))]


def map_statement(statement: str) -> MapStatement:
    """Options and file of a map statement; the file's name may contain spaces."""
    words, options, at = statement.split(), [], 0
    while at < len(words) - 1 and words[at].lower() in _OPTIONS:
        option, begin = words[at].lower(), at + 1
        at = begin
        while at - begin < _OPTIONS[option] and at < len(words) - 1 and (option in _WORDS or _is_number(words[at])):
            at += 1
        options.append((option, tuple(words[begin:at])))
    return MapStatement(statement.split(None, at)[at] if at else statement, tuple(options))


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", word) is not None and np.isfinite(float(word))


# --- files -----------------------------------------------------------------------------------------------------------

def parse_mtl(data: bytes) -> dict[str, dict[str, str]]:
    """``newmtl`` blocks: name -> {lower-case keyword: rest of the line}. A remark after a name may be part of it: the
    block is found by both."""
    blocks: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    for raw in as_text(data).split(b"\n"):
        words = decoded(raw).split(None, 1)
        if len(words) < 2 or words[0].startswith("#"):
            continue
        key, rest = words[0].lower(), words[1].strip()
        if key == "newmtl":
            block = blocks[rest] = {}
            blocks.setdefault(without_remark(rest), block)
        else:
            block[key] = rest if key in _SLOTS or key in UNREAD_MAPS else without_remark(rest)
    return blocks


def without_remark(text: str) -> str:
    """The text before a # that stands after a blank."""
    return re.split(r"\s#", text, maxsplit=1)[0].strip()


def read_libraries(path: Path, statements: Iterable[str], notes: list[str]) -> dict[str, dict[str, str]]:
    """The blocks of all material files; one that is missing is said. A statement may name several files, and a name
    may hold blanks."""
    blocks: dict[str, dict[str, str]] = {}
    statements = list(statements)
    if len(statements) > MOST_LIBRARIES:
        raise AssetError(f"{path}: names {len(statements)} material files; at most {MOST_LIBRARIES} are accepted.")
    for statement in statements:
        for name in _library_names(path, statement):
            found = _library(path, name, True)
            if found is None:
                notes.append(warn(f"material file '{printable(name, 200)}' is missing; its materials are grey. Put it "
                                  "beside the OBJ."))
                continue
            notes += [found[1]] if found[1] else []
            for key, block in parse_mtl(read_found(path, found[0], name, "material file")).items():
                blocks.setdefault(key, block)
    return blocks


def _library_names(path: Path, statement: str) -> list[str]:
    """The names in a statement: all of it where that is a file, else the longest rows of words that are, word by word
    where nothing is."""
    words = without_remark(statement).split()
    if len(words) <= 1 or len(words) > _MANY_WORDS or _library(path, statement, False):
        return [statement]
    names, at = [], 0
    while at < len(words):
        ends = (end for end in range(len(words), at, -1) if _library(path, " ".join(words[at:end]), False))
        end = next(ends, at + 1)
        names.append(" ".join(words[at:end]))
        at = end
    return names


def _library(path: Path, name: str, anywhere: bool) -> tuple[Path, str | None] | None:
    """The file of a library, None where there is none; an error where it must not be read."""
    try:
        return find_beside(path, name, "material file", anywhere)
    except AssetError as error:
        if "is missing" not in str(error):
            raise
        return None


class Textures:
    """Decoded textures and the maps made of them, once for all the materials of one file."""

    def __init__(self, path: Path, blocks: Iterable[dict[str, str]], notes: list[str]):
        """``blocks`` : those that are used; their maps share the budget. AssetError where there are too many."""
        self.path, self.notes = path, notes
        self._found: dict[str, bytes] = {}
        self._decoded: dict[str, np.ndarray] = {}
        self._made: dict[tuple, Any] = {}
        wanted = {(map_statement(block[key]).content, key, block.get("kd"), block.get("ke")) for block in blocks
                  for key in _SLOTS if key in block}
        files = sorted({content.file for content, *_ in wanted})
        if len(files) > MOST_FILES or len(wanted) > MOST_MAPS:
            raise AssetError(f"{path}: {len(files)} textures for {len(wanted)} maps; at most {MOST_FILES} and "
                             f"{MOST_MAPS} are accepted. Join textures and materials.")
        # ---- the side to which all are scaled down ----
        sizes = {file: max(image_size(self._bytes(file)), (1, 1)) for file in files}
        if sum(w * h for w, h in sizes.values()) > MAX_PIXELS:
            raise AssetError(f"{path}: its textures have more than {MAX_PIXELS // 10**6} megapixels together. Scale "
                             "them down.")
        sides = [sizes[content.file] for content, *_ in wanted]
        self._side = MAX_TEXTURE_SIDE
        while self._side > 8 and sum(w * h * min(1.0, self._side / max(w, h)) ** 2 for w, h in sides) > BUDGET_TEXELS:
            self._side //= 2

    def made(self, make: Callable[..., Any], statement: MapStatement, *arguments: Any) -> Any:
        """``make(image, *arguments)`` of a map statement."""
        content = statement.content
        key = (make.__qualname__, content, arguments)
        if key not in self._made:
            image = self._image(content.file)
            self._made[key] = make(_ranged(_channel(image, content.word("-imfchan")), content), *arguments)
        return self._made[key]

    def _image(self, name: str) -> np.ndarray:
        """(H, W, 4) uint8 of a file."""
        if name not in self._decoded:
            label = f"{self.path}: texture '{printable(name, 200)}'"
            self._decoded[name], note = decode_image(self._bytes(name), label, self._side)
            self.notes += [note] if note else []
        return self._decoded[name]

    def _bytes(self, name: str) -> bytes:
        if name not in self._found:
            path, note = find_beside(self.path, name, "texture")
            self.notes += [note] if note else []
            self._found[name] = read_found(self.path, path, name, "texture")
        return self._found[name]


def _channel(rgba: np.ndarray, name: str) -> np.ndarray:
    """One channel of the image in all of red, green and blue: r, g, b, m (matte) or l (luminance)."""
    if name not in ("r", "g", "b", "m", "l"):
        return rgba
    one = rgba[..., :3].mean(-1).round().astype(np.uint8) if name == "l" else rgba[..., "rgbm".index(name)]
    return np.stack([one, one, one, np.full_like(one, 255)], -1)


def _ranged(rgba: np.ndarray, statement: MapStatement) -> np.ndarray:
    """-mm base gain: base + gain times each value."""
    base, gain = statement.numbers("-mm", 2, 1.0)
    if not dict(statement.options).get("-mm"):
        return rgba
    changed = rgba.copy()
    changed[..., :3] = np.clip(base * 255 + gain * rgba[..., :3].astype(np.float32), 0, 255).round()
    return changed


# --- materials -------------------------------------------------------------------------------------------------------

def mtl_material(name: str, entry: dict[str, str], textures: Textures) -> Material:
    """Material of one ``newmtl`` block: lower-case keys to the rest of their lines; remarks go to ``textures``.

    Kd is linear (as Blender writes it). Without Pr, Ns gives roughness (2 / (Ns + 2)) ** (1/4), i.e. the Beckmann width
    with the same peak as the Blinn-Phong lobe. A bump map is used when it is a normal map, else left out and said.
    """
    maps = {key: map_statement(entry[key]) for key in _SLOTS if key in entry}
    label = f"material '{printable(name, 80)}'"
    said: list[str] = []
    values = _color(entry, maps, textures, said)
    values |= _surface(entry, maps, textures)
    values |= _opacity(entry, maps, textures, said)
    emission = np.maximum(_numbers(entry, "ke", 3, 0.0), 0)
    values["emission"] = tuple(float(v) for v in emission)
    if "map_ke" in maps:
        factor = values["emission"] if emission.any() else (1.0, 1.0, 1.0)
        texture = textures.made(linear_rgb, maps["map_ke"], factor)
        values |= {"emission": tuple(float(v) for v in texture.mean((0, 1))), "emission_texture": texture}
    bump = next((key for key in _BUMPS if key in maps), None)
    if bump:
        if textures.made(_is_normal_map, maps[bump]):
            strength = float(maps[bump].numbers("-bm", 1, 1.0)[0])
            values["normal_texture"] = textures.made(normal_map, maps[bump], strength)
        else:
            said.append(f"{bump} is a height map, not a normal map, and was left out; bake it to a normal map.")
    # ---- how they are looked up, and what is not honoured ----
    used = {_SLOTS[key]: maps[key] for key in maps if key not in _BUMPS or key == bump}
    sampling = tuple((slot, found.sampling) for slot, found in used.items()
                     if values.get(f"{slot}_texture") is not None and found.sampling != Sampling())
    said += [f"{option} of {key} is not honoured." for key, found in maps.items() for option in found.ignored()]
    said += unread(entry, maps, values["opacity"])
    if "map_kd" in maps and "map_d" not in maps and textures.made(_has_holes, maps["map_kd"]):
        said.append("the alpha of its map_Kd is not used; name that file as map_d too if it should be.")
    textures.notes += [warn(f"{label}: {text}") for text in said]
    return Material(name=name, double_sided=True, sampling=sampling, **values)


def _has_holes(rgba: np.ndarray) -> bool:
    return bool(rgba[..., 3].min() < 128)


def _is_normal_map(rgba: np.ndarray) -> bool:
    mean = rgba[..., :3].reshape(-1, 3).mean(0)
    return bool(mean[2] > 170 and mean[2] > mean[:2].max() + 30)


def _numbers(entry: dict[str, str], key: str, count: int, default: float) -> np.ndarray:
    """The leading numbers of a statement; one number stands for all (``Kd 0.5``)."""
    numbers: list[float] = []
    for word in entry.get(key, "").split()[:count]:
        if not _is_number(word):
            break
        numbers.append(float(word))
    numbers = numbers if numbers and np.isfinite(numbers).all() else [default]
    return np.array((numbers * count)[:count])


def _unit(values: Iterable[float]) -> tuple:
    return tuple(float(np.clip(v, 0, 1)) for v in values)


def _color(entry: dict[str, str], maps: dict[str, MapStatement], textures: Textures, said: list[str]) -> dict:
    factor = _unit(_numbers(entry, "kd", 3, 1.0 if "map_kd" in maps else 0.5))
    if "map_kd" not in maps:
        return {"base_color": factor}
    if not any(factor):
        said.append("Kd is black although map_Kd is given; the map was used as it is.")
        factor = (1.0, 1.0, 1.0)
    texture = textures.made(linear_rgb, maps["map_kd"], factor)
    return {"base_color": _unit(texture.mean((0, 1))), "base_color_texture": texture}


def _surface(entry: dict[str, str], maps: dict[str, MapStatement], textures: Textures) -> dict:
    shininess = max(_numbers(entry, "ns", 1, 20.0)[0], 0.0)
    roughness = _numbers(entry, "pr", 1, (2 / (shininess + 2)) ** 0.25)[0]
    values: dict = {"roughness": float(np.clip(roughness, ROUGHNESS_MIN, 1)),
                    "metallic": float(np.clip(_numbers(entry, "pm", 1, 0.0)[0], 0, 1)),
                    "specular": float(np.clip(_numbers(entry, "ks", 3, 0.5).mean(), SPECULAR_MIN, 1)),
                    "sheen": float(np.clip(_numbers(entry, "ps", 3, 0.0).mean(), 0, 1)),
                    "clearcoat": float(np.clip(_numbers(entry, "pc", 1, 0.0)[0], 0, 1)),
                    "clearcoat_gloss": 1 - float(np.clip(_numbers(entry, "pcr", 1, 0.0)[0], 0, 1))}
    for key, slot, low in (("map_pr", "roughness", ROUGHNESS_MIN), ("map_pm", "metallic", 0.0)):
        if key in maps:
            values[slot], values[f"{slot}_texture"] = textures.made(_scalar, maps[key], 1.0, low)
    return values


def _scalar(rgba: np.ndarray, factor: float, low: float) -> tuple[float, np.ndarray | None]:
    return scalar_map(rgba[..., 0], factor, low)


def _opacity(entry: dict[str, str], maps: dict[str, MapStatement], textures: Textures, said: list[str]) -> dict:
    """``d`` is opacity, ``Tr`` transparency (1 - d); where both are given and differ, d counts."""
    halo = {**entry, "d": entry.get("d", "").replace("-halo", "", 1)}
    opaque = _numbers(halo, "d", 1, np.nan)[0]
    through = 1 - _numbers(entry, "tr", 1, np.nan)[0]
    if not np.isnan(opaque) and not np.isnan(through) and abs(opaque - through) > 1e-3:
        said.append(f"d says {opaque:g}, Tr says {through:g}; d was taken.")
    elif np.isnan(opaque) and through <= 0:
        said.append("Tr 1 means wholly transparent; some programs write it for opaque: then write d 1 in its place.")
    opacity = float(np.clip(opaque if not np.isnan(opaque) else 1.0 if np.isnan(through) else through, 0, 1))
    if "map_d" not in maps:
        return {"opacity": opacity}
    value, texture = textures.made(_coverage, maps["map_d"], opacity)
    return {"opacity": value, "opacity_texture": texture}


def _coverage(rgba: np.ndarray, factor: float) -> tuple[float, np.ndarray | None]:
    return scalar_map(rgba[..., 3] if rgba[..., 3].min() < 255 else rgba[..., 0], factor)
