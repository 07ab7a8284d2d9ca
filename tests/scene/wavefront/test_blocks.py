"""dipir.scene.wavefront.blocks: one form for every way to write text."""
from __future__ import annotations

import numpy as np
import pytest

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

PLAIN = b"v 1 2 3\nf 1 2 3\n"


@pytest.mark.parametrize("data", [PLAIN, b"\xef\xbb\xbf" + PLAIN, PLAIN.decode().encode("utf-16"),
                                  b"\xfe\xff" + PLAIN.decode().encode("utf-16-be"), PLAIN.decode().encode("utf-16-be"),
                                  PLAIN.decode().encode("utf-16-le"), PLAIN.replace(b"\n", b"\r\n"),
                                  PLAIN.replace(b"\n", b"\r")])
def test_one_form(data):
    assert as_text(data) == PLAIN


def test_continued_lines_are_joined():
    assert as_text(b"f 1 2 \\\r\n 3\n").split() == [b"f", b"1", b"2", b"3"]


def test_names_in_either_code():
    assert decoded("größe 木".encode()) == "größe 木" and decoded("größe".encode("cp1252")) == "größe"


def test_kinds_of_lines():
    text = (b"v 1\n\tvt 1\n vn 1\nf 1\nfo 1\nusemtl a\nmtllib b\no c\nl 1\np 1\ncurv2 1\nsurf 1\n\n"
            b"# v\nvp 1\ng x\nfoo\ns 1\n")
    kinds = TextBlock.of(text).kinds().tolist()
    assert kinds == [VERTEX, UV, NORMAL, FACE, FACE, STATE, STATE, STATE, CURVE, CURVE, CURVE, CURVE, 0, 0, 0, 0, 0, 0]


def test_remarks_go_but_not_out_of_names():
    block = TextBlock.of(b"v 1 2 # 3\nusemtl no #1\n# f 1\nf 1 2 # # 3\n")
    assert [block.raw(k).split(b"#")[0].split() for k in (0, 2, 3)] == [[b"v", b"1", b"2"], [], [b"f", b"1", b"2"]]
    assert block.raw(1) == b"usemtl no #1" and block.count.tolist() == [3, 3, 0, 3]


def test_blocks_hold_whole_lines():
    text = b"".join(b"v %d 0 0\n" % k for k in range(3_000_000))[:-1]
    found = list(blocks(text))
    assert len(found) > 1 and b"".join(found) == text + b"\n" and all(block.endswith(b"\n") for block in found)


def test_numbers_or_none():
    np.testing.assert_array_equal(parsed(b" 1 -2.5e1\n nan", float), [1, -25, np.nan])
    assert parsed(b"1 2 x 3", float) is None and parsed(b"1 2.5", np.int64) is None and len(parsed(b" \n", float)) == 0
