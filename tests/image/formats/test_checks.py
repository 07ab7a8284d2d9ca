import os
from pathlib import Path

import pytest

from dipir.errors import ImageError
from dipir.image.formats.checks import check_size, decoding, openable


def test_sizes():
    check_size(Path("a"), 10, 10, 100)
    for size, text in (((10, 11), "10x11"), ((0, 5), "damaged"), ((-3, -3), "damaged")):
        with pytest.raises(ImageError, match=text):
            check_size(Path("a"), *size, 100)


@pytest.mark.parametrize("error", [OSError("bad"), ValueError("bad"), MemoryError("bad"), SyntaxError("bad")])
def test_every_error_of_a_decoder_becomes_ours(error):
    with pytest.raises(ImageError, match=r"a\.png is damaged or cut short \(bad\)"), decoding(Path("a.png")):
        raise error


@pytest.mark.parametrize("name, own", [("a.tif", True), ("a", False), ("why?.tif", False), ("a.tiff", False)])
def test_names_for_libraries(tmp_path, name, own):
    path = tmp_path / name
    path.write_bytes(b"content")
    with openable(path, ".tif") as other:
        assert Path(other).read_bytes() == b"content" and other.endswith(".tif") and (other == str(path)) == own
    assert path.read_bytes() == b"content" and (own or not Path(other).exists())


def test_a_name_that_is_no_unicode(tmp_path):
    path = tmp_path / os.fsdecode(b"W\xfcrfel.tif")
    try:
        path.write_bytes(b"content")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    with openable(path, ".tif") as other:
        other.encode()
        assert Path(other).read_bytes() == b"content"
