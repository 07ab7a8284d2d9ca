"""Strategies: what may have become of a valid file."""
from __future__ import annotations

import gzip
import re

from hypothesis import strategies as st

NASTY = [b"0", b"-1", b"1e400", b"-1e400", b"1e-320", b"9" * 400, b"9" * 5000, b"NaN", b"nan", b"Infinity", b".inf",
         b"null", b"true", b"[]", b"{}", b"[[[]]]", b'""', b'"x"', b"2147483648", b"18446744073709551616", b"1e308",
         b"0.0", b"!!timestamp x", b'!!int ""', b"? [1]", b"&a [*a]", b"<<: 3", b'"\\ud800"',
         b'"../../x"', b"/etc/passwd", b"\x1b[2J",
         b"\xff\xfe", b"\0", b"\xed\xa0\x80", b"\n", b"\r", b"\t", b"#", b"[" * 3000, b"x" * 70000]
_NUMBER = re.compile(rb"-?\d+\.?\d*(?:e-?\d+)?")
_WORD = re.compile(rb"[A-Za-z_][\w.]*")

place = st.integers(0, 2**20)
change = st.one_of(
    st.tuples(st.just("number"), place, st.sampled_from(NASTY)),
    st.tuples(st.just("word"), place, st.sampled_from(NASTY)),
    st.tuples(st.just("insert"), place, st.sampled_from(NASTY) | st.binary(max_size=8)),
    st.tuples(st.just("over"), place, st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8) | st.just(b"\0" * 8)),
    st.tuples(st.just("cut"), place, st.just(b"")), st.tuples(st.just("drop"), place, st.binary(max_size=40)),
    st.tuples(st.just("again"), place, st.binary(max_size=40)))
changes = st.lists(change, min_size=1, max_size=4)


def changed(data: bytes, many: list[tuple[str, int, bytes]], packed: bool = False) -> bytes:
    """``data`` after all changes; of a gzip file (``packed``) those of its content, and the last one of itself."""
    if packed and len(many) > 1:
        data, many = gzip.compress(changed(gzip.decompress(data), many[:-1]), mtime=0), many[-1:]
    elif packed:
        return gzip.compress(changed(gzip.decompress(data), many), mtime=0)
    for kind, where, new in many:
        data = _one(data, kind, where, new)
    return data


def _one(data: bytes, kind: str, where: int, new: bytes) -> bytes:
    if kind in ("number", "word"):
        found = list((_NUMBER if kind == "number" else _WORD).finditer(data))
        if not found:
            return data
        match = found[where % len(found)]
        return data[:match.start()] + new + data[match.end():]
    at = where % (len(data) + 1)
    return {"insert": data[:at] + new + data[at:], "over": data[:at] + new + data[at + len(new):], "cut": data[:at],
            "drop": data[:at] + data[at + len(new):], "again": data[:at + len(new)] + data[at:]}[kind]
