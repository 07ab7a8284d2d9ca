"""report.html: one self-contained page about a result; no file or address outside itself is read."""
from __future__ import annotations

import shlex
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.image.tone import ToneCurve
from dipir.insert.final import FinalPicture
from dipir.report import figures
from dipir.report import page as report_page
from dipir.scene.light import azimuth_elevation_deg, dominant_direction
from dipir.scene.rig import Rig


@dataclass(frozen=True)
class InsertPage:
    """What the page shows; see ``insert/result.py`` for what each is."""

    picture: FinalPicture
    light: Rig
    tones: tuple[ToneCurve, ToneCurve]
    config: dict
    history: list[dict]
    provenance: dict
    guesses: tuple[Image, ...] = ()
    folder: str = "RESULT"
    """The out folder's name for commands."""


def report_html(shown: InsertPage) -> str:
    """The whole page. Every text from outside (prompt, names, settings) is escaped."""
    p, picture = shown.provenance, shown.picture
    return report_page.render(
        "insert.html", name=p.get("name", "insert"), title=p.get("name") or "Insertion", prompt=p.get("prompt") or "",
        facts=_facts(shown), notes=p.get("notes", []), plate=picture.plate_disp, composite=picture.composite_disp,
        layers=_layers(picture), guesses=_guesses(shown), light=_light(shown.light), tones=_tones(shown.tones),
        curves=report_page.curves_of(shown.history), config=shown.config, provenance=p)


def _facts(shown: InsertPage) -> dict[str, str]:
    p, camera = shown.provenance, shown.picture.camera
    azimuth, elevation = azimuth_elevation_deg(dominant_direction(shown.light.envmap(64, 128).detach()))
    facts = {"picture": f"{camera.width} × {camera.height}", "field of view": f"{camera.fov_x_deg:.1f}°",
             "main light": f"azimuth {azimuth:.0f}°, elevation {elevation:.0f}°", "steps": str(len(shown.history))}
    if p.get("light", {}).get("decided"):
        facts["decided"] = p["light"]["decided"]
    if p.get("light_guesses"):
        facts["prior's guesses (within 30°)"] = "; ".join(
            f"azimuth {g['azimuth_deg']:.0f}°, elevation {g['elevation_deg']:.0f}°: {g['chance']:.0%}"
            for g in p["light_guesses"])
    for key in ("preset", "seed", "seconds", "device", "prior"):
        if p.get(key) is not None:
            facts[key] = f"{p[key]:.1f}" if isinstance(p[key], float) else str(p[key])
    return facts


def _guesses(shown: InsertPage) -> list[dict[str, object]]:
    """What each guess at the light would look like: picture, caption, whether it is the light of the result, and the
    command that takes it."""
    told, light = shown.provenance.get("light_guesses", []), shown.provenance.get("light", {})
    taken = light.get("guess") if light.get("committed") else None
    return [{"picture": picture, "taken": number == taken,
             "caption": f"azimuth {g['azimuth_deg']:.0f}°, elevation {g['elevation_deg']:.0f}°: {g['chance']:.0%}",
             "command": f"dipir light {shlex.quote(shown.folder)} --guess {number}"}
            for number, (picture, g) in enumerate(zip(shown.guesses, told, strict=False), 1)]


def _layers(picture: FinalPicture) -> dict[tuple[str, str], Tensor]:
    g, alpha = picture.passes.gbuffers, picture.passes.alpha
    by_name = {layer.name: layer for layer in picture.layers.layers}
    return {
        ("object", "linear, premultiplied, tone applied"): linear_to_srgb(by_name["object"].image),
        ("shadow", "factor on the plate, also known under the object"): by_name["shadow"].image.expand(-1, 3, -1, -1),
        ("alpha", "coverage"): alpha, ("depth", "near is bright"): figures.show_depth(g.depth, alpha),
        ("normal", "world space, +Y green"): torch.where(alpha > 0, g.normal * 0.5 + 0.5, 0.0),
        ("albedo", "base colour"): linear_to_srgb(g.albedo),
        ("roughness, metallic", "red, green"): torch.cat([g.roughness * alpha, g.metallic, 0 * alpha], 1),
        ("object id", "one colour each"): figures.show_ids(g.object_id)}


def _light(light: Rig) -> dict[str, object]:
    """Pictures and numbers of a light; ``u``, ``v`` in [0, 1]: where its map is brightest."""
    with torch.no_grad():
        envmap = light.envmap(256, 512)
        direction = dominant_direction(envmap)
    azimuth, elevation = azimuth_elevation_deg(direction)
    u, v = (float(x) for x in latlong.uv(direction))
    mirror, diffuse = figures.light_balls(envmap)
    return {"shown": figures.show_light(envmap), "mirror": mirror, "diffuse": diffuse, "u": u, "v": v,
            "azimuth": azimuth, "elevation": elevation, "peak": float(envmap.max()), "mean": float(envmap.mean())}


def _tones(tones: tuple[ToneCurve, ToneCurve]) -> list[figures.Chart]:
    x = torch.linspace(0, 1, 65)
    charts = []
    labels = "object: display value in, display value out", "shadow: ratio in, ratio out"
    for curve, label in zip(tones, labels, strict=True):
        channels = curve.widths.shape[0]
        with torch.no_grad():
            y = curve(x.view(1, 1, 1, -1).expand(1, channels, 1, -1))[0, :, 0]
        names = ("red", "green", "blue") if channels == 3 else ("all channels",)
        series = {n: list(zip(x.tolist(), y[c].tolist(), strict=True)) for c, n in enumerate(names)}
        charts.append(figures.line_chart(series, label, (420, 300), unit_square=True))
    return charts
