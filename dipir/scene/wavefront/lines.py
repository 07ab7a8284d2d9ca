"""The lines of an OBJ file as arrays: vertices, polygons, and which material stands where. Blocks of lines are read at
once, so that a million faces take seconds."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dipir.errors import AssetError
from dipir.scene.assets.polygons import MAX_CORNERS as MAX_POLYGON
from dipir.scene.wavefront.blocks import (
    CURVE,
    FACE,
    NORMAL,
    STATE,
    UV,
    VERTEX,
    TextBlock,
    as_text,
    blocks,
    decoded,
    parsed,
)

MAX_CORNERS = 60_000_000
_WORDS = {VERTEX: "v", UV: "vt", NORMAL: "vn"}
_LEAST = {VERTEX: 3, UV: 1, NORMAL: 3}


@dataclass(frozen=True)
class ObjLines:
    """What an OBJ file says of its geometry; names as they stand in it."""

    positions: np.ndarray  # (V, 3) float64
    colors: np.ndarray | None  # (V, 3) float64 as in the file, NaN where a vertex has none; None = no vertex has
    uvs: np.ndarray  # (T, 2) float64
    normals: np.ndarray  # (N, 3) float64
    corners: np.ndarray  # (C, 3) int64, numbers of position, UV and normal of each corner, -1 = none
    sizes: np.ndarray  # (P,) int64, corners of each polygon
    material: np.ndarray  # (P,) int64, index into ``materials``
    materials: tuple[str, ...]
    """After usemtl; the first, "", is that of faces before any."""
    objects: tuple[str, ...]
    """After o, for each of ``materials`` where it is used first."""
    libraries: tuple[str, ...]
    """After mtllib."""
    left_out: tuple[str, ...]
    """Statements that are no surfaces of polygons: "curv", "l", ..."""


def read_lines(path: Path, data: bytes) -> ObjLines:
    """Every statement of an OBJ file. AssetError that names the line for numbers that are none, faces of vertices that
    do not exist, too many of them."""
    reader = _Reader(path)
    for block in blocks(as_text(data)):
        reader.add(block)
    return reader.made()


@dataclass(frozen=True)
class _States:
    """Which material and which object hold where in a block."""

    where: np.ndarray  # (S,) lines after which another material holds
    which: np.ndarray  # (S + 1,) the materials, before the first of them and after each
    begins: np.ndarray  # (O,) lines at which objects begin, the first of all at -1
    objects: list[str]  # (O,) their names


@dataclass
class _Reader:
    """Collects block after block."""

    path: Path
    lines: int = 0
    numbers: dict[int, list[np.ndarray]] = field(default_factory=lambda: {k: [] for k in _WORDS})
    colors: list[np.ndarray] = field(default_factory=list)
    totals: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_WORDS, 0))
    corners: list[np.ndarray] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)
    material: list[np.ndarray] = field(default_factory=list)
    face_lines: list[np.ndarray] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=lambda: {"": 0})
    objects: dict[int, str] = field(default_factory=dict)
    libraries: dict[str, None] = field(default_factory=dict)
    left_out: dict[str, None] = field(default_factory=dict)
    current: int = 0
    object: str = ""

    def add(self, text: bytes) -> None:
        block = TextBlock.of(text)
        kind = block.kinds()
        self._add_numbers(block, kind)
        self._add_faces(block, kind, self._states(block, kind))
        for line in np.flatnonzero(kind == CURVE)[:1000]:
            self.left_out[block.text(line).split()[0]] = None
        self.lines += len(kind)

    def _bad(self, block: TextBlock, line: int, what: str) -> AssetError:
        return AssetError(f"{self.path}: line {self.lines + int(line) + 1} '{block.text(int(line))}': {what}. The file "
                          "is damaged or was written wrongly; export it again.")

    # --- v, vt, vn ---------------------------------------------------------------------------------------------------

    def _add_numbers(self, block: TextBlock, kind: np.ndarray) -> None:
        for what, word in _WORDS.items():
            lines = np.flatnonzero(kind == what)
            if not len(lines):
                continue
            values, count = self._values(block, lines, len(word))
            short = np.flatnonzero(count < _LEAST[what])
            if len(short):
                raise self._bad(block, lines[short[0]], f"{word} needs {_LEAST[what]} numbers, got {count[short[0]]}")
            first = np.cumsum(count) - count
            wide = 2 if what == UV else 3
            columns = first[:, None] + np.arange(wide)
            taken = values[np.minimum(columns, len(values) - 1)]
            taken[np.arange(wide) >= count[:, None]] = 0.0
            self.numbers[what].append(taken)
            self.totals[what] += len(lines)
            if what == VERTEX:
                self._add_colors(values, first, count)

    def _values(self, block: TextBlock, lines: np.ndarray, word: int) -> tuple[np.ndarray, np.ndarray]:
        """All numbers of lines, and how many each has."""
        at = block.words[block.first[lines]]
        for k in range(word):
            block.letters[at + k] = 32
        count = block.count[lines] - 1
        values = parsed(block.letters[block.bytes_of(lines)].tobytes(), np.float64)
        if values is None or len(values) != count.sum():
            for line in lines:
                words = block.raw(line)
                if parsed(words, np.float64) is None:
                    raise self._bad(block, line, "not a number in it")
            raise AssetError(f"{self.path}: numbers that cannot be read; export the file again.")
        return values, count

    def _add_colors(self, values: np.ndarray, first: np.ndarray, count: np.ndarray) -> None:
        """The numbers after x y z, four at most; after w where there are eight."""
        colors = np.full((len(first), 4), np.nan)
        for wide, has in ((3, count == 6), (4, count >= 7)):
            colors[has, :wide] = values[(first + np.where(count >= 8, 4, 3))[has, None] + np.arange(wide)]
        self.colors.append(colors)

    # --- f -----------------------------------------------------------------------------------------------------------

    def _add_faces(self, block: TextBlock, kind: np.ndarray, states: _States) -> None:
        lines = np.flatnonzero(kind == FACE)
        if not len(lines):
            return
        # ---- the keyword away; one number for each of a corner's fields ----
        at = block.words[block.first[lines]]
        width = np.where(block.letters[at + 1] == ord("o"), 2, 1)
        block.letters[at] = 32
        block.letters[(at + 1)[width == 2]] = 32
        letters = block.letters[block.bytes_of(lines)]
        slash = letters == ord("/")
        ink = letters > 32
        before = np.concatenate([[False], ink[:-1]])
        begins = ink & ~before
        digit = ink & ~slash
        number_at = np.flatnonzero(digit & ~np.concatenate([[False], digit[:-1]]))
        begin, slash_at = np.flatnonzero(begins), np.flatnonzero(slash)
        corner = np.searchsorted(begin, number_at, "right") - 1
        slot = np.searchsorted(slash_at, number_at) - np.searchsorted(slash_at, begin)[corner]
        letters = np.where(slash, 32, letters).astype(np.uint8)
        values = parsed(letters.tobytes(), np.int64)
        sizes = block.count[lines] - 1
        owner = np.repeat(np.arange(len(lines)), sizes)
        if values is None or len(values) != len(number_at):
            raise self._bad(block, self._bad_face(block, lines), "a corner is v, v/vt, v//vn or v/vt/vn, whole numbers")
        if slot.max(initial=0) > 2:
            raise self._bad(block, lines[owner[corner[slot.argmax()]]], "a corner has three numbers at most")
        # ---- numbers that count back do so from where the face stands ----
        corners = np.zeros((len(begin), 3), np.int64)
        corners[corner, slot] = values
        self._check_amount(block, lines, sizes)
        for k, what in enumerate(_WORDS):
            so_far = self.totals[what] - np.count_nonzero(kind == what) + np.cumsum(kind == what)[lines]
            back = corners[:, k] < 0
            corners[back, k] += so_far[owner[back]] + 1
            wrong = back & (corners[:, k] <= 0)
            if k == 0:
                wrong |= corners[:, 0] == 0
            if wrong.any():
                raise self._bad(block, lines[owner[wrong.argmax()]], f"no such {_WORDS[what]}")
        self.corners.append(corners - 1)
        self.sizes.append(sizes)
        self.face_lines.append(lines + self.lines + 1)
        self.material.append(states.which[np.searchsorted(states.where, lines)])
        for index, at in zip(*np.unique(self.material[-1], return_index=True), strict=True):
            inside = states.objects[int(np.searchsorted(states.begins, lines[at])) - 1]
            self.objects.setdefault(int(index), inside)

    def _check_amount(self, block: TextBlock, lines: np.ndarray, sizes: np.ndarray) -> None:
        if sum(map(len, self.corners)) + int(sizes.sum()) > MAX_CORNERS:
            raise AssetError(f"{self.path}: its faces have more than {MAX_CORNERS} corners; decimate the mesh.")
        if sizes.max() > MAX_POLYGON:
            raise self._bad(block, lines[sizes.argmax()], f"a face of {sizes.max()} corners; at most {MAX_POLYGON} are "
                                                          "accepted")

    @staticmethod
    def _bad_face(block: TextBlock, lines: np.ndarray) -> int:
        for line in lines:
            words = block.raw(line)
            if not all(re.fullmatch(rb"[-+]?\d+(/[-+]?\d*){0,2}", word) for word in words.split()):
                return int(line)
        return int(lines[0])

    # --- usemtl, mtllib, o -------------------------------------------------------------------------------------------

    def _states(self, block: TextBlock, kind: np.ndarray) -> _States:
        """What usemtl and o of a block say; libraries are kept."""
        where, which, begins, objects = [], [self.current], [-1], [self.object]
        for line in np.flatnonzero(kind == STATE):
            word, _, rest = block.raw(line).strip().replace(b"\t", b" ").partition(b" ")
            word, name = word.lower(), decoded(rest.strip())
            if word == b"usemtl":
                self.current = self.names.setdefault(name, len(self.names))
                where.append(line)
                which.append(self.current)
            elif word == b"mtllib" and name:
                self.libraries[name] = None
            elif word == b"o":
                self.object = name
                begins.append(line)
                objects.append(name)
        return _States(np.asarray(where, np.int64), np.asarray(which, np.int64), np.asarray(begins), objects)

    # --- all of it ---------------------------------------------------------------------------------------------------

    def made(self) -> ObjLines:
        """The arrays, every number checked."""
        def joined(arrays: list[np.ndarray], shape: tuple[int, ...], kind: type) -> np.ndarray:
            return np.concatenate(arrays) if arrays else np.zeros(shape, kind)

        corners, sizes = joined(self.corners, (0, 3), np.int64), joined(self.sizes, (0,), np.int64)
        for k, (what, word) in enumerate(_WORDS.items()):
            beyond = np.flatnonzero(corners[:, k] >= self.totals[what])
            if len(beyond):
                polygon = int(np.searchsorted(np.cumsum(sizes), beyond[0], "right"))
                line = int(np.concatenate(self.face_lines)[polygon])
                raise AssetError(f"{self.path}: line {line}: a face asks for {word} {corners[beyond[0], k] + 1}, of "
                                 f"{self.totals[what]}; faces of vertices that do not exist. Export the file again.")
        colors = _rgb(joined(self.colors, (0, 4), float))
        return ObjLines(joined(self.numbers[VERTEX], (0, 3), float), None if np.isnan(colors).all() else colors,
                        joined(self.numbers[UV], (0, 2), float), joined(self.numbers[NORMAL], (0, 3), float), corners,
                        sizes, joined(self.material, (0,), np.int64), tuple(self.names),
                        tuple(self.objects.get(k, "") for k in range(len(self.names))), tuple(self.libraries),
                        tuple(self.left_out))


def _rgb(numbers: np.ndarray) -> np.ndarray:
    """(V, 3) of what stands after x y z (V, 4): r g b, r g b a, or w r g b. Of four, the first is w where it is always
    1 and the last, which would be alpha, is not wholly opaque."""
    four = np.isfinite(numbers[:, 3])
    first, last = numbers[four, 0], numbers[four, 3]
    if four.any() and (first == 1).all() and not np.isin(last, (1, 255)).all():
        numbers[four, :3] = numbers[four, 1:]
    return numbers[:, :3]
