"""ICC profiles for tests, put together byte by byte (ICC.1:2001-04), and what they mean by independent numbers."""
from __future__ import annotations

import itertools
import struct

import numpy as np

# Display P3 as its colour profile of the web has it: sums to D50.
P3_COLORANTS = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
# IEC 61966-2-1 amended, as sRGB profiles have it.
SRGB_COLORANTS = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
# Lindbloom's table: linear sRGB of linear P3, both D65.
P3_TO_SRGB = np.array([[1.2249402, -0.2249404, 0.0], [-0.0420569, 1.0420571, 0.0], [-0.0196376, -0.0786361, 1.0982735]])


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def curve(exponent: float | None = None, table: np.ndarray | None = None) -> bytes:
    """A "curv" tag of an exponent or of a table in [0, 1]; without either the "para" tag of sRGB."""
    if table is not None:
        codes = np.rint(np.asarray(table) * 65535).astype(">u2")
        return b"curv\0\0\0\0" + struct.pack(">I", len(codes)) + codes.tobytes()
    if exponent is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(tags: dict[bytes, bytes], space: bytes, name: str, pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """The whole file."""
    text = name.encode()
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + bytes(1 + 78),
            b"wtpt": _xyz(np.array([0.9642, 1.0, 0.8249])), b"cprt": b"text\0\0\0\0none\0", **tags}
    start, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for mark, content in tags.items():
        table += mark + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s4sI", 0, b"none", 0x02400000, kind, space, pcs,
                       struct.pack(">6H", 2020, 1, 1, 0, 0, 0), b"acsp", bytes(4), 0)
    head += bytes(4 + 4 + 8) + struct.pack(">I", 0) + _fixed(0.9642, 1.0, 0.8249)
    whole = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def rgb_profile(colorants: np.ndarray, name: str, tone: bytes) -> bytes:
    """Of a matrix (3, 3), its columns the XYZ of red, green, blue, and one curve for all."""
    columns = {mark: _xyz(colorants[:, k]) for k, mark in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return profile({**columns, **{mark: tone for mark in (b"rTRC", b"gTRC", b"bTRC")}}, b"RGB ", name)


def grey_profile(exponent: float) -> bytes:
    """Of grey with an exponent."""
    return profile({b"kTRC": curve(exponent)}, b"GRAY", f"Gray {exponent}")


def cmyk_profile() -> bytes:
    """A made-up press whose inks darken lightness evenly and tint, as an 8-bit table of two steps an ink."""
    table = b""
    for c, m, y, k in itertools.product((0, 1), repeat=4):
        lightness = max(0.0, 100 - 30 * c - 35 * m - 10 * y - 80 * k)
        a, b = (0.0, 0.0) if k else (-35 * c + 60 * m - 5 * y, -45 * c - 5 * m + 80 * y)
        table += bytes(round(v) for v in (lightness * 2.55, a + 128, b + 128))
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + 4 * ramp + table + 3 * ramp
    return profile({b"A2B0": lut, b"A2B1": lut}, b"CMYK", "Press", b"Lab ", b"prtr")
