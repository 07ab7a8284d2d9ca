"""The layout of PLY files: elements, properties, lists; text and binary of either byte order."""
from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dipir.errors import AssetError, printable

_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
          "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
          "float32": "f4", "float64": "f8"}
_ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class PlyProperty:
    """One value, or one list, of each row of an element."""

    name: str
    kind: np.dtype
    count: np.dtype | None = None  # of the list's length; None = no list


@dataclass
class PlyElement:
    """Rows of properties."""

    name: str
    rows: int
    properties: list[PlyProperty] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    """(rows,) of each property, or all members of a list, row after row."""
    lengths: dict[str, np.ndarray] = field(default_factory=dict)
    """(rows,) int64 of each list."""


@dataclass(frozen=True)
class Ply:
    """A file."""

    comments: tuple[str, ...]
    elements: dict[str, PlyElement]


def parse_ply(path: Path, data: bytes) -> Ply:
    """The elements of a file up to its faces and vertices. AssetError for damaged or truncated ones."""
    order, comments, elements, begin = _header(path, data)
    letters = np.frombuffer(data, np.uint8)[begin:] if order else _numbers(path, data[begin:])
    at, missing = 0, {"vertex", "face"}
    for element in elements:
        at = _Layout(path, element, letters, order is None).read(at)
        missing.discard(element.name)
        if not missing:
            break
    return Ply(tuple(comments), {element.name: element for element in elements})


def _header(path: Path, data: bytes) -> tuple[str | None, list[str], list[PlyElement], int]:
    end = data.find(b"end_header", 0, 1 << 20)
    if not data.startswith(b"ply") or end < 0:
        raise AssetError(f"{path}: no header of a PLY file ('ply' to 'end_header'); export it again.")
    order, comments, elements = None, [], []
    known = False
    for line in data[:end].decode("utf-8", errors="replace").splitlines()[1:]:
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order, known = _ORDERS[words[1]], True
            elif words[:1] in (["comment"], ["obj_info"]):
                comments.append(line.strip().partition(" ")[2].strip())
            elif words[:1] == ["element"]:
                elements.append(PlyElement(words[1], int(words[2])))
            elif words[:2] == ["property", "list"]:
                elements[-1].properties.append(PlyProperty(words[4], _kind(words[3], order), _kind(words[2], order)))
            elif words[:1] == ["property"]:
                elements[-1].properties.append(PlyProperty(words[2], _kind(words[1], order)))
        except (KeyError, IndexError, ValueError):
            raise AssetError(f"{path}: the header line '{printable(line, 80)}' is none of a PLY file; export it again."
                             ) from None
    if not known or any(element.rows < 0 for element in elements):
        raise AssetError(f"{path}: the header states no format, or rows below 0; export it again.")
    begin = end + len(b"end_header")
    # ---- one line end, of any kind ----
    while begin < len(data) and data[begin:begin + 1] in (b" ", b"\t"):
        begin += 1
    begin += 2 if data[begin:begin + 2] == b"\r\n" else 1
    return order, comments, elements, begin


def _kind(name: str, order: str | None) -> np.dtype:
    return np.dtype((order or "=") + _TYPES[name])


def _numbers(path: Path, text: bytes) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            return np.fromstring(text, np.float64, sep=" ") if text.strip() else np.zeros(0)
    except (ValueError, DeprecationWarning):
        raise AssetError(f"{path}: something in it is not a number; the file is damaged, export it again.") from None


