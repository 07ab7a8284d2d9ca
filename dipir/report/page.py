"""What the report pages share: look, policy, head, before/after slider, grid of layers, charts, settings.

A page is one file: pictures are data: URIs, no address outside itself is read. Every text from outside (prompt, names,
settings) is escaped here.
"""
from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence

import yaml
from torch import Tensor

from dipir.arrays import Image
from dipir.report import figures

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


def page(title: str, sections: Iterable[str], css: str = "", js: str = "") -> str:
    """The whole HTML page; ``sections`` are HTML, ``css`` and ``js`` are added to the shared ones."""
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dipir: {html.escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_CSS}{css}</style></head>'
            f'<body><main>{"".join(sections)}</main><script>{_JS}{js}</script></body></html>\n')


def head(name: str, prompt: str, facts: Mapping[str, str], notes: Iterable[object] = ()) -> str:
    """Title, prompt in quotes, facts (name -> value) and notes."""
    items = "".join(f"<li><span>{html.escape(k)}</span><b>{html.escape(v)}</b></li>" for k, v in facts.items())
    listed = "".join(f"<li>{html.escape(str(note))}</li>" for note in notes)
    said = f'<p class="dim">“{html.escape(prompt)}”</p>' if prompt else ""
    listed = f'<ul class="notes dim">{listed}</ul><br>' if listed else ""
    return f'<h1>{html.escape(name)}</h1>{said}<ul class="facts">{items}</ul>{listed}'


def compare(before: Image, after: Image, names: tuple[str, str]) -> str:
    """Two display pictures (1, 3, H, W) over each other with a movable cut; ``names`` on their corners."""
    left, right = (html.escape(name) for name in names)
    return (f'<div class="compare" style="--cut:35%;--aspect:{before.shape[3] / before.shape[2]:.4f}">'
            f'<img src="{figures.data_uri(before)}" alt="{left}">'
            f'<img class="after" src="{figures.data_uri(after)}" alt="{right}"><span class="tag l">{left}</span>'
            f'<span class="tag r">{right}</span><input type="range" min="0" max="100" step="0.1" value="35" '
            f'aria-label="move between {left} and {right}"></div>')


def grid(shown: Mapping[tuple[str, str], Tensor]) -> str:
    """{(name, what it is): display picture (1, 3 or 1, H, W)} as captioned thumbnails."""
    cells = []
    for texts, image in shown.items():
        name, what = (html.escape(text) for text in texts)
        cells.append(f'<figure><img src="{figures.data_uri(image, max_side=520)}" alt="{name}"><figcaption>{name}'
                     f'<small>{what}</small></figcaption></figure>')
    return f'<div class="grid">{"".join(cells)}</div>'


def history(rows: Sequence[Mapping[str, object]]) -> str:
    """A chart of every number in the rows of a fit, "step" left out."""
    charts = []
    for name in dict.fromkeys(key for row in rows for key in row if key != "step"):
        # Several stages may each count from 0; the row number is then the axis.
        points = [(i, float(row[name])) for i, row in enumerate(rows)
                  if isinstance(row.get(name), (int, float)) and not isinstance(row[name], bool)]
        charts.append(figures.line_chart({name: points}, name) if len(points) > 1 else "")
    body = "".join(charts)
    return f'<h2>History</h2><div class="charts">{body}</div>' if body else ""


def settings(config: Mapping[str, object], provenance: Mapping[str, object]) -> str:
    """Resolved settings as YAML and provenance as JSON, folded."""
    resolved = html.escape(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    origin = html.escape(json.dumps(dict(provenance), indent=2, default=str, ensure_ascii=False))
    return (f"<h2>Settings</h2><details><summary>Resolved settings (config.yaml)</summary><pre>{resolved}</pre>"
            f"</details><details><summary>Seed, versions, hashes</summary><pre>{origin}</pre></details>")
