"""dipir.settings.presets: a preset, then files, then single keys; the later one wins."""
from __future__ import annotations

from dataclasses import dataclass

import pytest

from dipir.errors import ConfigError
from dipir.settings import presets


@dataclass(frozen=True)
class Numbers:
    a: int = 1
    b: int = 1
    c: int = 1
    d: int = 1


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "draft.yaml").write_text("{b: 2, c: 2, d: 2}")
    (tmp_path / "final.yaml").write_text("")
    (tmp_path / "mine.txt").write_text("{c: 3, d: 3}")
    return tmp_path


def test_the_later_one_wins(folder):
    got = presets.load(Numbers(), folder, "draft", [folder / "mine.txt"], ["d=4"])
    assert got == Numbers(1, 2, 3, 4)
    assert presets.load(Numbers(), folder, "final", [], []) == Numbers()


def test_unknown_presets_and_keys_name_the_nearest(folder):
    with pytest.raises(ConfigError, match="accepted are draft, final. Did you mean 'draft'"):
        presets.load(Numbers(), folder, "daft", [], [])
    (folder / "draft.yaml").write_text("{e: 1}")
    with pytest.raises(ConfigError, match="draft.yaml.*\\n.*unknown key 'e'"):
        presets.load(Numbers(), folder, "draft", [], [])


def test_versions_of_what_is_and_is_not_installed():
    found = presets.versions(["numpy", "no-such-package"])
    assert found["no-such-package"] == "unknown" and int(found["numpy"].split(".")[0]) >= 1