@dataclass(frozen=True)
class _Layout:
    """Where the values of an element's rows lie, in bytes or, in text, in numbers."""

    path: Path
    element: PlyElement
    data: np.ndarray
    text: bool

    def size(self, kind: np.dtype | None) -> int:
        return 0 if kind is None else 1 if self.text else kind.itemsize

    def read(self, at: int) -> int:
        """Fill the element from where it begins; returns where the next one does."""
        element = self.element
        lists = [p for p in element.properties if p.count is not None]
        fixed = sum(self.size(p.count or p.kind) for p in element.properties)
        if not element.properties:
            return at  # Rows of nothing, however many.
        if fixed * element.rows > len(self.data) - at:
            raise self._short()
        starts, lengths = self._rows(at, fixed, lists)
        # ---- each property lies behind what is before it in its row ----
        place = starts.copy()
        for p in element.properties:
            if p.count is None:
                element.values[p.name] = self._gathered(place, p.kind)
                place = place + self.size(p.kind)
                continue
            length, place = lengths[p.name], place + self.size(p.count)
            within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
            element.values[p.name] = self._gathered(np.repeat(place, length) + within * self.size(p.kind), p.kind)
            element.lengths[p.name] = length
            place = place + length * self.size(p.kind)
        return int(place[-1]) if len(place) else at

    def _gathered(self, place: np.ndarray, kind: np.dtype) -> np.ndarray:
        size = self.size(kind)
        if len(place) and place.max() + size > len(self.data):
            raise self._short()
        if self.text:
            return self.data[place]
        return self.data[place[:, None] + np.arange(size)].view(kind).reshape(-1)

    def _rows(self, at: int, fixed: int, lists: list[PlyProperty]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Where each row begins, and the lengths of its lists."""
        rows, index = self.element.rows, np.arange(self.element.rows, dtype=np.int64)
        if not lists or not rows:
            return at + fixed * index, {p.name: np.zeros(rows, np.int64) for p in lists}
        first = self._lengths(at)
        size = fixed + sum(first[p.name] * self.size(p.kind) for p in lists)
        # ---- all rows as long as the first? ----
        starts = at + size * index
        if starts[-1] + size <= len(self.data):
            place, same = starts.copy(), True
            for p in self.element.properties:
                if p.count is not None:
                    same &= bool((self._gathered(place, p.count) == first[p.name]).all())
                    place = place + self.size(p.count) + first[p.name] * self.size(p.kind)
                else:
                    place = place + self.size(p.kind)
            if same:
                return starts, {name: np.full(rows, length, np.int64) for name, length in first.items()}
        # ---- no: one after the other ----
        if len(lists) == 1:
            return self._rows_of_one_list(at, fixed, lists[0])
        found: dict[str, list[int]] = {p.name: [] for p in lists}
        for row in range(rows):
            starts[row] = at
            here = self._lengths(at)
            at += fixed
            for p in lists:
                found[p.name].append(here[p.name])
                at += here[p.name] * self.size(p.kind)
        return starts, {name: np.array(lengths, np.int64) for name, lengths in found.items()}

    def _rows_of_one_list(self, at: int, fixed: int, only: PlyProperty) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """:meth:`_rows` of an element with one list, as faces mostly are, in a loop that does little."""
        rows, size, end = self.element.rows, self.size(only.kind), len(self.data)
        starts, lengths = np.empty(rows, np.int64), np.empty(rows, np.int64)
        properties = self.element.properties
        before = sum(self.size(p.kind) for p in properties[:properties.index(only)])
        values = memoryview(self.data)
        one = None if self.text or only.count.itemsize == 1 else struct.Struct(
            (only.count.str[0] if only.count.str[0] in "<>" else "=") + only.count.char).unpack_from
        try:
            for row in range(rows):
                length = int(values[at + before] if one is None else one(values, at + before)[0])
                if length < 0 or at > end:
                    raise self._short()
                starts[row], lengths[row] = at, length
                at += fixed + length * size
        except (IndexError, struct.error):
            raise self._short() from None
        if at > end:
            raise self._short()
        return starts, {only.name: lengths}

    def _lengths(self, at: int) -> dict[str, int]:
        """The lengths of the lists of the row that begins there."""
        found = {}
        for p in self.element.properties:
            if p.count is None:
                at += self.size(p.kind)
                continue
            end = at + self.size(p.count)
            if end > len(self.data):
                raise self._short()
            length = int(self.data[at] if self.text else self.data[at:end].view(p.count)[0])
            if length < 0 or end + length * self.size(p.kind) > len(self.data):
                raise self._short()
            found[p.name], at = length, end + length * self.size(p.kind)
        return found

    def _short(self) -> AssetError:
        name = printable(self.element.name, 40)
        return AssetError(f"{self.path}: the file ends within its '{name}' rows, of which the header states "
                          f"{self.element.rows}; it is truncated or damaged. Copy or export it again.")
