"""Colour spaces by name, from an OpenColorIO config: a file, the one of the variable OCIO, or a built-in one.

Conversions go by the config's interchange roles (ACES2065-1 for scene-referred spaces, CIE XYZ of D65 for what screens
show), so that no view transform is in them; a config without the roles must have linear BT.709 under one of its usual
names. A config is not trusted: it and its LUTs have size limits, and LUTs must lie beside it or below.
"""
from __future__ import annotations

import contextlib
import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PyOpenColorIO as ocio

from dipir.errors import ConfigError, printable
from dipir.image.formats.png import chunks_like
from dipir.image.formats.primaries import chromaticities_of
from dipir.image.formats.spaces import ColourSpace, Values

BUILT_IN = "ocio://studio-config-v2.2.0_aces-v1.3_ocio-v2.4"
"""Used where no config is given."""
MAX_CONFIG, MAX_LUT = 10_000_000, 200_000_000
"""Bytes."""
_SCHEME = "ocio://"
_OURS = "lin_rec709_srgb"
_LINEAR_BT709 = ("lin_rec709_srgb", "lin_rec709", "lin_rec709_scene", "lin_srgb", "Linear Rec.709 (sRGB)",
                 "Utility - Linear - Rec.709", "Utility - Linear - sRGB", "Linear sRGB", "Linear BT.709", "lin_bt709")
_FEWEST, _MOST_NAMES, _SHOWN = 3, 10, 60
# Messages may quote bytes of a LUT that are no text.
_ERRORS = (ocio.Exception, ocio.ExceptionMissingFile, RuntimeError, UnicodeDecodeError)
_BEYOND = 1.5  # Light of the largest code of a space that screens do not show as it is.


class _Config(NamedTuple):
    """A config that was read."""

    config: ocio.Config
    files: _Files | None  # what it may read; None = built in
    where: str  # for people


