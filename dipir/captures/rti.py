"""RTI captures: n photos of one object from one camera, each under one light, as .lp files or arrays.npz.

Directions are unit vectors towards the light as seen from the camera: +x the picture's right, +y up, +z towards the
camera, which is the frame of .lp files and of ``dipir.scene.direction``.
"""
from __future__ import annotations

import io
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from dipir import disk
from dipir.arrays import Directions, Image
from dipir.disk import write_text
from dipir.errors import ConfigError, ImageError
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.files import MAX_PIXELS, read_image, write_png

LEAST_LIGHTS = 4
LEAST_SIDE = 16
MAX_ALL_PIXELS = 80_000_000
"""Pixels of all images together, after shrinking: 0.9 GiB as float32."""
_MAX_LIGHTS = 4096
_BESIDE = "Put the images beside the .lp file and list them by file name alone."
_ARRAYS, _MOST_HEADER = ("light_directions", "target_images"), 65536
_MAX_LP_BYTES = 4 * 2**20
_ACCEPTED = "accepted are RTI .lp files (a count, then 'file x y z' lines) and .npz files with light_directions and " \
            "target_images"


@dataclass(frozen=True)
class Capture:
    """Photos of one object from one camera, each under one light."""

    directions: Directions  # (n, 3) float32 unit vectors, towards the light
    images: Image  # (n, 3, h, w) float32 display [0, 1]
    names: tuple[str, ...]  # one for each light
    notes: tuple[str, ...] = ()  # remarks for the user


def read_capture(path: str | Path, longest: int | None = None) -> Capture:
    """The capture in an .lp file and the images it lists (PNG or JPEG, beside it or below its folder), or in an .npz
    file (``light_directions`` (n, 3), ``target_images`` (n, h, w, 3) RGB, uint8 or float in [0, 1]).

    ``longest`` shrinks the images to that many pixels on their longer side, by area, in linear light. Raises
    ConfigError or ImageError for what cannot be used, before images are decoded where the headers show it.
    """
    path = Path(path)
    if longest is not None and longest < LEAST_SIDE:
        raise ConfigError(f"longest side {longest}: accepted are {LEAST_SIDE} pixels and more.")
    if path.suffix.lower() not in (".lp", ".npz"):
        raise ConfigError(f"{path}: extension '{path.suffix}' is no capture; {_ACCEPTED}.")
    if not path.is_file():
        raise ConfigError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; {_ACCEPTED}.")
    return (_read_lp if path.suffix.lower() == ".lp" else _read_npz)(path, longest)


def write_lp(path: str | Path, capture: Capture) -> Path:
    """Write the images as 8-bit PNG ``STEM_000.png``, ... beside ``path`` (an .lp file), then the .lp file itself, each
    atomically: a listed image is always whole. Raises ConfigError or ImageError."""
    path = Path(path)
    if path.suffix.lower() != ".lp":
        raise ConfigError(f"{path}: extension '{path.suffix}' was given; accepted is .lp.")
    lines = [str(len(capture.images))]
    for i, (image, direction) in enumerate(zip(capture.images, capture.directions.tolist(), strict=True)):
        name = f"{path.stem}_{i:03d}.png"
        write_png(path.parent / name, image[None])
        lines.append(" ".join([name, *(f"{v:.7f}" for v in direction)]))
    write_text(path, "\n".join(lines) + "\n")
    return path


