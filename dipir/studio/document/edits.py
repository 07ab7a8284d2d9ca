"""Every change to a document, as a pure function."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dipir.errors import ConfigError, nearest
from dipir.scene.rig import SUN
from dipir.scene.scene_file import EVERY_PART
from dipir.studio.document.state import (
    AMBIENT,
    Document,
    Item,
    Known,
    LampNumbers,
    LightNumbers,
    angle,
    flag,
    number,
    point,
    shown,
    text,
    wrapped,
)

MOST_SHARE = 0.98
"""Of the ground's light that lamps can have, together: something is always around them."""
MOST_LAMPS, MOST_OBJECTS, LONGEST_TEXT = 12, 24, 1000
NEW_LAMP = {"azimuth_deg": -90.0, "elevation_deg": 45.0, "share": 0.3, "size_deg": 12.0, "warmth": 0.0}
MATERIAL = ("base_color", "roughness", "metallic", "transmission")


# ---- edits -----------------------------------------------------------------------------------------------------------

def edited(document: Document, op: Mapping[str, Any], known: Known = Known()) -> Document:
    """The document with one change: ``op["op"]`` names it, its other keys say what. DipirError for an unknown change,
    a missing or unknown key, a value out of range, or what cannot be."""
    name = op.get("op")
    if not isinstance(name, str) or name not in EDITS:
        raise ConfigError(f"op: {shown(name)} given; accepted are {', '.join(EDITS)}.{nearest(str(name), EDITS)}")
    keys, change = EDITS[name]
    unknown = [key for key in op if key != "op" and key not in keys]
    if unknown:
        raise ConfigError(f"{name}: '{str(unknown[0])[:60]}' is unknown; accepted are {', '.join(keys) or 'no keys'}."
                          f"{nearest(str(unknown[0]), keys)}")
    return change(document, op, known)


