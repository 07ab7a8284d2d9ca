"""The report page of `dipir relight`: before and after, the change of light on a slider, layers, curves, settings.

The slider works on two pictures in the page: the photo x, and the change of light as a code of log2 gain, which the
script turns into y = x gain^strength on a canvas. Without a script the page shows the result at full strength.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dipir.arrays import Image
from dipir.report import figures
from dipir.report import page as report_page

DIAL_SIDE = 1024
MAX_STOPS = 4.0
_LEVELS = 4095
_SHOWN_STOPS = 2.0

_CSS = """
.dial{max-width:calc(86vh*var(--aspect));margin:0 auto}
.dial .stage{border-radius:6px;overflow:hidden;background:#000;line-height:0}
.dial canvas,.dial .still{width:100%;display:block}.dial [hidden]{display:none}
.dial label{display:flex;gap:14px;align-items:center;margin:12px 0 0}
.dial label input{flex:1;min-width:0;accent-color:#5fa8e8;cursor:pointer}
.dial output{min-width:52px;text-align:right;font-variant-numeric:tabular-nums;color:#f2f2f2}
.dial .why{margin:12px 0 0}
"""
# The code of a gain is 12 bits: the upper eight in the upper half of the picture, the lower four below. 8 bits would
# be 2.2 % a step. A lower part above 15 means that the browser falsifies what pages read from a canvas.
_JS = """
const pixels=(image,w,h)=>{const c=document.createElement('canvas');c.width=w;c.height=h;
const p=c.getContext('2d',{willReadFrequently:true});p.drawImage(image,0,0);return p.getImageData(0,0,w,h).data};
const codes=(d,n)=>{const out=new Uint16Array(4*n);for(let i=0;i<4*n;i++){if(i%4==3)continue;
const low=d[4*n+i];if(low>15)return null;out[i]=d[i]*16+low}return out};
const factors=strength=>Float32Array.from({length:4096},(_,k)=>2**(strength*(k/4095*8-4)));
const relight=(x,code,strength,out)=>{const f=factors(strength);
for(let i=0;i<x.length;i++)out[i]=i%4==3?255:x[i]*f[code[i]]};
const dial=async box=>{const find=q=>box.querySelector(q),x=find('.photo'),g=find('.gain');
await Promise.all([x.decode(),g.decode()]);
const w=x.naturalWidth,h=x.naturalHeight,base=pixels(x,w,h),code=codes(pixels(g,w,2*h),w*h);
if(!code||g.naturalWidth!=w||g.naturalHeight!=2*h)return;
const canvas=find('canvas'),s=find('input');canvas.width=w;canvas.height=h;
const pen=canvas.getContext('2d'),picture=pen.createImageData(w,h);let waits=false;
const draw=()=>{waits=false;relight(base,code,s.value/100,picture.data);pen.putImageData(picture,0,0);
find('output').textContent=s.value+' %'};
s.addEventListener('input',()=>{if(!waits){waits=true;requestAnimationFrame(draw)}});
draw();canvas.hidden=find('label').hidden=false;find('.still').hidden=find('.why').hidden=true};
for(const box of document.querySelectorAll('.dial'))dial(box);
"""


@dataclass(frozen=True, eq=False)
class RelightPage:
    """What the page shows.

    name : its title;  prompt : the words, or ""
    before, after : (1, 3, H, W) display sRGB in [0, 1]
    multiply, divide : (1, 1 or 3, H, W), the layers M and D, > 0: after = before M / D; or None, both
    gain : (1, 1 or 3, H, W), >= 0, a factor in display values; in place of ``multiply`` and ``divide``; or None
    facts : name -> value, in this order;  history : one dict per step;  config : resolved settings
    provenance : seed, versions, hashes;  notes : remarks for the user

    Without layers and gain the page has no strength slider. Raises ValueError for wrong shapes.
    """

    name: str
    prompt: str
    before: Image
    after: Image
    multiply: Tensor | None = None
    divide: Tensor | None = None
    gain: Tensor | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[Mapping[str, object]] = ()
    config: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        size = tuple(self.before.shape[2:])
        for name in ("before", "after", "multiply", "divide", "gain"):
            tensor, channels = getattr(self, name), (3,) if name in ("before", "after") else (1, 3)
            if tensor is not None and tuple(tensor.shape) not in [(1, c, *size) for c in channels]:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not (1, {channels}, {size})")
        if (self.multiply is None) != (self.divide is None) or None not in (self.multiply, self.gain):
            raise ValueError("give multiply and divide, or gain, or none of them")

    def stops(self) -> Tensor | None:
        """log2 of the gain, (1, 1 or 3, H, W), within +-``MAX_STOPS``; None without layers and gain."""
        gain = self.gain if self.multiply is None else self.multiply / (self.divide + 1e-6)
        return None if gain is None else gain.detach().float().clamp(2**-MAX_STOPS, 2**MAX_STOPS).log2()


def relight_html(page: RelightPage) -> str:
    """The whole page. Every text from outside (prompt, names, settings) is escaped."""
    stops = page.stops()
    sections = [report_page.head(page.name, page.prompt, page.facts, page.notes),
                report_page.compare(page.before, page.after, ("before", "after"))]
    if stops is not None:
        sections += [_dial(page, stops), _layers(page, stops)]
    sections += [report_page.history(page.history), report_page.settings(page.config, page.provenance)]
    return report_page.page(page.name, sections, _CSS, _JS)


def encode_stops(stops: Tensor) -> Image:
    """log2 of a gain, (1, C, H, W) within +-``MAX_STOPS`` -> (1, C, 2 H, W) display values of an 8-bit PNG: above the
    upper eight bits of a 12-bit code, below the lower four. The gain that comes back is within 0.07 %."""
    code = ((stops + MAX_STOPS) / (2 * MAX_STOPS) * _LEVELS).round().clamp(0, _LEVELS).int()
    return torch.cat([code // 16, code % 16], 2) / 255


def _dial(page: RelightPage, stops: Tensor) -> str:
    """The strength slider. Both pictures are shrunk here, so that their pixels stay together."""
    height, width = page.before.shape[2:]
    scale = min(1.0, DIAL_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    photo, small = (interpolate(t.detach().float().cpu(), size, mode="area") for t in (page.before, stops))
    still = figures.data_uri(page.after, max_side=DIAL_SIDE)
    x = figures.data_uri(photo, lossless=True, max_side=DIAL_SIDE)
    gain = figures.data_uri(encode_stops(small), lossless=True, max_side=2 * DIAL_SIDE)
    return (f'<h2>Strength</h2><p class="dim">0 % is the photo, 100 % the result; 150 % goes beyond it.</p>'
            f'<div class="dial" style="--aspect:{width / height:.4f}"><div class="stage"><canvas hidden></canvas>'
            f'<img class="still" src="{still}" alt="result"></div><img class="photo" hidden src="{x}" alt="">'
            f'<img class="gain" hidden src="{gain}" alt=""><label hidden>Strength<input type="range" min="0" max="150" '
            'step="1" value="100" aria-label="strength in per cent"><output>100 %</output></label><p class="dim why">'
            "The slider needs a browser that runs scripts and lets pages read their own canvas; this is the result at "
            "100 %.</p></div>")


def _layers(page: RelightPage, stops: Tensor) -> str:
    shown = {}
    if page.multiply is not None:
        shown = {("multiply", "darkens: the photo times this"): page.multiply,
                 ("divide", "brightens: then divided by this"): page.divide}
    shading = (stops / (2 * _SHOWN_STOPS) + 0.5).clamp(0, 1)
    shown[("shading", f"as one factor: mid grey = 1, white and black = {_SHOWN_STOPS:g} stops up and down")] = shading
    return "<h2>Layers</h2>" + report_page.grid(shown)
