"""dipir.disk: files are written whole or not at all, found where they ship, kept inside their folder."""
from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dipir import disk
from dipir.disk import (
    atomic_path,
    beside,
    cache_dir,
    checkout,
    data_dir,
    file_name,
    inside,
    locked,
    named_folder,
    path_of,
    path_text,
    prepare_out,
    shipped,
    write_bytes,
    write_text,
    written_aside,
)
from dipir.errors import ConfigError, ImageError, SceneError
from dipir.image.files import write_exr, write_png


def _writers() -> dict[str, object]:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return {"a.png": lambda p: write_png(p, image), "a.txt": lambda p: write_text(p, "x" * 9000),
            "a.bin": lambda p: write_bytes(p, b"x" * 9000),
            "a.exr": lambda p: write_exr(p, {c: image[0, i] for i, c in enumerate("RGB")})}


@pytest.mark.parametrize("name", list(_writers()))
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    """A limit on the size of files makes the real writers fail half-way, as a full disk does."""
    (tmp_path / name).write_text("old")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, old[1]))
    try:
        with pytest.raises(ImageError, match="cannot write"):
            _writers()[name](tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "old"
    _writers()[name](tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).stat().st_size > 4000


@pytest.mark.parametrize("name", list(_writers()))
def test_impossible_targets(tmp_path, name):
    (tmp_path / name).mkdir()
    for target in (tmp_path / name, tmp_path / "missing" / name, Path("/proc") / name):
        with pytest.raises(ImageError, match="cannot write"):
            _writers()[name](target)
    assert [p.name for p in tmp_path.iterdir()] == [name] and not list((tmp_path / name).iterdir())


def test_atomic_path(tmp_path, monkeypatch):
    with atomic_path(tmp_path / "a.exr") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path and temporary.suffix == ".exr" and not (tmp_path / "a.exr").exists()
    assert (tmp_path / "a.exr").read_text() == "new"
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a.exr") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.exr").read_text() == "new" and len(list(tmp_path.iterdir())) == 1

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ImageError, match="No space left on device.*Free some space"):
        write_text(tmp_path / "a.exr", "x")
    assert (tmp_path / "a.exr").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_files_have_the_usual_mode(tmp_path):
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_data_set_stays_in_its_folder(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    assert inside(tmp_path / "set", "a/../b.png") == (tmp_path / "set" / "b.png").resolve()
    (tmp_path / "set" / "link").symlink_to(tmp_path)
    for away in ("../secret", "/etc/passwd", "a/../../secret", "link/secret"):
        with pytest.raises(SceneError, match="lies outside of"):
            inside(tmp_path / "set", away)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 5000, "a\0b"])
def test_names_that_no_file_can_have(tmp_path, name):
    assert not disk.is_file(tmp_path / name)
    with pytest.raises(SceneError, match="no usable file name"):
        inside(tmp_path, name)


def test_what_ships_is_found(monkeypatch, tmp_path):
    assert shipped("configs/insert").is_dir() and checkout() == shipped("configs").parent
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("DIPIR_DATA", str(tmp_path / "d"))
    assert (cache_dir(), data_dir()) == (tmp_path / "c", tmp_path / "d")


def test_what_ships_is_found_in_an_installed_package(monkeypatch, tmp_path):
    (tmp_path / "site" / "dipir" / "data").mkdir(parents=True)
    monkeypatch.setattr(disk, "__file__", str(tmp_path / "site" / "dipir" / "disk.py"))
    assert shipped("scenes/demo.yaml") == tmp_path / "site/dipir/data/scenes/demo.yaml" and checkout() is None


def test_out_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match="out: is a file.*--out"):
        prepare_out(tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be written there"):
        prepare_out(tmp_path / "out" / "deeper")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written there"):
        prepare_out(tmp_path / "a")


def test_out_on_a_file_system_that_refuses():
    with pytest.raises(ConfigError, match="/proc/dipir: results cannot be written there"):
        prepare_out("/proc/dipir")


def test_disk_almost_full_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10, 9, 2**20))
    with pytest.raises(ConfigError, match="1 MiB left.*64 MiB"):
        prepare_out(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name, kind, text", [
    ("/etc/passwd", ConfigError, "absolute path"), ("https://a.b/c.png", ConfigError, "web address"),
    ("", ConfigError, "''"),
    ("../b.png", ConfigError, "leads outside"), ("link.png", ConfigError, "leads outside"),
    ("a\0b", ConfigError, "absolute path"), ("none.png", ImageError, "is missing"), ("sub", ImageError, "is missing")])