def _camera(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    ranges = {"fov_deg": (5, 170), "pitch_deg": (-89, 89), "roll_deg": (-90, 90), "height_m": (0.005, 10000)}
    if document.camera is None:
        raise ConfigError("there is no camera yet; open a photo first.")
    given = {key: number(op, key, *ranges[key]) for key in ranges if key in op}
    return replace(document, camera=replace(document.camera, **given))


def _camera_snap(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    if known.estimate is None:
        raise ConfigError("there is no camera to go back to; open a photo first.")
    return replace(document, camera=known.estimate)


def item_of(document: Document, id: Any) -> Item:
    """By id. ConfigError for one that is not there."""
    for item in document.objects:
        if item.id == id:
            return item
    raise ConfigError(f"object: {shown(id)} given; accepted are {', '.join(i.id for i in document.objects) or 'none'}"
                      ": add an object first.")


def _with(document: Document, changed: Item) -> Document:
    return replace(document, objects=tuple(changed if i.id == changed.id else i for i in document.objects))


def _place(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    return _checked(document, replace(item_of(document, op.get("object")), at=point(op, "at")), known)


def _turn(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    return _with(document, replace(item_of(document, op.get("object")), yaw_deg=angle(op, "yaw_deg")))


def _size(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    changed = replace(item_of(document, op.get("object")), height_m=number(op, "height_m", 1e-4, 1e4), scale=None)
    return _checked(document, changed, known)


def _checked(document: Document, changed: Item, known: Known) -> Document:
    known.check(document, changed)
    return _with(document, changed)


def _material(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    item, part, values = item_of(document, op.get("object")), text(op, "part", 200), op.get("values")
    parts = (EVERY_PART, *known.parts(item.asset))
    if part not in parts:
        raise ConfigError(f"part: '{part}' given; accepted are {', '.join(parts[:20])}.{nearest(part, parts)}")
    if not isinstance(values, dict):
        raise ConfigError(f"values: {shown(values)} given; accepted is a mapping with {', '.join(MATERIAL)}.")
    new = dict(item.material.get(part, {}))
    for key, value in values.items():
        if key not in MATERIAL:
            raise ConfigError(f"values: '{str(key)[:60]}' is unknown; accepted are {', '.join(MATERIAL)}."
                              f"{nearest(str(key), MATERIAL)}")
        if value is None:
            new.pop(key, None)
        elif key == "base_color":
            new[key] = _colour(value)
        else:
            new[key] = number(values, key, 0, 1)
    material = {**item.material, part: new}
    return _with(document, replace(item, material={k: v for k, v in material.items() if v}))


def _colour(value: Any) -> list[float]:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ConfigError(f"base_color: {shown(value)} given; accepted is [r, g, b] in linear light, each 0 to 1.")
    return [number({"base_color": v}, "base_color", 0, 1) for v in value]


def _remove(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    gone = item_of(document, op.get("object"))
    kept = tuple(item for item in document.objects if item is not gone)
    selected = document.selected if document.selected != gone.id else kept[-1].id if kept else None
    return replace(document, objects=kept, selected=selected)


def _select(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    id = op.get("object")
    return replace(document, selected=None if id is None else item_of(document, id).id)


def _duplicate(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    item = item_of(document, op.get("object"))
    width, step = known.size[0], max(8.0, 0.08 * known.size[0])
    x = item.at[0] + step if item.at[0] + step < width else item.at[0] - step
    return with_item(document, replace(item, at=(min(max(x, 0.0), max(0.0, width - 1.0)), item.at[1])))


def with_item(document: Document, item: Item) -> Document:
    """With one more object, selected; its id and name are made new."""
    if len(document.objects) >= MOST_OBJECTS:
        raise ConfigError(f"there are {MOST_OBJECTS} objects already; remove one first.")
    numbers = [int(i.id[1:]) for i in document.objects]
    names, name, count = {i.name for i in document.objects}, item.name, 2
    while name in names:
        name, count = f"{item.name}_{count}", count + 1
    new = replace(item, id=f"o{max(numbers, default=0) + 1}", name=name)
    return replace(document, objects=(*document.objects, new), selected=new.id)


# ---- edits of the light ----------------------------------------------------------------------------------------------

def _light_of(document: Document) -> LightNumbers:
    if document.light is None:
        raise ConfigError("there is no light yet; open a photo first, and wait until its light is guessed.")
    return document.light


def _lamp(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    light, name = _light_of(document), text(op, "name")
    given: dict[str, Any] = {key: angle(op, key) for key in ("azimuth_deg",) if key in op}
    ranges = {"elevation_deg": (-90, 90), "share": (0, MOST_SHARE), "size_deg": (0.01, 120), "warmth": (-1, 1)}
    given |= {key: number(op, key, *ranges[key]) for key in ranges if key in op}
    old = next((lamp for lamp in light.lamps if lamp.name == name), None)
    if old is None:
        if len(light.lamps) >= MOST_LAMPS or not name.strip() or name == AMBIENT:
            raise ConfigError(f"name: '{name}' given for a new lamp; accepted is a name of its own, and at most "
                              f"{MOST_LAMPS} lamps.")
        old = LampNumbers(name, **{**NEW_LAMP, "share": 0.0})
        given = {"share": NEW_LAMP["share"], **given}
        light = replace(light, lamps=(*light.lamps, old))
    new = replace(old, **{**given, "held": True})
    factor = (1 - new.share) / (1 - old.share)
    others = {lamp.name: replace(lamp, share=lamp.share * factor) for lamp in light.lamps if new.share != old.share}
    return replace(document, light=replace(light, lamps=tuple(
        new if lamp.name == name else others.get(lamp.name, lamp) for lamp in light.lamps)))


def _lamp_add(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    names, name, count = {lamp.name for lamp in _light_of(document).lamps}, "lamp", 2
    while name in names:
        name, count = f"lamp {count}", count + 1
    return _lamp(document, {"op": "lamp", "name": name}, known)


def _lamp_remove(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    light, name = _light_of(document), text(op, "name")
    gone = _lamp_named(light, name)
    kept = tuple(replace(lamp, share=lamp.share / (1 - gone.share)) for lamp in light.lamps if lamp is not gone)
    return replace(document, light=replace(light, lamps=kept))


def _lamp_named(light: LightNumbers, name: str) -> LampNumbers:
    names = [lamp.name for lamp in light.lamps]
    if name not in names:
        raise ConfigError(f"name: no lamp '{name}'; the lamps are: {', '.join(names) or 'none'}."
                          f"{nearest(name, names)}")
    return light.lamps[names.index(name)]


def _light(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    light, given = _light_of(document), {}
    ranges = {"ambient_stops": (-20, 20), "exposure_stops": (-20, 20), "contrast": (-1, 1)}
    given |= {key: number(op, key, *ranges[key]) for key in ranges if key in op}
    if "ambient_stops" in op:
        given["held"] = tuple(dict.fromkeys((*light.held, AMBIENT)))
    if "rotate_deg" in op:
        given["rotate_deg"] = angle(op, "rotate_deg")
        by = given["rotate_deg"] - light.rotate_deg
        given["lamps"] = tuple(replace(lamp, azimuth_deg=wrapped(lamp.azimuth_deg + by)) for lamp in light.lamps)
    return replace(document, light=replace(light, **given))


def _guess(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    n = op.get("n")
    if isinstance(n, bool) or n not in known.lights:
        raise ConfigError(f"n: {shown(n)} given; accepted are {', '.join(map(str, known.lights)) or 'none'}: the "
                          "guesses at this photo's light.")
    kept = {key: getattr(document.light, key) for key in ("exposure_stops", "contrast")} if document.light else {}
    return replace(document, light=replace(known.lights[n], **kept))


def _match(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    light = _light_of(document)
    azimuth, elevation = known.match(document, {key: None if op.get(key) is None and key == "top" else point(op, key)
                                                for key in ("foot", "tip", "top")})
    name = light.lamps[0].name if light.lamps else SUN
    new = {} if light.lamps else {"elevation_deg": 45.0, "share": 0.7, "size_deg": 0.53}
    new |= {} if elevation is None else {"elevation_deg": elevation}
    return _lamp(document, {"op": "lamp", "name": name, "azimuth_deg": azimuth, **new}, known)


def _hold(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    light, name, held = _light_of(document), text(op, "name"), flag(op, "held")
    if name == AMBIENT:
        return replace(document, light=replace(light, held=(AMBIENT,) if held else ()))
    changed = replace(_lamp_named(light, name), held=held)
    return replace(document, light=replace(light, lamps=tuple(
        changed if lamp.name == name else lamp for lamp in light.lamps)))


def _prompt(document: Document, op: Mapping[str, Any], known: Known) -> Document:
    return replace(document, prompt=text(op, "text", LONGEST_TEXT))


Change = Callable[[Document, Mapping[str, Any], Known], Document]
EDITS: dict[str, tuple[tuple[str, ...], Change]] = {
    "camera": (("fov_deg", "pitch_deg", "roll_deg", "height_m"), _camera), "camera_snap": ((), _camera_snap),
    "place": (("object", "at"), _place), "turn": (("object", "yaw_deg"), _turn),
    "size": (("object", "height_m"), _size), "material": (("object", "part", "values"), _material),
    "remove": (("object",), _remove), "select": (("object",), _select), "duplicate": (("object",), _duplicate),
    "lamp": (("name", "azimuth_deg", "elevation_deg", "share", "size_deg", "warmth"), _lamp),
    "lamp_remove": (("name",), _lamp_remove), "lamp_add": ((), _lamp_add),
    "light": (("ambient_stops", "exposure_stops", "rotate_deg", "contrast"), _light), "guess": (("n",), _guess),
    "match": (("foot", "tip", "top"), _match), "hold": (("name", "held"), _hold), "prompt": (("text",), _prompt)}
"""Name -> (its keys, what it does)."""
