"""Paths that data sets name, without trusting them."""
from __future__ import annotations

from pathlib import Path

from dipir.errors import SceneError


def inside(folder: Path, relative: str) -> Path:
    """The file that a data set names by a path relative to its folder. SceneError when it lies outside."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SceneError(f"the data set names '{relative[:200]}', which lies outside of {folder}; accepted are paths "
                         "below it. Do not use this data set.")
    return path
