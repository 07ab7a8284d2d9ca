"""Sessions on disk: which goes on, how many are kept, one program each."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dipir.errors import ConfigError
from dipir.studio import folders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are POSIX")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_STUDIO", str(tmp_path / "studio"))
    return tmp_path / "studio"


def make(name: str, age: float, size: int = 10):
    folder = folders.home() / name
    folder.mkdir(parents=True)
    (folder / folders.SAVED).write_text("{}")
    (folder / "big").write_bytes(b"x" * size)
    os.utime(folder / folders.SAVED, (1e9 - age, 1e9 - age))
    return folder


def test_a_new_session_is_for_this_user_alone(home):
    one, two = folders.new(), folders.new()
    assert one != two and one.parent == home
    assert os.stat(one).st_mode & 0o777 == 0o700 and os.stat(home).st_mode & 0o777 == 0o700
    assert folders.sessions() == []


def test_where_no_folder_can_be_made_it_says_what_to_do(home, monkeypatch):
    home.write_text("a file")
    with pytest.raises(ConfigError, match="DIPIR_STUDIO"):
        folders.new()


def test_the_newest_is_first_and_names_are_found():
    old, new = make("old", 50), make("new", 1)
    assert folders.sessions() == [new, old] and folders.named("old") == old
    for name in ("odl", "..", "../studio", "old/..", "", "/etc"):
        with pytest.raises(ConfigError, match="no such session"):
            folders.named(name)


def test_the_oldest_are_removed_beyond_the_number(monkeypatch):
    monkeypatch.setattr(folders, "MOST_SESSIONS", 3)
    made = [make(f"s{k}", k) for k in range(5)]
    said = folders.make_room(made[0])
    assert [f.name for f in folders.sessions()] == ["s0", "s1", "s2"]
    assert len(said) == 2 and "s3" in said[0] and "3 sessions" in said[0]


def test_the_oldest_are_removed_beyond_the_bytes_but_not_ours(monkeypatch):
    monkeypatch.setattr(folders, "MOST_BYTES", 1000)
    big, middle, old = make("big", 0, 5000), make("middle", 1, 10), make("old", 2, 10)
    folders.make_room(big)
    assert folders.sessions() == [big] and not middle.exists() and not old.exists()


def test_a_session_that_another_program_has_open_is_neither_taken_nor_removed(monkeypatch):
    folder = make("open", 9)
    code = ("import sys; from pathlib import Path; from dipir.studio.folders import Lock\n"
            f"lock = Lock(Path({str(folder)!r})); print(lock.taken(), flush=True); sys.stdin.read()")
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "True"
    lock = folders.Lock(folder)
    assert not lock.taken()
    monkeypatch.setattr(folders, "MOST_SESSIONS", 1)
    assert folders.make_room(make("ours", 0)) == [] and folder.is_dir()
    child.kill()
    child.wait()
    assert lock.taken()
    lock.release()
    assert len(folders.make_room(folders.home() / "ours")) == 1 and not folder.exists()