class _Files(ocio.PyConfigIOProxy):
    """The files of a config: nothing outside of its folder, nothing too large. OpenColorIO asks for each."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.problem = path, ""

    def getConfigData(self) -> str:  # noqa: N802
        """The config itself."""
        return self.path.read_text(encoding="utf-8")

    def getLutData(self, name: str) -> ocio.vector_of_uint8_t:  # noqa: N802
        """The bytes of a LUT."""
        path = self._allowed(name)
        if path is None:
            raise OSError("not allowed")
        return ocio.vector_of_uint8_t(path.read_bytes())

    def getFastLutFileHash(self, name: str) -> str:  # noqa: N802
        """What changes with a LUT; empty = there is none."""
        path = self._allowed(name)
        if self.problem:
            # An absolute path would be opened all the same.
            raise OSError(self.problem)
        return "" if path is None else f"{path}-{path.stat().st_mtime_ns}-{path.stat().st_size}"

    def _allowed(self, name: str) -> Path | None:
        folder = self.path.parent.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            self.problem = (f"its LUT '{printable(name, _SHOWN)}' lies outside of its folder; accepted are files "
                            "beside the config or below. Copy it there")
        elif path.is_file() and path.stat().st_size > MAX_LUT:
            self.problem = (f"its LUT '{printable(name, _SHOWN)}' has more than {MAX_LUT // 10**6} MB; accepted are "
                            "smaller ones")
        elif path.is_file():
            return path
        return None


def config_name(given: str | None) -> str:
    """The config that is used: ``given``, else that of the variable OCIO, else the built-in one. A file by its whole
    path."""
    name = given or os.environ.get("OCIO") or BUILT_IN
    return name if name.startswith(_SCHEME) else str(Path(name).expanduser().absolute())


def find_space(name: str, config: str | None = None, output: bool = False) -> ColourSpace:
    """The colour space of this name, alias or role. ``output`` : whether the way back is needed.

    config : a file or ocio://NAME; None = the variable OCIO, else the built-in one
    Raises ConfigError for a config that cannot be used, an unknown name (the nearest are named), data that are no
    colours, and a space that cannot be brought to linear BT.709, or back where that is needed.
    """
    found = _config(config_name(config))
    space = found.config.getColorSpace(name) if name.isprintable() and len(name) < 500 else None
    if space is None:
        raise ConfigError(f"colour space '{printable(name, _SHOWN)}' is not in {found.where}; accepted are its names, "
                          f"aliases and roles, for instance {_near(found.config, name)}. Give one of these, or another "
                          "config with --ocio.")
    called = printable(space.getName(), _SHOWN)
    if space.isData():
        raise ConfigError(f"colour space '{called}' of {found.where} holds data, no colours; accepted is a space of "
                          f"colours, for instance {_near(found.config, 'ACEScg')}.")
    # ---- the ways there and back ----
    to_light = _way(found, space, back=False)
    try:
        from_light: Values | None = _way(found, space, back=True)
    except ConfigError:
        if output:
            raise
        from_light = None
    # ---- what it is ----
    is_linear = False
    with contextlib.suppress(*_ERRORS, OSError):
        is_linear = found.config.isColorSpaceLinear(space.getName(), space.getReferenceSpaceType())
    top = to_light(np.ones((1, 1, 3), np.float32))
    kind = "linear" if is_linear else "log" if float(top.max()) > _BEYOND else "display"
    made = ColourSpace(called, kind, to_light, from_light)
    chromaticities = None
    if kind == "linear":
        chromaticities = chromaticities_of(to_light(np.eye(3, dtype=np.float32)[None])[0].T.astype(np.float64))
    return ColourSpace(called, kind, to_light, from_light, chunks_like(made), chromaticities)


# ---- the config ------------------------------------------------------------------------------------------------------

def _config(name: str) -> _Config:
    if name.startswith(_SCHEME):
        return _built_in(name)
    path = Path(name)
    try:
        stat = path.stat()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no such OpenColorIO config; accepted is a config.ocio, or the name of a built-in "
                          f"config such as {BUILT_IN}. Check --ocio, colour.ocio or the variable OCIO.") from error
    return _from_file(path, stat.st_mtime_ns)


@lru_cache(8)
def _built_in(name: str) -> _Config:
    known = [_SCHEME + entry[0] for entry in ocio.BuiltinConfigRegistry().getBuiltinConfigs()]
    latest = [f"{_SCHEME}{kind}-config-latest" for kind in ("cg", "studio")]
    if name not in (*known, *latest, "ocio://default"):
        raise ConfigError(f"'{printable(name, 120)}' is no built-in OpenColorIO config; accepted are "
                          f"{', '.join([*known[-8:], *latest])}, or a file.")
    return _Config(ocio.Config.CreateFromFile(name), None, name)


@lru_cache(8)
def _from_file(path: Path, changed: int) -> _Config:
    """``changed`` : when, so that a file that is written again is read again."""
    if not path.is_file() or path.stat().st_size > MAX_CONFIG:
        raise ConfigError(f"{path} is no OpenColorIO config: no file, or one of more than {MAX_CONFIG // 10**6} MB; "
                          "accepted is a config.ocio.")
    with open(path, "rb") as file:
        if file.read(4) == b"PK\3\4":
            raise ConfigError(f"{path} is an archive; accepted is a config.ocio as text. Unpack it: ocioarchive "
                              "--extract.")
    files = _Files(path)
    # Its own lines on stderr would repeat the error, with what the file holds as it is.
    ocio.SetLoggingLevel(ocio.LOGGING_LEVEL_NONE)
    try:
        return _Config(ocio.Config.CreateFromConfigIOProxy(files), files, str(path))
    except (*_ERRORS, OSError) as error:
        raise ConfigError(f"{path} cannot be read as an OpenColorIO config ({_said(error)}); accepted is a config.ocio "
                          "that OpenColorIO reads. Mend it, or name another one with --ocio.") from error


def _near(config: ocio.Config, name: str) -> str:
    """Names like that one, else the first of the config, for people."""
    spaces = list(config.getColorSpaces())
    home = {alias.lower(): space.getName() for space in spaces for alias in (space.getName(), *space.getAliases())}
    home |= {role.lower(): role for role, _ in config.getRoles()}
    word = name[:_SHOWN].lower()
    within = [key for key in home if word and word in key]
    near = dict.fromkeys(home[key] for key in [*within, *difflib.get_close_matches(word, home, 2 * _MOST_NAMES, 0.5)])
    names = [*near, *(() if len(near) >= _FEWEST else (n for s in spaces if not s.isData() and (n := s.getName())))]
    return ", ".join(f"'{printable(n, _SHOWN)}'" for n in [*dict.fromkeys(names)][:_MOST_NAMES])


# ---- conversions -----------------------------------------------------------------------------------------------------

def _way(found: _Config, space: ocio.ColorSpace, back: bool) -> Values:
    """From the space to linear BT.709, or ``back``. ConfigError where there is no way."""
    if found.files is not None:
        found.files.problem = ""
        # LUTs are kept by the names that configs give them, which are the same in others.
        ocio.ClearAllCaches()
    try:
        cpu = _processor(found, space, back).getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
    except (*_ERRORS, OSError) as error:
        why = (found.files and found.files.problem) or _said(error)
        raise ConfigError(f"colour space '{printable(space.getName(), _SHOWN)}' of {found.where} cannot be converted "
                          f"{'from' if back else 'to'} linear BT.709: {why}. Name another space, or another config "
                          "with --ocio.") from error

    def convert(values: np.ndarray) -> np.ndarray:
        done = np.array(values, np.float32, order="C")
        cpu.applyRGB(done)
        return done

    return convert


def _processor(found: _Config, space: ocio.ColorSpace, back: bool) -> ocio.Processor:
    config, name = found.config, space.getName()
    shown = space.getReferenceSpaceType() == ocio.REFERENCE_SPACE_DISPLAY
    if config.hasRole(ocio.ROLE_INTERCHANGE_DISPLAY if shown else ocio.ROLE_INTERCHANGE_SCENE):
        ours = _built_in(BUILT_IN).config
        ends = (ours, _OURS, config, name) if back else (config, name, ours, _OURS)
        return ocio.Config.GetProcessorFromConfigs(*ends)
    ours = next((n for n in _LINEAR_BT709 if config.getColorSpace(n) is not None), None)
    if ours is None or shown:
        role = "cie_xyz_d65_interchange" if shown else "aces_interchange"
        raise OSError(f"the config has no role {role}" + ("" if shown else " and no linear BT.709 under one of its "
                      f"usual names ({_LINEAR_BT709[1]}, '{_LINEAR_BT709[4]}')"))
    return config.getProcessor(ours, name) if back else config.getProcessor(name, ours)


def _said(error: Exception) -> str:
    """What a library says, in one short line."""
    return printable(" ".join(str(error).split("At:")[0].split()), 240).rstrip(".")
