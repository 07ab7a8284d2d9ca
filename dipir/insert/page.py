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
    from dipir.insert.result import Result

def report_html(result: Result) -> str:
    """The whole page. Every text from outside (prompt, names, settings) is escaped."""
    compared = report_page.compare(result.plate_disp, result.composite_disp, ("plate", "composite"))
    sections = [_head(result), compared, _passes(result), _light(result), _tone(result),
                report_page.history(result.history), report_page.settings(result.config, result.provenance)]
    return report_page.page(str(result.provenance.get("name", "insert")), sections)


def _head(result: Result) -> str:
    p = result.provenance
    direction = dominant_direction(result.light.envmap(64, 128).detach())
    azimuth, elevation = azimuth_elevation_deg(direction)
    camera = result.camera
    facts = {"picture": f"{camera.width} × {camera.height}", "field of view": f"{camera.fov_x_deg:.1f}°",
             "main light": f"azimuth {azimuth:.0f}°, elevation {elevation:.0f}°", "steps": str(len(result.history))}
    if p.get("light_guesses"):
        facts["prior's guesses (within 30°)"] = "; ".join(
            f"azimuth {g['azimuth_deg']:.0f}°, elevation {g['elevation_deg']:.0f}°: {g['chance']:.0%}"
            for g in p["light_guesses"])
    facts |= {key: _short(p[key]) for key in ("preset", "seed", "seconds", "device", "prior") if p.get(key) is not None}
    name, prompt = (str(p.get(key) or other) for key, other in (("name", "Insertion"), ("prompt", "")))
    return report_page.head(name, prompt, facts, p.get("notes", []))


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _passes(result: Result) -> str:
    g, alpha = result.passes.gbuffers, result.passes.alpha
    by_name = {layer.name: layer for layer in result.layers.layers}
    shown = {
        ("object", "linear, premultiplied, tone applied"): linear_to_srgb(by_name["object"].image),
        ("shadow", "factor on the plate, also known under the object"): by_name["shadow"].image.expand(-1, 3, -1, -1),
        ("alpha", "coverage"): alpha, ("depth", "near is bright"): figures.show_depth(g.depth, alpha),
        ("normal", "world space, +Y green"): torch.where(alpha > 0, g.normal * 0.5 + 0.5, 0.0),
        ("albedo", "base colour"): linear_to_srgb(g.albedo),
        ("roughness, metallic", "red, green"): torch.cat([g.roughness * alpha, g.metallic, 0 * alpha], 1),
        ("object id", "one colour each"): figures.show_ids(g.object_id)}
    return ('<h2>Layers</h2><p class="dim">All of them, in linear light, are in layers.exr.</p>'
            + report_page.grid(shown))


def _light(result: Result) -> str:
    maps = _light_map(result.light, "light on the object")
    return ("<h2>Light</h2>" + maps + '<p class="dim">Middle of the map: beyond the object, where the camera looks; '
            "left and right edge: behind the camera. Azimuth 0° comes from the camera, +90° from the picture's right, "
            "180° from behind the object. light.exr is the map in linear radiance, light.json the lobes.</p>")


def _light_map(light: SphericalGaussians, name: str) -> str:
    with torch.no_grad():
        envmap = light.envmap(256, 512)
        direction = dominant_direction(envmap)
    azimuth, elevation = azimuth_elevation_deg(direction)
    u, v = (float(x) for x in latlong.uv(direction))
    x, y = u * 512, v * 256
    mark = (f'<svg viewBox="0 0 512 256"><g fill="none" stroke="#000" stroke-width="3.4" opacity=".6">'
            f'{_cross(x, y)}</g>'
            f'<g fill="none" stroke="#fff" stroke-width="1.4">{_cross(x, y)}</g></svg>')
    mirror, diffuse = (figures.data_uri(ball, lossless=True) for ball in figures.light_balls(envmap))
    return (f'<div class="light"><figure><div class="map"><img src="{figures.data_uri(figures.show_light(envmap))}" '
            f'alt="{name}">{mark}</div><figcaption>{name}<small>brightest from azimuth {azimuth:.1f}°, elevation '
            f'{elevation:.1f}° (cross); peak {float(envmap.max()):.3g}, mean {float(envmap.mean()):.3g} '
            f'(plate white = 1)</small></figcaption></figure><div class="balls"><div>'
            f'<img src="{mirror}" alt="mirror ball">mirror ball</div><div>'
            f'<img src="{diffuse}" alt="white ball">white ball</div></div></div>')


def _cross(x: float, y: float) -> str:
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7"/><path d="M{x - 14:.1f} {y:.1f}h8M{x + 6:.1f} {y:.1f}h8'
            f'M{x:.1f} {y - 14:.1f}v8M{x:.1f} {y + 6:.1f}v8"/>')


def _tone(result: Result) -> str:
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
    return f'<h2>Tone</h2><div class="charts">{"".join(charts)}</div>'
