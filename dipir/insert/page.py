"""report.html: one self-contained page about a result; no file or address outside itself is read."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.report import figures
from dipir.report import page as report_page
from dipir.scene.light import SphericalGaussians, azimuth_elevation_deg, dominant_direction

if TYPE_CHECKING:
    from torch import Tensor

    from dipir.insert.result import Result


def report_html(result: Result) -> str:
    """The whole page. Every text from outside (prompt, names, settings) is escaped."""
    p = result.provenance
    return report_page.render(
        "insert.html", name=p.get("name", "insert"), title=p.get("name") or "Insertion", prompt=p.get("prompt") or "",
        facts=_facts(result), notes=p.get("notes", []), plate=result.plate_disp, composite=result.composite_disp,
        layers=_layers(result), light=_light(result.light), tones=_tones(result),
        curves=report_page.curves_of(result.history), config=result.config, provenance=p)


def _facts(result: Result) -> dict[str, str]:
    p, camera = result.provenance, result.camera
    azimuth, elevation = azimuth_elevation_deg(dominant_direction(result.light.envmap(64, 128).detach()))
    facts = {"picture": f"{camera.width} × {camera.height}", "field of view": f"{camera.fov_x_deg:.1f}°",
             "main light": f"azimuth {azimuth:.0f}°, elevation {elevation:.0f}°", "steps": str(len(result.history))}
    if p.get("light_guesses"):
        facts["prior's guesses (within 30°)"] = "; ".join(
            f"azimuth {g['azimuth_deg']:.0f}°, elevation {g['elevation_deg']:.0f}°: {g['chance']:.0%}"
            for g in p["light_guesses"])
    for key in ("preset", "seed", "seconds", "device", "prior"):
        if p.get(key) is not None:
            facts[key] = f"{p[key]:.1f}" if isinstance(p[key], float) else str(p[key])
    return facts


def _layers(result: Result) -> dict[tuple[str, str], Tensor]:
    g, alpha = result.passes.gbuffers, result.passes.alpha
    by_name = {layer.name: layer for layer in result.layers.layers}
    return {
        ("object", "linear, premultiplied, tone applied"): linear_to_srgb(by_name["object"].image),
        ("shadow", "factor on the plate, also known under the object"): by_name["shadow"].image.expand(-1, 3, -1, -1),
        ("alpha", "coverage"): alpha, ("depth", "near is bright"): figures.show_depth(g.depth, alpha),
        ("normal", "world space, +Y green"): torch.where(alpha > 0, g.normal * 0.5 + 0.5, 0.0),
        ("albedo", "base colour"): linear_to_srgb(g.albedo),
        ("roughness, metallic", "red, green"): torch.cat([g.roughness * alpha, g.metallic, 0 * alpha], 1),
        ("object id", "one colour each"): figures.show_ids(g.object_id)}


def _light(light: SphericalGaussians) -> dict[str, object]:
    """Pictures and numbers of a light; ``u``, ``v`` in [0, 1]: where its map is brightest."""
    with torch.no_grad():
        envmap = light.envmap(256, 512)
        direction = dominant_direction(envmap)
    azimuth, elevation = azimuth_elevation_deg(direction)
    u, v = (float(x) for x in latlong.uv(direction))
    mirror, diffuse = figures.light_balls(envmap)
    return {"shown": figures.show_light(envmap), "mirror": mirror, "diffuse": diffuse, "u": u, "v": v,
            "azimuth": azimuth, "elevation": elevation, "peak": float(envmap.max()), "mean": float(envmap.mean())}


def _tones(result: Result) -> list[figures.Chart]:
    x = torch.linspace(0, 1, 65)
    charts = []
    for curve, label in ((result.tone_fg, "object: display value in, display value out"),
                         (result.tone_shadow, "shadow: ratio in, ratio out")):
        channels = curve.widths.shape[0]
        with torch.no_grad():
            y = curve(x.view(1, 1, 1, -1).expand(1, channels, 1, -1))[0, :, 0]
        names = ("red", "green", "blue") if channels == 3 else ("all channels",)
        series = {n: list(zip(x.tolist(), y[c].tolist(), strict=True)) for c, n in enumerate(names)}
        charts.append(figures.line_chart(series, label, (420, 300), unit_square=True))
    return charts