def unit_directions(values: Iterable, where: str) -> tuple[Directions, tuple[str, ...]]:
    """(n, 3) numbers -> float32 unit vectors, and a note when some were of another length. ConfigError for fewer than 4
    lights and for zero, infinite or NaN directions."""
    d = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if d.ndim != 2 or d.shape[1] != 3:
        raise ConfigError(f"{where}: light directions have the shape {tuple(d.shape)}; accepted is (n, 3).")
    if len(d) < LEAST_LIGHTS:
        raise ConfigError(f"{where}: {len(d)} lights; at least {LEAST_LIGHTS} are needed to learn how light moves. "
                          "Use a capture with more lights (domes have 30 to 100).")
    length = d.norm(dim=1)
    bad = [i for i in range(len(d)) if not (math.isfinite(float(length[i])) and float(length[i]) > 1e-6)]
    if bad:
        raise ConfigError(f"{where}: light {bad[0] + 1} has the direction {d[bad[0]].tolist()}; accepted are three "
                          f"finite numbers that are not all 0. Correct or remove it ({len(bad)} such in all).")
    odd = int(((length - 1).abs() > 1e-2).sum())
    notes = (f"{odd} of {len(d)} light directions were not of length 1 and have been normalised",) if odd else ()
    unit = (d / length[:, None]).float()
    behind = int((unit[:, 2] < 0).sum())
    return unit, notes + ((f"{behind} lights stand behind the picture's plane (z < 0)",) if behind else ())


# ---- .lp -------------------------------------------------------------------------------------------------------------

def _read_lp(path: Path, longest: int | None) -> Capture:
    names, vectors = _parse_lp(path)
    directions, notes = unit_directions(vectors, str(path))
    files = [disk.beside(path, name, "the image", _BESIDE, error=ConfigError, missing=ImageError) for name in names]
    sizes = [_size(file) for file in files]
    odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if odd is not None:
        raise ImageError(f"{path}: '{names[odd]}' has {_by(sizes[odd])} pixels and '{names[0]}' {_by(sizes[0])}; "
                         "accepted are images of one size from one camera. Export them again without cropping.")
    _check_memory(path, len(files), *sizes[0], longest)
    images, more = [], {}
    for file in files:
        pixels, _, info = read_image(file)
        more |= dict.fromkeys(info.notes)
        images.append(_shrunk(pixels, longest))
        if images[-1].shape != images[0].shape:
            raise ImageError(f"{path}: '{file.name}' is turned (EXIF orientation) and '{files[0].name}' is not; "
                             "accepted are images of one size. Export them again without orientation tags.")
    return Capture(directions, torch.cat(images), tuple(names), notes + tuple(more))


def _parse_lp(path: Path) -> tuple[list[str], list[list[float]]]:
    """Names (slashes forward) and vectors. ConfigError for anything that is not 'count, then file x y z'."""
    try:
        if path.stat().st_size > _MAX_LP_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_LP_BYTES // 2**20} MiB, which no .lp file is.")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # What old Windows programs write.
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines or not re.fullmatch(r"\d{1,9}", lines[0][1]):
        found = f"'{lines[0][1][:40]}'" if lines else "nothing"
        raise ConfigError(f"{path}: the first line is {found}; expected the number of images. Write it there.")
    count = int(lines[0][1])
    if count != len(lines) - 1 or count > _MAX_LIGHTS:
        raise ConfigError(f"{path}: the first line says {count} images, {len(lines) - 1} lines follow (at most "
                          f"{_MAX_LIGHTS} are accepted). Correct the count, or restore the missing lines.")
    names, vectors = [], []
    for number, line in lines[1:]:
        words = line.rsplit(None, 3)
        try:
            vectors.append([float(word) for word in words[1:]])
            if len(words) != 4:
                raise ValueError
        except ValueError:
            raise ConfigError(f"{path}: line {number} is '{line[:80]}'; expected 'file x y z' with a decimal point in "
                              "each of the three numbers.") from None
        names.append(words[0].strip().strip('"').replace("\\", "/"))
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ConfigError(f"{path}: '{twice}' is listed twice; each image has one light. Remove one of the lines.")
    return names, vectors


def _size(path: Path) -> tuple[int, int]:
    """(width, height) from the header of a PNG or JPEG; ImageError for anything else."""
    try:
        with Pillow.open(path, formats=["PNG", "JPEG", "MPO"]) as picture:
            return picture.size
    except Exception:  # Pillow raises many kinds; the reader below has a good text for each.
        read_image(path)
        raise ImageError(f"{path}: accepted are PNG and JPEG photos here, not linear light. Save it as PNG.") from None


# ---- arrays.npz ------------------------------------------------------------------------------------------------------

