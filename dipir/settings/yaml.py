"""Settings as YAML files: read safely, written whole."""
from __future__ import annotations

import dataclasses
import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dipir import disk
from dipir.errors import ConfigError

MAX_BYTES = 16 * 2**20   # A settings file larger than this is a mistake, and could only exhaust the memory.
MAX_YAML_BYTES = 2**18   # Reading YAML takes some ten seconds a megabyte.
MOST_PAIRS = 200_000   # Keys of a file, merged ones counted each time.
_DEEP = re.compile(r"(?:[\[{]\s*){100}")
LAST_LINE = "# end of file"   # Written last, so that a reader can tell a file that was cut short.


def to_dict(obj: Any) -> Any:
    """Plain YAML values of a config: dataclass -> dict, tuple -> list, Path -> str. ``from_dict`` is its inverse."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {name: to_dict(getattr(obj, name)) for name in field_names(type(obj))}
    if isinstance(obj, Mapping):
        return {str(k): to_dict(v) for k, v in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [to_dict(v) for v in obj]
    if isinstance(obj, Path):
        return str(obj)
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    raise ValueError(f"a setting of type {type(obj).__name__} cannot be written as YAML")


def field_names(cls: type) -> list[str]:
    """Names of a dataclass' settings."""
    return [f.name for f in dataclasses.fields(cls) if f.init]


def shown(value: object) -> str:
    """A value for an error text: bounded in depth and length."""
    # reprlib is bounded in depth and length; a YAML alias bomb would make repr() explode.
    short = reprlib.Repr()
    short.maxlevel = 2
    return value if isinstance(value, str) and len(value) < 40 and "\n" not in value else short.repr(value)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number (YAML 1.1 wants 1.0e-3) and a key may not be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen and key_node.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{shown(key_node.value)}' is given twice", key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Puts in what ``<<`` names; a small file could make very much of little."""
        super().flatten_mapping(node)
        self.pairs = getattr(self, "pairs", 0) + len(node.value)
        if self.pairs > MOST_PAIRS:
            raise yaml.constructor.ConstructorError(None, None, "its merge keys (<<) put in too much", node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes the text that :class:`_Loader` would take for a number, and line ends that are no line feed."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(c in text for c in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
                                list("-+.0123456789"))


def parse(text: str) -> Any:
    """A value from YAML text. Raises yaml.YAMLError."""
    if _DEEP.search(text):  # The package would find that out after seconds.
        raise yaml.YAMLError("nested too deep")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a subclass of SafeLoader)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # The package leaves it to Python what becomes of `!!timestamp x`, `!!int ""` or a number of 5000 digits.
        raise yaml.YAMLError("a value is not what its tag says, no such date, or too large") from error


def parse_json(text: str | bytes) -> Any:
    """A value from JSON text. Raises ValueError, also for NaN and Infinity, and where it is nested too deep."""
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def load_yaml(path: str | Path, whole: bool = False) -> dict[str, Any]:
    """The mapping in a YAML (or, by its extension, JSON) file; an empty file is an empty mapping.

    Raises :class:`ConfigError` that names the file when it is missing, unreadable, not text, not YAML or no mapping;
    with ``whole`` also when it lacks the last line of :func:`dump_yaml`: YAML cut short may still be valid YAML.
    """
    path = Path(path)
    try:
        most = MAX_BYTES if path.suffix.lower() == ".json" else MAX_YAML_BYTES
        if path.stat().st_size > most:
            raise ConfigError(f"{path}: larger than {most // 2**10} KiB, which no settings file is. Name another file.")
        text = path.read_text(encoding="utf-8-sig")
        data = parse_json(text) if path.suffix.lower() == ".json" else parse(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (UnicodeDecodeError, yaml.YAMLError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: not a valid {'JSON' if path.suffix.lower() == '.json' else 'YAML'} file "
                          f"({_reason(error)}).") from None
    if whole and LAST_LINE not in text.splitlines():
        raise ConfigError(f"{path}: cut short, its last line '{LAST_LINE}' is missing. Restore the file, or add that "
                          "line if the rest is complete.")
    if data is None:
        return {}
    if not isinstance(data, dict):
        # Not what it holds: the file may be another one than the user meant, with secrets.
        raise ConfigError(f"{path}: expected a mapping of settings (key: value), got "
                          f"{'a list' if isinstance(data, list) else 'a single value'}.")
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"[:160]
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return " ".join(str(error).split())[:120] or type(error).__name__


def dump_yaml(obj: Any, path: str | Path) -> None:
    """Write a config dataclass or mapping as YAML, atomically. Raises :class:`ConfigError` when that fails."""
    text = yaml.dump(to_dict(obj), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    disk.write_text(path, f"{text}{LAST_LINE}\n", ConfigError)
