"""OBJ and MTL: material files read and checked here; trimesh gets the geometry and a list of material names."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipir.errors import AssetError
from dipir.event import warn
from dipir.scene.assets.asset import Material
from dipir.scene.assets.files import decode_image, read_reference
from dipir.scene.assets.material import Built, mtl_material

# Options of map statements and how many values each takes at most ("-o u [v [w]]": trailing numbers are optional).
_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-mm": 2, "-o": 3, "-s": 3, "-t": 3, "-texres": 1, "-clamp": 1,
            "-bm": 1, "-imfchan": 1, "-type": 1, "-cc": 1, "-colorspace": 1}
_WORDS = {"-blendu", "-blendv", "-clamp", "-imfchan", "-type", "-cc", "-colorspace"}


@dataclass(frozen=True)
class ObjSource:
    """In-memory MTL files for trimesh by the name it will ask for, materials by name, whether ``vn`` lines exist."""

    files: dict[str, bytes]
    materials: dict[str, Built]
    has_normals: bool
    notes: tuple[str, ...]


def read_obj(path: Path, data: bytes) -> ObjSource:
    """Read the materials of an OBJ file. AssetError for outside references and for missing or corrupt textures; a
    missing .mtl file gives grey materials and a note."""
    libraries = [_text(m).strip() for m in re.findall(rb"^[ \t]*mtllib[ \t]+(.+)$", data, re.M)]
    used = [_text(m).strip() for m in re.findall(rb"^[ \t]*usemtl[ \t]+(.+)$", data, re.M)]
    notes: list[str] = []
    blocks: dict[str, dict[str, str]] = {}
    for library in dict.fromkeys(libraries):
        blocks |= _read_library(path, library, notes)
    cache: dict[str, np.ndarray] = {}

    def fetch(statement: str) -> np.ndarray:
        name = map_file(statement)
        if name not in cache:
            cache[name], note = decode_image(read_reference(path, name, "texture"), f"{path}: texture '{name}'")
            notes.extend([note] if note else [])
        return cache[name]

    materials = {}
    for name in dict.fromkeys(used):
        if name in blocks:
            materials[name] = mtl_material(name, blocks[name], fetch)
            notes += materials[name].notes
        else:
            materials[name] = Built(Material(name=name), False, ())
            notes.append(f"material '{name}' is not defined in a material file; it was given a grey one.")
    listing = "".join(f"newmtl {name}\nKd 1 1 1\n" for name in materials).encode()
    # trimesh asks for the text after the first "mtllib" anywhere in the file.
    first = data.find(b"mtllib")
    end = data.find(b"\n", first)
    asked = _text(data[first + 6:end if end >= 0 else None]).strip() if first >= 0 else ""
    has_normals = re.search(rb"^[ \t]*vn[ \t]", data, re.M) is not None
    return ObjSource({asked: listing}, materials, has_normals, tuple(dict.fromkeys(notes)))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _read_library(path: Path, library: str, notes: list[str]) -> dict[str, dict[str, str]]:
    try:
        return parse_mtl(_text(read_reference(path, library, "material file")))
    except AssetError as error:
        if "is missing" not in str(error):
            raise
    notes.append(warn(f"material file '{library}' is missing; its materials are grey. Put it beside the OBJ file."))
    return {}


def parse_mtl(text: str) -> dict[str, dict[str, str]]:
    """``newmtl`` blocks: name -> {lower-case keyword: rest of the line without comment}."""
    blocks: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    for line in text.splitlines():
        words = re.split(r"\s#|^#", line.strip())[0].split(None, 1)
        if len(words) < 2:
            continue
        key, rest = words[0].lower(), words[1].strip()
        if key == "newmtl":
            block = blocks[rest] = {}
        else:
            block[key] = rest
    return blocks


def map_file(statement: str) -> str:
    """File name of a map statement without its options; may contain spaces."""
    words = statement.split()
    at = 0
    while at < len(words) - 1 and words[at].lower() in _OPTIONS:
        option, taken = words[at].lower(), 0
        at += 1
        while taken < _OPTIONS[option] and at < len(words) - 1 and (option in _WORDS or _is_number(words[at])):
            at, taken = at + 1, taken + 1
    return statement.split(None, at)[at] if at else statement


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word) is not None