def test_files_beside_another(tmp_path, name, kind, text):
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    for file in (tmp_path / "b.png", folder / "a.png", folder / "sub" / "c.png"):
        file.write_text("x")
    (folder / "link.png").symlink_to(tmp_path / "b.png")
    owner = folder / "set.lp"
    for good in ("a.png", "sub/c.png", "sub/../a.png"):
        assert beside(owner, good, "the image", "Move it.", error=ConfigError, missing=ImageError).read_text() == "x"
    with pytest.raises(kind, match=f"set.lp: the image .*{text}.*Move it"):
        beside(owner, name, "the image", "Move it.", error=ConfigError, missing=ImageError)


@pytest.mark.parametrize("name, folder", [
    ("yard", "yard"), ("a chair, red", "a chair, red"), ("Würfel-日本", "Würfel-日本"),
    ("photo.v2-chair", "photo.v2-chair"),
    ("../../x", "x"), ("/abs/dir", "abs_dir"), ("..", "result"), ("", "result"), (".ssh", "ssh"),
    ("a\0b\x1b[2Jc\n", "a_b_2Jc"),
    ("C:\\x", "C_x"), ("W\udcfcrfel", "W_rfel"), ("~root", "root"), ("x" * 5000, "x" * 80)])
def test_a_name_is_a_name(tmp_path, name, folder):
    """What a file says its name is never leads out of the folder for results."""
    assert file_name(name) == folder and named_folder(tmp_path, name) == tmp_path / folder
    (tmp_path / folder).mkdir()
    assert (tmp_path / folder).resolve().parent == tmp_path.resolve()


def test_paths_as_text():
    """The same text in every encoding of file names, and back; text that can be no name is refused."""
    assert path_text("a/Würfel") == "a/Würfel" and path_of("a/Würfel") == Path("a/Würfel")
    latin = os.fsdecode(b"W\xfcrfel.png")
    assert path_of(path_text(latin)) == Path(latin) and path_of("W\udcc3\udcbcrfel") == Path("Würfel")
    with pytest.raises(SceneError, match="cannot be the name of a file here"):
        path_of("a\ud800")


def test_text_that_utf8_cannot_hold(tmp_path):
    write_text(tmp_path / "a.json", '{"name": "W\udcfcrfel"}')
    assert (tmp_path / "a.json").read_bytes() == b'{"name": "W\\udcfcrfel"}'


# ----------------------------------------------------------------------------------------------- runs that were killed
def child(code: str) -> subprocess.Popen:
    """A process that says "in" and stays in the block that ``code`` opens."""
    code = f"import sys, time\nfrom pathlib import Path\nfrom dipir import disk\n{code}:\n"
    code += "    print('in', flush=True)\n    time.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    return process


def test_what_a_killed_run_left_is_taken_away(tmp_path):
    process = child(f"with disk.written_aside(Path({str(tmp_path)!r})) as a, (a / 'half').open('w')")
    (left,) = tmp_path.iterdir()
    (tmp_path / ".dipir-save-elsewhere-1234567").mkdir()
    (tmp_path / ".dipir-save-99999999").mkdir()
    prepare_out(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {left.name, ".dipir-save-elsewhere-1234567"}, "that one lives"
    process.kill()
    process.wait()
    assert (left / "half").exists()
    prepare_out(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".dipir-save-elsewhere-1234567"]
    with written_aside(tmp_path) as aside:
        (aside / "a").write_text("x")
    assert (tmp_path / "a").read_text() == "x"


def test_two_runs_into_one_folder(tmp_path):
    process = child(f"with disk.locked(Path({str(tmp_path)!r}))")
    with pytest.raises(ConfigError, match=rf"run \(process {process.pid}\) writes there.*--out"), locked(tmp_path):
        raise AssertionError("two at once")
    process.kill()
    process.wait()
    assert (tmp_path / ".dipir-lock").exists()
    with locked(tmp_path):
        assert (tmp_path / ".dipir-lock").read_text() == str(os.getpid())
        with pytest.raises(ConfigError, match="another run"), locked(tmp_path):
            raise AssertionError("two at once")
    assert not list(tmp_path.iterdir())
