"""What of an MTL material is not honoured, in words."""
from __future__ import annotations

import math
from collections.abc import Container, Mapping

from dipir.errors import printable

UNREAD_MAPS = {"map_ks": "specular map", "map_ns": "shininess map", "disp": "displacement", "map_disp": "displacement",
               "decal": "decal", "refl": "reflection map", "map_refl": "reflection map", "map_ps": "sheen map",
               "map_tr": "transparency map"}
_NUMBERS = ("kd", "ks", "ke", "ns", "d", "tr", "pr", "pm", "pc", "pcr", "ps")
_REFRACTION = ("6", "7")  # Illumination models.
_HARMLESS = ("map_aat",)


def unread(entry: Mapping[str, str], maps: Container[str], opacity: float) -> list[str]:
    """What of the statements (lower-case keyword -> rest of the line) has no effect, a line for each; ``maps`` : the
    keywords of maps that are read."""
    said = [f"its {what} ({key}) is not used." for key, what in UNREAD_MAPS.items() if key in entry]
    others = [key for key in entry if key.startswith("map_") and key not in maps and key not in UNREAD_MAPS
              and key not in _HARMLESS and not (key == "map_ka" and "map_kd" in entry)]
    said += [f"its map {printable(key, 40)} is not used." for key in others[:10]]
    # ---- numbers that are none, or too large ----
    for key in _NUMBERS:
        words = [word for word in entry.get(key, "").split() if word != "-halo"]
        if words and not math.isfinite(_number(words[0])):
            said.append(f"{key.capitalize()} '{printable(entry[key], 40)}' is no number that is read; it was left out.")
        elif key in ("kd", "ks") and max((_number(word) for word in words[:3]), default=0.0) > 1.001:
            said.append(f"{key.capitalize()} '{printable(entry[key], 40)}' goes beyond 1 and was cut off there; "
                        "colours are 0 to 1.")
    # ---- glass and brushed metal ----
    filtered = [_number(word) for word in entry.get("tf", "").split()[:3]]
    if filtered and not all(value in (0, 1) for value in filtered):
        said.append("its transmission filter (Tf) is not used.")
    if entry.get("illum", "") in _REFRACTION and opacity == 1:
        said.append(f"illum {entry['illum']} asks for refraction (glass), which is not read; it is opaque. Give it "
                    "transmission in a GLB.")
    if any(_number(word) not in (0, math.nan) for word in entry.get("aniso", "").split()[:1]):
        said.append("its anisotropy (aniso) is not used.")
    return said


def _number(word: str) -> float:
    """NaN for what is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan
