"""dipir.settings.yaml: bad files are named, numbers are numbers, writing is all or nothing."""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import pytest
import yaml

from dipir.errors import ConfigError
from dipir.settings import read
from dipir.settings.yaml import MAX_YAML_BYTES, dump_yaml, load_yaml, parse, parse_json


@dataclass(frozen=True)
class Fit:
    steps: int = 300
    rate: float = 0.01
    weighting: Literal["uniform", "snr", 3] = "snr"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


def test_exponents_without_a_point_are_numbers(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1e-3\nb: -2E5\nc: 1.5e+2\nd: e5\ne: 1e\n")
    assert load_yaml(tmp_path / "a.yaml") == {"a": 1e-3, "b": -2e5, "c": 150.0, "d": "e5", "e": "1e"}


@pytest.mark.parametrize("content, reason", [
    (b"- 1\n- 2\n", "expected a mapping"), (b"just words", "expected a mapping"), (b"a: [1,\n", "not a valid YAML"),
    (b"a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"), (b"\xff\xfe\x00\x01", "not UTF-8"),
    (b"a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    (b"[" * 5000, "not a valid YAML"), (b"a: 2026-99-99", "not a valid YAML"), (b"a\x00b: 1", "not a valid YAML")])


def test_bad_files_are_named(tmp_path, content, reason):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert "bad.yaml" in str(caught.value) and reason in str(caught.value)


def test_missing_file_folder_and_json(tmp_path):
    with pytest.raises(ConfigError, match="none.yaml: no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "a.json").write_text('{\t"a": [1, 2.5]}')
    assert load_yaml(tmp_path / "a.json") == {"a": [1, 2.5]}
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(ConfigError, match="b.json: not a valid JSON"):
        load_yaml(tmp_path / "b.json")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load_yaml(tmp_path / "empty.yaml") == {}


def test_an_alias_bomb_gives_a_short_error(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines) + "\nsteps: *a11\n")
    with pytest.raises(ConfigError) as caught:
        read.from_dict(Fit, load_yaml(tmp_path / "bomb.yaml"))
    assert len(str(caught.value)) < 3000


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    dump_yaml(Fit(5), path)
    assert oct(path.stat().st_mode & 0o777) == oct(0o666 & ~_umask())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match="cannot write .*c.yaml: No space left"):
        dump_yaml(Fit(6), path)
    assert load_yaml(path)["steps"] == 5 and os.listdir(tmp_path) == ["c.yaml"]
    with pytest.raises(ConfigError, match="cannot write"):
        dump_yaml(Fit(6), tmp_path / "no" / "c.yaml")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("text", [
    "a: !!timestamp x", 'a: !!int ""', "a: !!bool x", "? [1]\n: 2", "? {a: 1}\n: 2", "a: 2001-99-99",
    f"a: {'9' * 5000}",
    "a: !!float x", "a: !!binary ü", "a: !!python/object:os.system x", "a: !!omap 3", "[" * 100000, "<<: 3",
    f"a: !{'x' * 100000} 1", f"{'k' * 50000}: 1\n" * 2])
def test_yaml_that_no_reader_likes(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not a valid YAML file") as error:
        load_yaml(tmp_path / "a.yaml")
    assert len(str(error.value)) < 400 + len(str(tmp_path))
    with pytest.raises(yaml.YAMLError):
        parse(text)


@pytest.mark.parametrize("text", ['{"a": Infinity}', '{"a": NaN}', "[" * 100000, '{"a": ' + "9" * 5000 + "}", "{"])
def test_json_that_no_reader_likes(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match="not a valid JSON file"):
        load_yaml(tmp_path / "a.json")
    with pytest.raises(ValueError):
        parse_json(text)


def test_files_are_refused_by_their_size_and_quoted_by_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text("k: 1\n" * (MAX_YAML_BYTES // 4))
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        load_yaml(tmp_path / "a.yaml")
    for text in ("root-secret", "- root-secret", "--- root-secret"):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(ConfigError, match="expected a mapping") as error:
            load_yaml(tmp_path / "a.yaml")
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("opening", ["[", "{", "[ ", "[{", "[\n"])
def test_lists_in_lists_without_end(opening):
    with pytest.raises(yaml.YAMLError, match="nested too deep"):
        parse("a: " + opening * 100)
    assert parse("a: " + "[" * 20 + "]" * 20)["a"]


def test_merged_keys_are_bounded(tmp_path):
    """36 seconds once."""
    keys = "".join(f"  k{i}: 1\n" for i in range(2000))
    (tmp_path / "a.yaml").write_text("a: &a\n" + keys + "".join(f"b{i}:\n  <<: *a\n" for i in range(9000)))
    with pytest.raises(ConfigError, match="merge keys"):
        load_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert load_yaml(tmp_path / "a.yaml")["b"] == {"x": 1, "y": 3}
