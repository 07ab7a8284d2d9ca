"""All that scenes with known surfaces are made of, in one file that can be carried to another machine.

The scenes themselves are too large to carry; with this file and without the data folder they are made where the
networks train. A scene made from it is the same as one made from the data folder, up to the rounding of what it shows.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from dipir import disk
from dipir.errors import ConfigError
from dipir.scene.assets.asset import Asset
from dipir.tensors import read_header, read_tensors
from dipir.workshop.photo_textures import SIZE_PX as PATCH_PX
from dipir.workshop.surfaces import data as surface_data
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.ingredients import SIZE_PX, DataFolder, Ingredients, Supplier
from dipir.workshop.surfaces.packed import jpeg, mesh, mesh_bytes, picture

KIND = "dipir.surfaces_pack.1"
LIMIT = 55_000_000
"""Largest file in bytes."""
_PARTS = {"train": False, "val": True}
_BRIGHTEST_PATCH, _GAMMA = 3.5, 2.2
_DARKEST, _BRIGHTEST = -8.0, 4.5
"""Range of backdrops in stops about their unit."""
_PATCH_QUALITY, _BACKDROP_QUALITY = 88, 88
_REMEDY = "make one with `--pack FILE` where the data folder is"


def write(path: Path, source: Supplier = DataFolder()) -> int:
    """Writes the ingredients of both parts and the backbone; bytes written. What has to be made first is kept in the
    folders of the set. ConfigError when it is larger than ``LIMIT``."""
    values = {f"backbone/{name}": value.half().contiguous() for name, value in source.backbone().items()}
    contents = {}
    for part, held_out in _PARTS.items():
        found = source.ingredients(held_out, surface_data.part_dir(held_out))
        more, contents[part] = _packed(found)
        values |= {f"{part}/{name}": value for name, value in more.items()}
    data = save(values, {"kind": KIND, "contents": json.dumps(contents)})
    if len(data) > LIMIT:
        raise ConfigError(f"{path}: {len(data) / 1e6:.1f} MB; at most {LIMIT / 1e6:.0f} MB can be carried: give fewer "
                          "meshes or panoramas.")
    disk.write_bytes(path, data, ConfigError)
    return len(data)


def _packed(found: Ingredients) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a part, and what it holds in words."""
    values: dict[str, Tensor] = {}
    for row in range(len(found.names)):
        # None for what lets light through: no scene shows it.
        values |= {f"mesh/{row:04d}": _bytes(mesh_bytes(asset)) for asset in found.assets([row])}
    patches, behind = found.patches(), found.behind()
    if patches is not None:
        values |= _joined("patch", [jpeg(patch_code(patch), _PATCH_QUALITY) for patch in patches])
    for name, crops in vars(behind).items():
        values |= _joined(name, [jpeg(backdrop_code(crop), _BACKDROP_QUALITY) for crop in crops])
    return values, {"meshes": list(found.names), "patches": found.patched}


def patch_code(patch: np.ndarray) -> np.ndarray:
    """(S, S, 3) [0, 3.5] -> uint8, finer for the dark."""
    shown = (patch.astype(np.float32) / _BRIGHTEST_PATCH).clip(0, 1) ** (1 / _GAMMA)
    return np.round(shown * 255).astype(np.uint8)


def patch_of(code: np.ndarray) -> np.ndarray:
    """Inverse of :func:`patch_code` up to rounding: float32."""
    return (code.astype(np.float32) / 255) ** _GAMMA * _BRIGHTEST_PATCH


def backdrop_code(crop: Tensor) -> np.ndarray:
    """(3, S, S) -> (S, S, 3) uint8: stops from 1/256 to 22 times the unit."""
    stops = crop.float().clamp_min(2.0**_DARKEST).log2()
    code = ((stops - _DARKEST) / (_BRIGHTEST - _DARKEST)).clamp(0, 1) * 255
    return code.round().byte().permute(1, 2, 0).contiguous().numpy()


def backdrop_of(code: np.ndarray) -> Tensor:
    """Inverse of :func:`backdrop_code` up to rounding and limits: half precision."""
    stops = _DARKEST + torch.from_numpy(code).permute(2, 0, 1).float() / 255 * (_BRIGHTEST - _DARKEST)
    return stops.exp2().half()


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _joined(name: str, pieces: Sequence[bytes]) -> dict[str, Tensor]:
    return {f"{name}/bytes": _bytes(b"".join(pieces)), f"{name}/lengths": torch.tensor([len(p) for p in pieces])}


