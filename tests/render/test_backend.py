"""dipir.render.backend: which LLVM is taken, and what is said when none can be used."""
from __future__ import annotations

import os
import tempfile

import pytest

from dipir.errors import RenderError
from dipir.render import backend
from dipir.render.backend import Llvm


def test_the_version_is_asked_of_the_library_else_read_from_its_name(tmp_path):
    found = backend.find_llvm()
    assert found is not None and found.version >= backend.MIN_LLVM
    fake = tmp_path / "libLLVM-14.so"
    fake.write_text("no library")
    assert backend._major_version(str(fake)) == 14
    assert backend._major_version(str(tmp_path / "libLLVM-15.so")) is None  # It is not there.


@pytest.mark.parametrize("llvm, text", [(None, "not found or not loadable.*LLVM 16 or newer"),
                                        (Llvm("/x/libLLVM-14.so", 14), "/x/libLLVM-14.so is LLVM 14")])


def test_without_a_usable_llvm_the_remedy_is_named(monkeypatch, llvm, text):
    monkeypatch.setattr(backend, "find_llvm", lambda: llvm)
    with pytest.raises(RenderError, match=text) as error:
        backend.require_llvm()
    assert "apt-get install" in str(error.value)


def test_a_path_from_outside_counts_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(tmp_path / "libLLVM-19.so"))
    assert backend.find_llvm.__wrapped__() is None


@pytest.mark.parametrize("value, count", [("3", 3), ("0", None), ("many", None)])
def test_threads_can_be_set(monkeypatch, value, count):
    monkeypatch.delenv("DIPIR_THREADS", raising=False)
    own = backend.available_threads()
    monkeypatch.setenv("DIPIR_THREADS", value)
    assert backend.available_threads() == (count or own) and own >= 1


def test_the_cache_of_kernels_is_ours_alone(tmp_path, monkeypatch):
    """Code lies in it: a folder or link that someone else put there, or may write to, is not used."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual = backend.private_cache()
    assert usual == backend.private_cache() == tmp_path / f"dipir-drjit-{os.getuid()}"
    assert usual.stat().st_mode & 0o777 == 0o700
    usual.chmod(0o777)
    other = backend.private_cache()
    assert other != usual and other.parent == tmp_path and other.stat().st_mode & 0o777 == 0o700
    usual.rmdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    usual.symlink_to(tmp_path / "theirs")
    assert backend.private_cache() not in (usual, other)
    usual.unlink()
    usual.write_text("a file")
    assert backend.private_cache() != usual
    if os.getuid() == 0:
        usual.unlink()
        usual.mkdir(mode=0o700)
        os.chown(usual, 65534, 65534)
        assert backend.private_cache() != usual
