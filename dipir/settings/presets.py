"""What the methods' settings and results share: presets from files, versions of packages."""
from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from dipir.errors import ConfigError, nearest
from dipir.settings import read
from dipir.settings.yaml import load_yaml

T = TypeVar("T")


def load(settings: T, folder: Path, preset: str, extra: Sequence[str | Path], overrides: Sequence[str]) -> T:
    """``settings``, then the preset's file in ``folder``, then ``extra`` YAML files, then ``key=value`` overrides.
    Raises ConfigError with every unknown key and its nearest valid name."""
    presets = sorted(p.stem for p in folder.glob("*.yaml"))
    if preset not in presets:
        raise ConfigError(f"preset '{preset}': accepted are {', '.join(presets)}.{nearest(preset, presets)}")
    for path in [folder / f"{preset}.yaml", *map(Path, extra)]:
        settings = read.merge(settings, load_yaml(path), str(path))
    return read.override(settings, list(overrides))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of installed packages; "unknown" for others."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
