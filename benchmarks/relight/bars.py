"""What the relighting benchmark asks for, and what its parts found."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.common import markdown

Parts = Mapping[str, Mapping]


@dataclass(frozen=True)
class Bar:
    """One figure and its limit."""

    what: str
    found: Callable[[Parts], float]  # KeyError where its part, or its method, was not run
    limit: float
    unit: str = ""  # after the number, as it is
    scale: float = 1.0  # from the figure to the unit
    most: bool = False  # whether the limit is the largest that will do, not the least


def _method(name: str, figure: str) -> Callable[[Parts], float]:
    return lambda parts: parts["table"]["summary"][name][figure]


def _case(name: str, figure: str) -> Callable[[Parts], float]:
    return lambda parts: parts["size"]["cases"][name][figure]


def _sphere(name: str, pair: str) -> Callable[[Parts], float]:
    return lambda parts: parts["sphere"]["stops"][name][pair]


BARS = (
    Bar("way to the luminosity bound, layers", _method("layers", "covered"), 40, " %", 100),
    Bar("way to the luminosity bound, net", _method("net", "covered"), 50, " %", 100),
    *(Bar(f"direction read right of eight, {name}", _method(name, "side_right"), 70, " %", 100)
      for name in ("layers", "net")),
    *(Bar(f"PSNR over identity, {name}", _method(name, "psnr_gain"), 3, " dB") for name in ("layers", "net")),
    Bar("normals on held-out meshes, median angle", lambda parts: parts["surfaces"]["figures"]["angle_median"], 20, "°",
        most=True),
    Bar("chroma drift, layers", _method("layers", "chroma_deg"), 0.1, "°", most=True),
    *(Bar(f"matt sphere from left and right, {name}", _sphere(name, "left, right"), 1, " stops")
      for name in ("layers", "net")),
    Bar("512x512, layers", _case("layers 512x512", "seconds"), 10, " s", most=True),
    Bar("512x512, net", _case("net 512x512", "seconds"), 1, " s", most=True),
    Bar("12 megapixels, net", _case("net 4000x3000", "seconds"), 15, " s", most=True),
    Bar("12 megapixels, net: memory above the start", _case("net 4000x3000", "peak_gib"), 3, " GiB", most=True))


def held(bar: Bar, parts: Parts) -> tuple[float | None, bool | None]:
    """(the figure in the bar's unit, whether it will do); None where it was not measured."""
    try:
        found = bar.found(parts)
    except KeyError:
        return None, None
    if found is None:
        return None, None
    value = found * bar.scale
    return value, value <= bar.limit if bar.most else value >= bar.limit


def text(parts: Parts) -> str:
    """A table of four columns."""
    rows = [["asked of relighting", "limit", "found", "held"]]
    for bar in BARS:
        value, will_do = held(bar, parts)
        rows.append([bar.what, f"at {'most' if bar.most else 'least'} {bar.limit:g}{bar.unit}",
                     "-" if value is None else f"{value:.3g}{bar.unit}",
                     "not measured" if will_do is None else "yes" if will_do else "no"])
    return markdown(rows)
