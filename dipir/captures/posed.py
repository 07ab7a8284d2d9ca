"""A folder with one posed sequence, whatever wrote it: nerfstudio (``transforms.json``) or COLMAP."""
from __future__ import annotations

from pathlib import Path

from dipir.captures.colmap import find_model, read_colmap
from dipir.captures.nerfstudio import NAME, read_transforms
from dipir.captures.sequence import PosedSequence
from dipir.errors import SceneError


def poses_file(folder: str | Path) -> Path | None:
    """The file with the sequence's cameras, of nerfstudio first; None where there is none."""
    folder = Path(folder)
    if (folder / NAME).is_file():
        return folder / NAME
    model = find_model(folder)
    return None if model is None else next(p for p in (model / "images.bin", model / "images.txt") if p.is_file())


def read_posed(folder: str | Path) -> PosedSequence:
    """The sequence. SceneError for a folder that holds none, and where `read_transforms` or `read_colmap` raise it."""
    found = poses_file(folder)
    if found is None and (Path(folder) / "keyframes").is_dir():
        raise SceneError(f"{folder}: a raw export of Polycam; accepted are {NAME} and COLMAP models. Convert it: "
                         f"ns-process-data polycam --data {folder} --output-dir NEW (nerfstudio).")
    if found is None:
        raise SceneError(f"{folder}: holds no posed sequence; accepted are folders with {NAME} (nerfstudio) or a "
                         "COLMAP model, in the folder or in its sparse/0.")
    return read_transforms(folder) if found.name == NAME else read_colmap(folder)
