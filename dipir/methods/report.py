"""report.html: one self-contained page about a result; no file or address outside itself is read."""
from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING

import torch
import yaml

from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.methods import report_figures as figures
from dipir.scene.light import SphericalGaussians, azimuth_elevation_deg, dominant_direction

if TYPE_CHECKING:
    from dipir.methods.result import Result

_CSS = """
:root{color-scheme:dark}*{box-sizing:border-box}
body{margin:0;background:#1a1b1d;color:#d6d7d9;font:15px/1.5 system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:24px;font-weight:600;margin:0 0 2px;color:#f2f2f2}
h2{font-size:16px;font-weight:600;margin:38px 0 12px;padding-bottom:6px;border-bottom:1px solid #34363a;color:#f2f2f2}
p{margin:0 0 10px}.dim{color:#96999e}
.facts{display:flex;flex-wrap:wrap;gap:8px 30px;margin:14px 0 20px;padding:0;list-style:none}
.facts b{display:block;font-weight:600;color:#f2f2f2}.facts span{font-size:12px;color:#96999e}
.compare{position:relative;line-height:0;border-radius:6px;overflow:hidden;background:#000;
max-width:calc(86vh*var(--aspect));margin:0 auto}
.compare img{width:100%;display:block}.compare .after{position:absolute;inset:0;clip-path:inset(0 0 0 var(--cut))}
.compare::after{content:"";position:absolute;top:0;bottom:0;left:var(--cut);width:2px;margin-left:-1px;
background:#fff;box-shadow:0 0 4px #000;line-height:0}
.compare input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize;z-index:2}
.compare:focus-within{outline:2px solid #5fa8e8;outline-offset:2px}
.tag{position:absolute;bottom:10px;padding:3px 10px;border-radius:3px;background:#000a;color:#fff;
font-size:12px;line-height:1.5}
.tag.l{left:10px}.tag.r{right:10px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:16px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:16px}
figure{margin:0;background:#222427;border-radius:6px;overflow:hidden}
figure img{width:100%;display:block}
figcaption{padding:8px 12px;font-size:13px;color:#c3c5c8}figcaption small{display:block;color:#96999e}
.light{display:grid;grid-template-columns:minmax(0,1fr) 180px;gap:16px;margin-bottom:16px}
.light .balls{display:grid;grid-template-rows:auto auto;gap:10px;align-content:start;text-align:center;
font-size:12px;color:#96999e}
.light .balls img{width:100%;display:block}
.map{position:relative}.map svg{position:absolute;inset:0;width:100%;height:100%}
.chart svg{display:block;width:100%;padding-top:6px}
.chart .grid{stroke:#34363a;stroke-width:1}.chart .tick{fill:#96999e;font-size:11px}
.chart .line{fill:none;stroke-width:1.8;stroke-linejoin:round}.chart .diagonal{stroke:#6b6e73;stroke-dasharray:4 4}
.key{margin-left:14px;white-space:nowrap}.key i{display:inline-block;width:14px;height:3px;margin-right:6px;
vertical-align:middle}
.square{max-width:420px}
details{background:#222427;border-radius:6px;padding:10px 14px;margin-bottom:10px}summary{cursor:pointer}
pre{overflow:auto;margin:10px 0 0;font:12.5px/1.45 ui-monospace,Menlo,Consolas,monospace;color:#c3c5c8}
ul.notes{margin:0;padding-left:20px}
@media(max-width:640px){main{padding:16px 12px}
.light{grid-template-columns:1fr}.light .balls{grid-template:auto/1fr 1fr}}
"""
_JS = """
for(const box of document.querySelectorAll('.compare')){const s=box.querySelector('input');
const move=()=>box.style.setProperty('--cut',s.value+'%');s.addEventListener('input',move);move()}
"""
# Belt and braces: even if a text could bring in an address, the browser would not ask for it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def report_html(result: Result) -> str:
    """The whole page. Every text from outside (prompt, names, settings) is escaped."""
    sections = [_head(result), _compare(result), _passes(result), _light(result), _tone(result), _history(result),
                _settings(result)]
    title = html.escape(str(result.provenance.get("name", "insert")))
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dipir: {title}</title>'
            f'<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_CSS}</style></head>'
            f'<body><main>{"".join(sections)}</main><script>{_JS}</script></body></html>\n')


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
    items = "".join(f"<li><span>{html.escape(k)}</span><b>{html.escape(v)}</b></li>" for k, v in facts.items())
    name, prompt = (html.escape(str(p.get(key) or other)) for key, other in (("name", "Insertion"), ("prompt", "")))
    notes = "".join(f"<li>{html.escape(str(note))}</li>" for note in p.get("notes", []))
    said = f'<p class="dim">“{prompt}”</p>' if prompt else ""
    listed = f'<ul class="notes dim">{notes}</ul><br>' if notes else ""
    return f'<h1>{name}</h1>{said}<ul class="facts">{items}</ul>{listed}'


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _compare(result: Result) -> str:
    before, after = figures.data_uri(result.plate_disp), figures.data_uri(result.composite_disp)
    aspect = result.camera.width / result.camera.height
    return (f'<div class="compare" style="--cut:35%;--aspect:{aspect:.4f}"><img src="{before}" alt="plate">'
            f'<img class="after" src="{after}" alt="composite"><span class="tag l">plate</span>'
            f'<span class="tag r">composite</span><input type="range" min="0" max="100" step="0.1" value="35" '
            'aria-label="move between plate and composite"></div>')


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
    cells = "".join(f'<figure><img src="{figures.data_uri(image, max_side=520)}" alt="{name}"><figcaption>{name}'
                    f'<small>{what}</small></figcaption></figure>' for (name, what), image in shown.items())
    return ('<h2>Layers</h2><p class="dim">All of them, in linear light, are in layers.exr.</p>'
            f'<div class="grid">{cells}</div>')


def _light(result: Result) -> str:
    maps = _light_map(result.light, "light on the object")
    if result.shadow_light is not None:
        maps += _light_map(result.shadow_light, "light that casts the shadow")
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


def _history(result: Result) -> str:
    names = dict.fromkeys(key for row in result.history for key in row if key != "step")
    charts = []
    for name in names:
        # Several stages may each count from 0; the row number is then the axis.
        points = [(i, float(row[name])) for i, row in enumerate(result.history)
                  if isinstance(row.get(name), (int, float)) and not isinstance(row[name], bool)]
        charts.append(figures.line_chart({name: points}, name) if len(points) > 1 else "")
    body = "".join(charts)
    return f'<h2>History</h2><div class="charts">{body}</div>' if body else ""


def _settings(result: Result) -> str:
    config = html.escape(yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True))
    origin = html.escape(json.dumps(result.provenance, indent=2, default=str, ensure_ascii=False))
    return (f"<h2>Settings</h2><details><summary>Resolved settings (config.yaml)</summary><pre>{config}</pre></details>"
            f"<details><summary>Seed, versions, hashes</summary><pre>{origin}</pre></details>")
