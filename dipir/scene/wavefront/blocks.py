"""The text of an OBJ file in one form, cut into blocks of lines whose words are found at once."""
from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dipir.errors import printable

_BLOCK = 1 << 24
VERTEX, UV, NORMAL, FACE, STATE, CURVE = range(1, 7)
"""Kinds of lines: v, vt, vn; f; usemtl, mtllib or o; what is no polygon (l, p, curv, surf)."""


def as_text(data: bytes) -> bytes:
    """The file in one form: UTF-8 or an 8-bit code page, no byte-order mark, lines that end with a line feed, continued
    lines joined."""
    marks = {b"\xef\xbb\xbf": "", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
    code = None
    for mark, name in marks.items():
        if data.startswith(mark):
            data, code = data[len(mark):], name
    if code is None and data[:64].count(0) >= len(data[:64]) // 3 > 0:
        code = "utf-16-be" if data[0] == 0 else "utf-16-le"
    if code:
        data = data.decode(code, errors="replace").encode()
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return re.sub(rb"\\[ \t]*(?:\n|\Z)", b"  ", data) if b"\\" in data else data


def decoded(raw: bytes) -> str:
    """A name in UTF-8, or where it is none in Windows' western code page."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def blocks(text: bytes) -> Iterator[bytes]:
    """Whole lines, about 16 MiB at once; each block ends with a line end."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", min(at + _BLOCK, len(text)) - 1)
        end = len(text) if end < 0 else end + 1
        block = text[at:end]
        yield block if block.endswith(b"\n") else block + b"\n"
        at = end


@dataclass
class TextBlock:
    """Lines and their words."""

    letters: np.ndarray  # (B,) uint8, writable
    starts: np.ndarray  # (L,) of the lines
    ends: np.ndarray  # (L,) their line feeds
    words: np.ndarray  # (W,) where words begin
    first: np.ndarray  # (L,) index of each line's first word
    count: np.ndarray  # (L,) words of each line

    @staticmethod
    def of(text: bytes) -> TextBlock:
        letters = np.frombuffer(bytearray(text), np.uint8)
        ends = np.flatnonzero(letters == 10)
        block = TextBlock._split(letters, ends)
        remarks = block.words[letters[block.words] == ord("#")]
        if len(remarks):
            block = TextBlock._split(_without_remarks(letters, ends, remarks), ends)
        return block

    @staticmethod
    def _split(letters: np.ndarray, ends: np.ndarray) -> TextBlock:
        ink = letters > 32
        words = np.flatnonzero(ink & ~np.concatenate([[False], ink[:-1]]))
        starts = np.concatenate([[0], ends[:-1] + 1])
        first = np.searchsorted(words, starts)
        return TextBlock(letters, starts, ends, words, first, np.diff(np.concatenate([first, [len(words)]])))

    def kinds(self) -> np.ndarray:
        """(L,) what each line states; 0 = nothing that is read."""
        padded = np.concatenate([self.letters, np.full(4, 10, np.uint8)])
        at = self.words[np.minimum(self.first, max(len(self.words) - 1, 0))] if len(self.words) else self.starts
        a, b, c, d = (padded[at + k] for k in range(4))
        kind = np.zeros(len(self.starts), np.int8)
        kind[(a == ord("v")) & (b <= 32)] = VERTEX
        kind[(a == ord("v")) & (b == ord("t")) & (c <= 32)] = UV
        kind[(a == ord("v")) & (b == ord("n")) & (c <= 32)] = NORMAL
        kind[(a == ord("f")) & ((b <= 32) | ((b == ord("o")) & (c <= 32)))] = FACE
        lower = a | 32
        kind[((lower == ord("u")) & ((b | 32) == ord("s"))) | ((lower == ord("m")) & ((b | 32) == ord("t")))
             | ((a == ord("o")) & (b <= 32))] = STATE
        kind[(((a == ord("l")) | (a == ord("p"))) & (b <= 32)) | ((a == ord("s")) & (b == ord("u")) & (c == ord("r")))
             | ((a == ord("c")) & (b == ord("u")) & (c == ord("r")) & (d == ord("v")))] = CURVE
        kind[self.count == 0] = 0
        return kind

    def bytes_of(self, lines: np.ndarray) -> np.ndarray:
        """(B,) bool: the letters of the chosen lines."""
        chosen = np.zeros(len(self.starts), bool)
        chosen[lines] = True
        return np.repeat(chosen, self.ends - self.starts + 1)

    def raw(self, line: int) -> bytes:
        """One line."""
        return self.letters[self.starts[line]:self.ends[line]].tobytes()

    def text(self, line: int) -> str:
        """One line, for people."""
        return printable(decoded(self.raw(line)).strip(), 60)


def _without_remarks(letters: np.ndarray, ends: np.ndarray, remarks: np.ndarray) -> np.ndarray:
    """Blanks from each # that begins a word to the end of its line; not where the line is one with names (usemtl, o),
    for a # may be part of those."""
    line = np.searchsorted(ends, remarks)
    line, which = np.unique(line, return_index=True)
    remarks = remarks[which]
    starts = np.concatenate([[0], ends[:-1] + 1])[line]
    # ---- the first letter of the line says what it is; a line of blanks before it is short ----
    numeric = np.array([letters[s:e].tobytes().lstrip()[:1] not in (b"u", b"U", b"m", b"M", b"o") for s, e in
                        zip(starts, remarks, strict=True)], bool)
    edge = np.zeros(len(letters) + 1, np.int8)
    np.add.at(edge, remarks[numeric], 1)
    np.add.at(edge, ends[line[numeric]], -1)
    letters[np.cumsum(edge[:-1], dtype=np.int8) > 0] = 32
    return letters


def parsed(text: bytes, kind: type) -> np.ndarray | None:
    """Numbers with blanks between them; None where something is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            return np.fromstring(text, kind, sep=" ") if text.strip() else np.zeros(0, kind)
    except (ValueError, DeprecationWarning):
        return None
