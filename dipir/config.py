"""Settings: frozen dataclasses <-> plain mappings <-> YAML.

A dataclass is schema, default and documentation at once. Fields may be ``int``, ``float``, ``bool``, ``str``, ``Path``,
``Literal``, ``Any``, nested dataclasses, ``tuple``/``list`` and ``dict[str, ...]`` of these, and unions of them.
Reading collects every problem before it raises. Ranges are the dataclass's own business: a ``ValueError`` in its
``__post_init__`` becomes one more problem of the list.
"""
from __future__ import annotations

import dataclasses
import json
import os
import re
import reprlib
import tempfile
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from dipir.errors import ConfigError, DipirError, nearest, raise_all

T = TypeVar("T")
MAX_BYTES = 16 * 2**20   # A settings file larger than this is a mistake, and could only exhaust the memory.
LAST_LINE = "# end of file"   # Written last, so that a reader can tell a file that was cut short.


class _Bad:
    """Marks a value that could not be read; its problem is in the list already."""


_BAD = _Bad()


# ---- mapping -> dataclass --------------------------------------------------------------------------------------------

def from_dict(cls: type[T], data: object, where: str = "") -> T:
    """``cls`` from a mapping.

    Raises :class:`ConfigError` that lists every unknown key (with the nearest valid one), wrong type, missing key and
    refused value. ``where`` names the source (a file, a flag) in that text.
    """
    value, problems = check(cls, data)
    raise_all(ConfigError, where or cls.__name__, problems)
    return value


def check(cls: type[T], data: object) -> tuple[T | None, list[str]]:
    """As :func:`from_dict`, but returns (value or None, problems) so that a caller can add problems of its own."""
    problems: list[str] = []
    value = _dataclass(cls, data, "", problems)
    return (None, problems) if problems or value is _BAD else (value, problems)


def _dataclass(cls: type, data: object, path: str, problems: list[str]) -> Any:
    # A section whose keys are all commented out is None in YAML; it means "all defaults".
    data = {} if data is None else data
    if not isinstance(data, Mapping):
        return _wrong(path, f"a mapping with the keys {', '.join(_names(cls))}", data, problems)
    before, hints = len(problems), get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in data:
        if key not in fields:
            hint = nearest(str(key), fields) or f" Accepted: {', '.join(fields)}."
            problems.append(f"{_at(path)}unknown key '{_show(key)}'.{hint}")
    given = {}
    for name, f in fields.items():
        if name in data:
            given[name] = _convert(hints[name], data[name], _join(path, name), problems)
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            problems.append(f"{_at(path)}missing key '{name}' (expected {expected(hints[name])}).")
    if len(problems) > before:
        return _BAD
    try:
        return cls(**given)
    except (ValueError, DipirError) as error:
        problems.append(f"{_at(path)}{error}")
        return _BAD


def _convert(hint: Any, value: object, path: str, problems: list[str]) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _union(hint, value, path, problems)
    if origin is Literal:
        if any(value == a and type(value) is type(a) for a in get_args(hint)):
            return value
        tail = nearest(str(value), map(str, get_args(hint)))
        return _wrong(path, expected(hint), value, problems, tail)
    if origin in (tuple, list) or hint in (tuple, list):
        return _sequence(hint, value, path, problems)
    if origin is dict or hint is dict:
        return _dictionary(hint, value, path, problems)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, path, problems)
    return _scalar(hint, value, path, problems)


def _scalar(hint: Any, value: object, path: str, problems: list[str]) -> Any:
    # bool is a subclass of int, but 'steps: true' is never meant as 1.
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if hint is Path and isinstance(value, (str, Path)) and str(value).strip():
        return Path(value)
    if hint is type(None) and value is None:
        return None
    tail = " Put it in quotes." if hint in (str, Path) and isinstance(value, (bool, int, float)) else ""
    return _wrong(path, expected(hint), value, problems, tail)


def _union(hint: Any, value: object, path: str, problems: list[str]) -> Any:
    members = get_args(hint)
    if value is None and type(None) in members:
        return None
    rest = [m for m in members if m is not type(None)]
    if len(rest) == 1:
        return _convert(rest[0], value, path, problems)
    # An exact type wins over one that needs a conversion: 3 stays an int in 'float | int'.
    for member in sorted(rest, key=lambda m: type(value) is not m):
        trial: list[str] = []
        result = _convert(member, value, path, trial)
        if not trial:
            return result
    return _wrong(path, expected(hint), value, problems)


def _sequence(hint: Any, value: object, path: str, problems: list[str]) -> Any:
    kind, args = get_origin(hint) or hint, get_args(hint)
    if not isinstance(value, (list, tuple)):
        return _wrong(path, expected(hint), value, problems)
    fixed = kind is tuple and args and args[-1] is not Ellipsis
    if fixed and len(value) != len(args):
        return _wrong(path, expected(hint), value, problems)
    hints = args if fixed else [args[0] if args else Any] * len(value)
    items = [_convert(h, v, f"{path}[{i}]", problems) for i, (h, v) in enumerate(zip(hints, value, strict=True))]
    return _BAD if any(i is _BAD for i in items) else kind(items)


def _dictionary(hint: Any, value: object, path: str, problems: list[str]) -> Any:
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        return _wrong(path, expected(hint), value, problems)
    item = get_args(hint)[1] if get_args(hint) else Any
    items = {k: _convert(item, v, _join(path, k), problems) for k, v in value.items()}
    return _BAD if any(i is _BAD for i in items.values()) else items