def _read_npz(path: Path, longest: int | None) -> Capture:
    try:
        shapes = _npz_shapes(path)
        missing = set(_ARRAYS) - shapes.keys()
        if missing:
            raise ConfigError(f"{path}: holds {', '.join(shapes) or 'nothing'} and lacks {', '.join(sorted(missing))}; "
                              f"{_ACCEPTED}.")
        shape, dtype = shapes["target_images"]
        floats = np.issubdtype(dtype, np.floating)
        if len(shape) != 4 or shape[3] != 3 or not (dtype == np.uint8 or floats):
            raise ConfigError(f"{path}: target_images is {shape} {dtype}; accepted is (n, h, w, 3), uint8 or float.")
        _check_memory(path, shape[0], shape[2], shape[1], longest)
        lights = shapes["light_directions"][0]
        if len(lights) != 2 or lights[0] != shape[0] or lights[1] > 16:
            raise ConfigError(f"{path}: light_directions is {shapes['light_directions'][0]} for {shape[0]} images; "
                              f"expected ({shape[0]}, 3), a direction for each image.")
        with np.load(path, allow_pickle=False) as arrays:
            vectors, pixels = arrays["light_directions"], arrays["target_images"]
        directions, notes = unit_directions(vectors, str(path))
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, TypeError, RuntimeError, OverflowError,
            MemoryError, SyntaxError, zlib.error, lzma.LZMAError) as error:
        raise ConfigError(f"{path}: not a readable .npz file ({' '.join(str(error).split())[:120]}); {_ACCEPTED}. "
                          "Write it again with numpy.savez.") from error
    if floats and not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise ImageError(f"{path}: target_images has values outside [0, 1] or NaN; accepted are floats in [0, 1] or "
                         "uint8. Repair the NaN, divide by the largest value.")
    scale = np.float32(1.0 if floats else 1 / 255)
    images = [_shrunk(torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)).astype(np.float32) * scale)[None],
                      longest) for p in pixels]
    return Capture(directions, torch.cat(images), tuple(f"light {i}" for i in range(len(pixels))), notes)


def _npz_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Name -> (shape, type) of every array, from the headers alone."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in (f"{wanted}.npy" for wanted in _ARRAYS):
            if name in archive.namelist():
                with archive.open(name) as stored:
                    file = io.BytesIO(stored.read(_MOST_HEADER))
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
                        np.lib.format.read_array_header_2_0)
                    shape, _, dtype = read(file)
                if any(length < 0 for length in shape):
                    raise ValueError(f"{name} has the shape {shape}")
                found[name[:-4]] = (shape, dtype)
    return found


# ---- both ------------------------------------------------------------------------------------------------------------

def _check_memory(path: Path, count: int, width: int, height: int, longest: int | None) -> None:
    if min(width, height) < LEAST_SIDE or width * height > MAX_PIXELS:
        raise ImageError(f"{path}: images of {width}x{height} pixels; accepted are {LEAST_SIDE}x{LEAST_SIDE} to "
                         f"{MAX_PIXELS / 1e6:g} megapixels.")
    w, h = _target(width, height, longest)
    if min(w, h) < LEAST_SIDE:
        raise ConfigError(f"{path}: longest side {longest} makes images of {w}x{h}; at least {LEAST_SIDE} are needed.")
    if count * w * h > MAX_ALL_PIXELS:
        fits = int(max(width, height) * math.sqrt(MAX_ALL_PIXELS / (count * width * height)))
        raise ConfigError(f"{path}: {count} images of {w}x{h} pixels are {count * w * h / 1e6:.0f} megapixels; "
                          f"accepted are {MAX_ALL_PIXELS / 1e6:g}. Shrink them: --longest {fits}.")


def _target(width: int, height: int, longest: int | None) -> tuple[int, int]:
    scale = 1.0 if longest is None else min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrunk(image: Tensor, longest: int | None) -> Tensor:
    """(1, 3, h, w) display, at most ``longest`` pixels long."""
    height, width = image.shape[2:]
    w, h = _target(width, height, longest)
    if (w, h) == (width, height):
        return image
    return linear_to_srgb(functional.interpolate(srgb_to_linear(image), (h, w), mode="area")).clamp(0, 1)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
