"""Radiance HDR in: RGBE and XYZE; flat, old and new run lengths; every orientation. Not differentiable."""
from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np

from dipir.event import warn
from dipir.image.formats.checks import AskedOf, Decoded, check_size, decoding, note_aspect
from dipir.image.formats.display import in_space
from dipir.image.formats.primaries import light_to_bt709, xyz_to_bt709
from dipir.image.formats.spaces import OwnPicture

_HEAD = 65536
_SIZE = re.compile(rb"\n([-+])([YX]) +(\d+) +([-+])([YX]) +(\d+)\r?\n")


def read_radiance(path: Path, max_pixels: int, asked: AskedOf = AskedOf()) -> Decoded:
    """Linear BT.709, the top row first. Colours of the space that is asked for, of a PRIMARIES line and of XYZE are
    converted; EXPOSURE is ignored, with a note. Raises ImageError."""
    notes: list[str] = []
    with decoding(path):
        # ---- the header ----
        with open(path, "rb") as file:
            head = file.read(_HEAD)
        size = _SIZE.search(head)
        if size is None or size[2] == size[5]:
            raise OSError("no resolution line such as '-Y height +X width' in its header")
        rows, columns = int(size[3]), int(size[6])
        check_size(path, *((columns, rows) if size[2] == b"Y" else (rows, columns)), max_pixels)
        lines = head[:size.start()].splitlines()
        if any(line.startswith(b"EXPOSURE=") for line in lines):
            notes.append("EXPOSURE in the header ignored")
        if any(line.startswith(b"COLORCORR=") for line in lines):
            notes.append("COLORCORR in the header ignored")
        form = next((line[7:].strip() for line in lines if line.startswith(b"FORMAT=")), b"32-bit_rle_rgbe")
        if form not in (b"32-bit_rle_rgbe", b"32-bit_rle_xyze"):
            raise OSError(f"FORMAT={form[:40]!a} in its header is neither 32-bit_rle_rgbe nor 32-bit_rle_xyze")
        aspect = next((line[10:] for line in lines if line.startswith(b"PIXASPECT=")), b"1")
        with contextlib.suppress(ValueError, ZeroDivisionError):
            note_aspect(1 / float(aspect), notes)  # Of the header: height by width.

        # ---- its pixels ----
        codes = _codes(path.read_bytes(), size.end(), rows, columns)
        pixels = np.ldexp(codes[..., :3].astype(np.float32), codes[..., 3:].astype(np.int32) - 136)
        pixels[codes[..., 3] == 0] = 0
        pixels = _upright(pixels, size)
        if asked.space is not None:
            pixels, state, own = in_space(np.ascontiguousarray(pixels), asked.space, any(
                line.startswith(b"PRIMARIES=") or b"xyze" in line for line in lines), notes)
            return Decoded(pixels, state, 32, notes, own=own)
        pixels, own = _in_bt709(pixels, lines, notes)
    return Decoded(pixels, "linear", 32, notes, own=own)


def _upright(pixels: np.ndarray, size: re.Match) -> np.ndarray:
    """Stored in the order of the resolution line -> the top row first, left to right."""
    if size[1] == (b"+" if size[2] == b"Y" else b"-"):
        pixels = pixels[::-1]
    if size[4] == (b"+" if size[5] == b"Y" else b"-"):
        pixels = pixels[:, ::-1]
    return pixels if size[2] == b"Y" else pixels.swapaxes(0, 1)


def _in_bt709(pixels: np.ndarray, lines: list[bytes], notes: list[str]) -> tuple[np.ndarray, OwnPicture | None]:
    if any(re.match(rb"FORMAT=\s*32-bit_rle_xyze", line) for line in lines):
        notes.append("XYZE converted to BT.709")
        # Radiance's XYZ has its white at equal energy.
        return pixels @ xyz_to_bt709(np.ones(3)).T.astype(np.float32), None
    stated = next((line for line in lines if line.startswith(b"PRIMARIES=")), None)
    if stated is None:
        return pixels, None
    numbers = re.findall(r"[-+.\deE]+", stated.partition(b"=")[2].decode("latin-1"))
    try:
        values = [float(v) for v in numbers]
    except ValueError:
        values = []
    if len(values) != 8:
        notes.append(warn("PRIMARIES in the header ignored: not eight numbers"))
        return pixels, None
    if np.allclose(values, (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, 1 / 3, 1 / 3), atol=2e-3):
        return pixels, None  # What Radiance writes by default and everybody reads as BT.709.
    return light_to_bt709(pixels, values, notes)


def _codes(data: bytes, at: int, rows: int, columns: int) -> np.ndarray:
    """(rows, columns, 4) uint8: mantissas and exponent. OSError for a file that is cut short."""
    codes = np.empty((rows, columns, 4), np.uint8)
    if len(data) < at + 4 * rows:
        raise OSError("the pixel data end early")
    for row in range(rows):
        new = (8 <= columns <= 32767 and data[at:at + 2] == b"\2\2"
               and int.from_bytes(data[at + 2:at + 4], "big") == columns)
        codes[row], at = (_new_row if new else _old_row)(data, at, columns)
    return codes


def _new_row(data: bytes, at: int, columns: int) -> tuple[np.ndarray, int]:
    """One row whose four components are run-length coded one after the other, and where the next begins."""
    row, at, wanted = bytearray(), at + 4, 4 * columns
    try:
        while len(row) < wanted:
            count = data[at]
            if count > 128:
                row += data[at + 1:at + 2] * (count - 128)
                at += 2
            else:
                row += data[at + 1:at + 1 + count]
                at += 1 + count
                if count == 0:
                    raise OSError("a run of no pixels")
    except IndexError as error:
        raise OSError("the pixel data end early") from error
    if len(row) != wanted or at > len(data):
        raise OSError("a run goes beyond its row")
    return np.frombuffer(row, np.uint8).reshape(4, columns).T, at


def _old_row(data: bytes, at: int, columns: int) -> tuple[np.ndarray, int]:
    """One row of whole pixels, in which 1, 1, 1, n repeats the last pixel n times (256 n after another such)."""
    count = min(columns, (len(data) - at) // 4)
    units = np.frombuffer(data, np.uint8, 4 * count, at).reshape(count, 4)
    repeats = (units[:, :3] == 1).all(1)
    if not repeats.any():
        if count < columns:
            raise OSError("the pixel data end early")
        return units, at + 4 * count
    index = np.arange(count)
    last = np.maximum.accumulate(np.where(repeats, -1, index))
    place = np.where(repeats, index - last - 1, 0)
    if last[0] < 0 or (place > 3).any():
        raise OSError("a run without a pixel before it")
    times = np.where(repeats, units[:, 3].astype(np.int64) << 8 * place, 1)
    reached = np.cumsum(times)
    used = int(np.searchsorted(reached, columns)) + 1
    if used > count or reached[used - 1] != columns:
        raise OSError("the runs do not fill a row")
    return np.repeat(units[last[:used]], times[:used], 0), at + 4 * used