def expected(hint: Any) -> str:
    """A type hint in words, for error texts."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if a is type(None) else expected(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin is tuple and args and args[-1] is not Ellipsis:
        same = len(set(args)) == 1
        return f"a list of {len(args)} ({expected(args[0]) if same else ', '.join(map(expected, args))})"
    if origin in (tuple, list):
        return f"a list ({expected(args[0])} each)"
    if origin is dict:
        return f"a mapping of names to {expected(args[1])}"
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text", Path: "a path",
            tuple: "a list", list: "a list", dict: "a mapping", Any: "anything"}.get(hint, str(hint))


def _wrong(path: str, accepted: str, value: object, problems: list[str], tail: str = "") -> _Bad:
    problems.append(f"{_at(path)}expected {accepted}, got {_show(value)}.{tail}")
    return _BAD


def _show(value: object) -> str:
    # reprlib is bounded in depth and length; a YAML alias bomb would make repr() explode.
    short = reprlib.Repr()
    short.maxlevel = 2
    return value if isinstance(value, str) and len(value) < 40 and "\n" not in value else short.repr(value)


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls) if f.init]


# ---- dataclass -> mapping --------------------------------------------------------------------------------------------

def to_dict(obj: Any) -> Any:
    """Plain YAML values of a config: dataclass -> dict, tuple -> list, Path -> str. ``from_dict`` is its inverse."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {name: to_dict(getattr(obj, name)) for name in _names(type(obj))}
    if isinstance(obj, Mapping):
        return {str(k): to_dict(v) for k, v in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [to_dict(v) for v in obj]
    if isinstance(obj, Path):
        return str(obj)
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    raise ValueError(f"a setting of type {type(obj).__name__} cannot be written as YAML")


def merge(cfg: T, data: Mapping[str, Any], where: str = "") -> T:
    """``cfg`` with the (nested) keys of ``data`` replaced. Raises :class:`ConfigError` as :func:`from_dict`."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or type(cfg).__name__}: expected a mapping of settings, got {_show(data)}.")
    return from_dict(type(cfg), _deep(to_dict(cfg), data), where)


def _deep(base: Any, delta: Any) -> Any:
    if isinstance(base, dict) and delta is None:
        return base
    if isinstance(base, dict) and isinstance(delta, Mapping):
        return {**base, **{k: _deep(base.get(k), v) for k, v in delta.items()}}
    return delta


def override(cfg: T, settings: Iterable[str], where: str = "--set") -> T:
    """``cfg`` with ``a.b=value`` settings applied in order; values are YAML, list items are reached by number
    (``objects.0.yaw_deg=30``). Raises one :class:`ConfigError` with every problem."""
    data, problems = to_dict(cfg), []
    for text in settings:
        key, sign, value = str(text).partition("=")
        if not sign or not key.strip():
            problems.append(f"'{text}': expected key=value, for instance fit.steps=400.")
            continue
        try:
            _assign(data, key.strip().split("."), _parse(value))
        except (KeyError, yaml.YAMLError, RecursionError) as error:
            reason = error.args[0] if isinstance(error, KeyError) else "the value is not valid YAML"
            problems.append(f"'{text}': {reason}.")
    result, more = check(type(cfg), data)
    raise_all(ConfigError, where, problems + more)
    return result


def _assign(data: Any, keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(data, list):
            if not key.isdigit() or int(key) >= len(data):
                raise KeyError(f"'{'.'.join(keys[:depth])}' has items 0 to {len(data) - 1}, not '{key}'")
            key = int(key)
        elif not isinstance(data, dict):
            raise KeyError(f"'{'.'.join(keys[:depth])}' is a single value and has no key '{key}'")
        if last:
            data[key] = value
        elif isinstance(data, dict) and data.get(key) is None:
            data[key] = {}
        data = data[key]


# ---- files -----------------------------------------------------------------------------------------------------------

class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number (YAML 1.1 wants 1.0e-3) and a key may not be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key_node.value}' is given twice",
                                                        key_node.start_mark)
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the text that :class:`_Loader` would take for a number, and line ends that are no line feed."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(c in text for c in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
                                list("-+.0123456789"))


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (a subclass of SafeLoader)


def load_yaml(path: str | Path, whole: bool = False) -> dict[str, Any]:
    """The mapping in a YAML (or, by its extension, JSON) file; an empty file is an empty mapping.

    Raises :class:`ConfigError` that names the file when it is missing, unreadable, not text, not YAML or no mapping;
    with ``whole`` also when it lacks the last line of :func:`dump_yaml`: YAML cut short may still be valid YAML.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, which no settings file is.")
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if path.suffix.lower() == ".json" else _parse(text)
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
        raise ConfigError(f"{path}: expected a mapping of settings (key: value), got {_show(data)}.")
    return data


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return " ".join(str(error).split())[:120] or type(error).__name__


def dump_yaml(obj: Any, path: str | Path) -> None:
    """Write a config dataclass or mapping as YAML, atomically. Raises :class:`ConfigError` when that fails."""
    text = yaml.dump(to_dict(obj), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    write_text(path, f"{text}{LAST_LINE}\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically: all of it or nothing. Raises :class:`ConfigError` naming the file."""
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.",
                                         delete=False) as file:
            temporary = file.name
            file.write(text)
        # mkstemp makes private files; the result gets the permissions of any other new file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror}). Choose another folder or free disk "
                          "space.") from None
