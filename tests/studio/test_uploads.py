"""Files from pages: kinds, limits, and names that never become paths."""
from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dipir.studio import uploads
from dipir.studio.uploads import Kept, Refusal, Store, clean


async def pieces(*parts: bytes):
    for part in parts:
        yield part


def receive(store: Store, kind: str, name: str, *parts: bytes, length: int | None = None) -> Kept:
    return asyncio.run(store.receive(kind, name, pieces(*parts), length))


def files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_a_file_gets_a_name_of_ours(tmp_path):
    store = Store(tmp_path)
    kept = receive(store, "plate", "Mein Föto.JPG", b"ab", b"c")
    assert kept == Kept("f1", "plate", "Mein Föto.JPG", "files/f1/f1.jpg")
    store.keep(kept)
    assert store.path("f1").read_bytes() == b"abc" and store.name("f1") == "Mein Föto"
    assert receive(store, "asset", "x.glb", b"a").id == "f2"
    assert os.stat(tmp_path / "files" / "f1").st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["../../evil.jpg", "/etc/evil.jpg", "..\\..\\evil.jpg", "C:\\evil.jpg", "a/../b.jpg",
                                  "\x00evil.jpg", "evil.jpg/", "....//evil.jpg", "a" * 5000 + ".jpg"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    inner = tmp_path / "session"
    inner.mkdir()
    kept = receive(Store(inner), "plate", name, b"abc")
    assert files(tmp_path) == ["session/files/f1/f1.jpg"]
    assert "/" not in kept.name and "\\" not in kept.name and len(kept.name) <= 120 and kept.name.isprintable()


@pytest.mark.parametrize("kind, name, status", [
    ("plate", "a.glb", 415), ("plate", "a.jpg.exe", 415), ("plate", "jpg", 415), ("plate", "", 415),
    ("hdri", "a.png", 415), ("asset", "a.fbx", 415), ("asset", "a.zip", 415), ("camera", "a.py", 415),
    ("film", "a.jpg", 400), ("", "a.jpg", 400)])
def test_other_kinds_are_refused_before_anything_is_read(tmp_path, kind, name, status):
    with pytest.raises(Refusal, match="accepted are") as caught:
        receive(Store(tmp_path), kind, name, b"abc")
    assert caught.value.status == status and files(tmp_path) == []


def test_too_much_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    with pytest.raises(Refusal, match="larger than") as caught:
        receive(Store(tmp_path), "plate", "a.jpg", b"123456", b"789012", b"345")
    assert caught.value.status == 413 and files(tmp_path) == [] and list((tmp_path / "files").iterdir()) == []
    with pytest.raises(Refusal):
        receive(Store(tmp_path), "plate", "a.jpg", b"1", length=11)
    assert receive(Store(tmp_path), "plate", "a.jpg", b"1234567890").id == "f1"


def test_nothing_is_refused(tmp_path):
    with pytest.raises(Refusal, match="0 bytes"):
        receive(Store(tmp_path), "plate", "a.jpg")
    assert list((tmp_path / "files").iterdir()) == []


def test_a_page_that_goes_away_leaves_nothing(tmp_path):
    async def broken():
        yield b"abc"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        asyncio.run(Store(tmp_path).receive("plate", "a.jpg", broken(), None))
    assert list((tmp_path / "files").iterdir()) == []


def test_two_at_once_have_two_folders(tmp_path):
    async def both():
        store = Store(tmp_path)
        return await asyncio.gather(store.receive("plate", "a.jpg", pieces(b"1", b"2"), None),
                                    store.receive("plate", "b.jpg", pieces(b"3", b"4"), None))

    one, two = asyncio.run(both())
    assert one.id != two.id and (tmp_path / two.file).read_bytes() == b"34"


def test_dropped_files_are_gone_and_kept_ones_stay(tmp_path):
    store = Store(tmp_path)
    good, bad = receive(store, "plate", "a.jpg", b"1"), receive(store, "plate", "b.jpg", b"2")
    store.keep(good)
    store.drop(bad)
    assert files(tmp_path) == ["files/f1/f1.jpg"]
    with pytest.raises(Refusal, match="no file 'f2'"):
        store.path("f2")


def test_a_file_of_this_machine_stays_where_it_is(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    store = Store(tmp_path / "session")
    kept = store.adopt("plate", tmp_path / "photo.png")
    assert store.path(kept.id) == tmp_path / "photo.png"
    again = Store(tmp_path / "session", {id: Kept(**k) for id, k in store.to_dict().items()})
    assert again.path(kept.id) == tmp_path / "photo.png"
    store.drop(kept)
    assert (tmp_path / "photo.png").is_file() and kept.id not in store.files


def test_shown_names():
    assert clean("a\x1b[31mb.jpg") == "a[31mb.jpg" and clean("///") == "unnamed" and clean("x/y.png") == "y.png"
