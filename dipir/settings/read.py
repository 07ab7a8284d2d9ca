"""Settings: frozen dataclasses from plain mappings, and deltas over them. Files: ``settings/yaml.py``.

A dataclass is schema, default and documentation at once. Fields may be ``int``, ``float``, ``bool``, ``str``, ``Path``,
``Literal``, ``Any``, nested dataclasses, ``tuple``/``list`` and ``dict[str, ...]`` of these, and unions of them.
Reading collects every problem before it raises. Ranges are the dataclass's own business: a ``ValueError`` in its
``__post_init__`` becomes one more problem of the list.
"""
from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from dipir.errors import MOST_PROBLEMS, ConfigError, DipirError, nearest, raise_all
from dipir.settings.yaml import field_names, parse, shown, to_dict

T = TypeVar("T")


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
        return _wrong(path, f"a mapping with the keys {', '.join(field_names(cls))}", data, problems)
    before, hints = len(problems), get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    unknown = [key for key in data if key not in fields]
    for key in unknown[:MOST_PROBLEMS]:
        hint = nearest(str(key), fields) or f" Accepted: {', '.join(fields)}."
        problems.append(f"{_at(path)}unknown key '{shown(key)}'.{hint}")
    problems += [f"{_at(path)}unknown key." for _ in unknown[MOST_PROBLEMS:]]
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
    if hint is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
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
    problems.append(f"{_at(path)}expected {accepted}, got {shown(value)}.{tail}")
    return _BAD


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# ---- deltas --------------------------------------------------------------------------------------------------------

def merge(cfg: T, data: Mapping[str, Any], where: str = "") -> T:
    """``cfg`` with the (nested) keys of ``data`` replaced. Raises :class:`ConfigError` as :func:`from_dict`."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or type(cfg).__name__}: expected a mapping of settings, got {shown(data)}.")
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
            _assign(data, key.strip().split("."), parse(value))
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