# ------------------------------------------------------------------------------------------------------------- reading
def opened(path: Path) -> SurfacePack:
    """A pack, looked over: its kind, its size and what it lists. ConfigError for any other file."""
    try:
        shapes, metadata = read_header(path)
        size = Path(path).stat().st_size
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: not a readable pack of surfaces ({problem}); {_REMEDY}.") from problem
    if metadata.get("kind") != KIND:
        raise ConfigError(f"{path}: {metadata.get('kind', 'no')} kind; expected {KIND}: {_REMEDY}.")
    if size > LIMIT:
        raise ConfigError(f"{path}: {size / 1e6:.1f} MB; a pack has at most {LIMIT / 1e6:.0f} MB: {_REMEDY}.")
    try:
        contents = json.loads(metadata["contents"])
        parts = {part: (tuple(map(str, contents[part]["meshes"])), str(contents[part]["patches"])) for part in _PARTS}
    except (LookupError, TypeError, ValueError) as problem:
        raise ConfigError(f"{path}: does not list what it holds ({problem}); {_REMEDY}.") from problem
    for part, (_, patched) in parts.items():
        wanted = ("places", "skies") if patched == "none" else ("places", "skies", "patch")
        missing = [name for name in wanted if f"{part}/{name}/bytes" not in shapes]
        if missing:
            raise ConfigError(f"{path}: holds no {', '.join(missing)} for `{part}`; {_REMEDY}.")
    return SurfacePack(Path(path), parts)


@dataclass(frozen=True)
class SurfacePack:
    """A pack as the source of a training."""

    path: Path
    parts: dict[str, tuple[tuple[str, ...], str]]
    """"train", "val" -> names of meshes, what tells the patches."""

    def ingredients(self, held_out: bool, folder: Path) -> PackedIngredients:
        """See ``ingredients.Supplier``; nothing is written."""
        part = next(name for name, flag in _PARTS.items() if flag == held_out)
        names, patched = self.parts[part]
        return PackedIngredients(self.path, part, names, patched if patched == "none" else f"{patched} packed")

    def backbone(self) -> dict[str, Tensor]:
        """See ``ingredients.Supplier``. ConfigError for a broken file."""
        found = _read(self.path, "backbone/")
        return {name.partition("/")[2]: value.float() for name, value in found.items()}


@dataclass(frozen=True)
class PackedIngredients:
    """Ingredients in a pack, which is read when they are asked for."""

    path: Path
    part: str
    names: tuple[str, ...]
    patched: str

    def assets(self, rows: Sequence[int]) -> list[Asset]:
        """See ``ingredients.Ingredients``. ConfigError for a broken file."""
        found = (_read(self.path, f"{self.part}/mesh/{row:04d}") for row in rows)
        try:
            return [mesh(value.numpy().tobytes()) for values in found for value in values.values()]
        except ValueError as problem:
            raise _broken(self.path, problem) from problem

    def patches(self) -> Bank | None:
        """See ``ingredients.Ingredients``. ConfigError for a broken file."""
        return None if self.patched == "none" else Bank(self.path, _pieces(self.path, f"{self.part}/patch"))

    def behind(self) -> Backdrops:
        """See ``ingredients.Ingredients``. ConfigError for a broken file."""
        def crops(name: str) -> Tensor:
            pieces = _pieces(self.path, f"{self.part}/{name}")
            return torch.stack([backdrop_of(_picture(self.path, piece, SIZE_PX)) for piece in pieces])

        return Backdrops(crops("places"), crops("skies"))


@dataclass(frozen=True)
class Bank(Sequence):
    """Patches that are decoded when they are looked at: a process shows a few of them."""

    path: Path
    pieces: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, row: int) -> np.ndarray:
        """(S, S, 3) float32. ConfigError for a broken file."""
        return patch_of(_picture(self.path, self.pieces[row], PATCH_PX))


def _read(path: Path, starting: str) -> dict[str, Tensor]:
    try:
        return read_tensors(path, starting)[0]
    except (OSError, ValueError) as problem:
        raise _broken(path, problem) from problem


def _pieces(path: Path, name: str) -> list[bytes]:
    values = _read(path, f"{name}/")
    none = torch.zeros(0, dtype=torch.uint8)
    data, lengths = (values.get(f"{name}/{key}", none) for key in ("bytes", "lengths"))
    data, lengths = data.numpy().tobytes(), lengths.tolist()
    if not lengths or min(lengths) <= 0 or sum(lengths) != len(data):
        raise _broken(path, f"the lengths of `{name}` do not fit its {len(data)} bytes")
    ends = np.cumsum([0, *lengths]).tolist()
    return [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]


def _picture(path: Path, data: bytes, side: int) -> np.ndarray:
    try:
        code = picture(data, side)
        if code.ndim != 3:
            raise ValueError("a picture without colours")
        return code
    except ValueError as problem:
        raise _broken(path, problem) from problem


def _broken(path: Path, problem: object) -> ConfigError:
    return ConfigError(f"{path}: a broken pack of surfaces ({problem}); {_REMEDY}.")
