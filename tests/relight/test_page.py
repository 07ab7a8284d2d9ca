"""The page of `dipir relight`: valid, escaped, self-contained; the pictures in it give the result at every strength."""
import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.relight.page import DIAL_SIDE, RelightPage, encode_stops, relight_html


def _random(seed: int, channels: int, height: int = 24, width: int = 31) -> torch.Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def _page(kind: str = "layers", height: int = 24, width: int = 31, **changes) -> RelightPage:
    """Random layers on random 8-bit pixels; kind : layers, colour, gain or net."""
    x = (_random(0, 3, height, width) * 255).round() / 255
    m = 0.1 + 0.9 * _random(1, 3 if kind == "colour" else 1, height, width)
    d = 0.1 + 0.9 * _random(2, 1, height, width)
    gain = m / (d + 1e-6)
    if kind == "gain":
        gain = 2 * _random(3, 3, height, width)
    given = {"gain": {"gain": gain}, "net": {}}.get(kind, {"multiply": m, "divide": d})
    return RelightPage(**{
        "name": "vase", "prompt": "light from the left", "before": x, "after": (x * gain).clamp(0, 1), **given,
        "facts": {"direction": "azimuth 90°, elevation 20°", "engine": "layers"}, "notes": ["alpha ignored"],
        "history": [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.0}], "config": {"seed": 7},
        "provenance": {"torch": "2.13"}, **changes})


class _Parsed(HTMLParser):
    """Collects addresses, pictures by class and texts; checks that tags are closed in order."""

    VOID = {"meta", "img", "input", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack, self.addresses, self.pictures, self.texts, self.attributes = [], [], {}, [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data", "poster")]
        self.attributes += [k for k, _ in attrs]
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        if tag == "img":
            self.pictures[dict(attrs).get("class")] = dict(attrs)["src"]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert tag not in self.VOID and self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def _pixels(uri: str) -> np.ndarray:
    """(H, W, 1 or 3) integers of a data URI, PNG only."""
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _relit(x: np.ndarray, gain: np.ndarray, strength: float) -> np.ndarray:
    """What the script should draw, in units of 1/255, not rounded."""
    high, low = np.split(gain, 2)
    assert low.max() <= 15
    stops = (high * 16 + low) / 4095 * 8 - 4
    return np.clip(x * 2.0 ** (strength * stops), 0, 255)


@pytest.mark.parametrize("kind", ["layers", "colour", "gain"])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 1.5])
def test_the_pictures_in_the_page_give_the_result(kind, strength):
    page = _page(kind)
    found = _Parsed(relight_html(page)).pictures
    y = _relit(_pixels(found["photo"]), _pixels(found["gain"]), strength)
    gain = page.gain if kind == "gain" else page.multiply / (page.divide + 1e-6)
    exact = (page.before.double() * gain.double().clamp(1 / 16, 16) ** strength).clamp(0, 1)
    wrong = np.abs(y / 255 - exact[0].permute(1, 2, 0).numpy()).max()
    assert wrong < 0.3 / 255 and (strength > 0 or np.array_equal(y, _pixels(found["photo"])))
    if strength == 1 and kind != "gain":
        assert np.abs(y / 255 - page.after[0].permute(1, 2, 0).numpy()).max() < 0.3 / 255


def test_codes_by_hand():
    code = (encode_stops(torch.tensor([-4.0, 0.0, 1.0, 4.0]).view(1, 1, 1, 4)) * 255).round().int()
    assert code.shape == (1, 1, 2, 4)
    # 0, 2047.5 (to even: 2048), 2559.375, 4095
    assert code[0, 0].tolist() == [[0, 128, 159, 255], [0, 0, 15, 15]]


@pytest.mark.parametrize("kind", ["layers", "colour"])
@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script, which needs node")
def test_the_script_does_what_python_does(kind):
    found = _Parsed(relight_html(_page(kind))).pictures
    script = re.search(r"<script>(.*)</script>", relight_html(_page(kind)), re.S)[1]
    x, gain = (_pixels(found[name]) for name in ("photo", "gain"))

    def canvas(pixels):  # what getImageData gives: RGBA, grey repeated
        rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255)], -1).ravel().tolist()
    run = f"""const document={{querySelectorAll:()=>[]}};{script}
const x=Uint8ClampedArray.from({canvas(x)}),g=Uint8ClampedArray.from({canvas(gain)}),n=x.length/4,out=[];
for(const s of [0,0.5,1,1.5]){{const y=new Uint8ClampedArray(x.length);relight(x,codes(g,n),s,y);out.push([...y])}}
g[4*n+1]=16;console.log(JSON.stringify([out,codes(g,n)]))"""
    done = subprocess.run(["node", "-"], input=run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    drawn, disturbed = json.loads(done.stdout)
    for strength, values in zip((0, 0.5, 1, 1.5), drawn, strict=True):
        pixels = np.array(values).reshape(*x.shape[:2], 4)
        assert (pixels[..., 3] == 255).all()
        assert np.abs(pixels[..., :3] - _relit(x, gain, strength)).max() < 0.51
    assert disturbed is None  # a browser that falsifies the canvas leaves the still picture


@pytest.mark.parametrize("kind", ["layers", "colour", "gain", "net"])
def test_page_is_valid_and_self_contained(kind):
    text = relight_html(_page(kind))
    parsed = _Parsed(text)
    assert all(a.startswith("data:image/") for a in parsed.addresses)
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    assert not [a for a in parsed.attributes if a.startswith("on")]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy and "img-src data:;" in policy
    words = " ".join(parsed.texts)
    for said in ("vase", "light from the left", "azimuth 90°, elevation 20°", "alpha ignored", "seed: 7", "2.13",
                 "loss"):
        assert said in words
    assert ('<canvas hidden>' in text) == (kind != "net") and ("mid grey = 1" in words) == (kind != "net")
    assert ("darkens" in words) == (kind in ("layers", "colour"))


def test_without_a_script_the_result_is_there():
    """What only works with the script is hidden in the page as it is; the result is not."""
    text = relight_html(_page())
    assert re.search(r'<img class="still" src="[^"]*" alt="result">', text)
    assert re.search(r"<canvas hidden>", text) and re.search(r"<label hidden>Strength<input", text)
    assert len(re.findall(r'<img class="(?:photo|gain)" hidden', text)) == 2


def test_every_text_is_escaped():
    bad = "</script><script>alert(1)</script>\"'&"
    text = relight_html(_page(name=bad, prompt=bad, facts={bad: bad}, notes=[bad], config={bad: bad},
                              provenance={bad: bad}, history=[{bad: 1.0}, {bad: 2.0}]))
    assert text.count("<script>") == 1 and text.count("alert(1)&lt;/script&gt;") >= 9
    _Parsed(text)


def test_large_pictures_are_shrunk_together():
    x = torch.linspace(0, 1, 1500).view(1, 1, 1, -1).expand(1, 3, 40, 1500).contiguous()
    page = RelightPage("a", "", x, x * 0.5, gain=torch.full((1, 1, 40, 1500), 0.5))
    found = _Parsed(relight_html(page)).pictures
    photo, gain = _pixels(found["photo"]), _pixels(found["gain"])
    assert photo.shape == (27, DIAL_SIDE, 3) and gain.shape == (54, DIAL_SIDE, 1)
    assert np.abs(_relit(photo, gain, 1.0) - photo / 2).max() < 0.1
    tiny = torch.rand(1, 3, 1, 3000)
    found = _Parsed(relight_html(RelightPage("a", "", tiny, tiny, gain=tiny))).pictures
    assert _pixels(found["gain"]).shape == (2, DIAL_SIDE, 3)


def test_a_gain_of_zero_and_layers_outside_the_code():
    gain = torch.tensor([0.0, 1e-9, 100.0]).expand(1, 1, 2, 3)
    stops = RelightPage("a", "", torch.rand(1, 3, 2, 3), torch.rand(1, 3, 2, 3), gain=gain).stops()
    assert stops[0, 0, 0].tolist() == [-4.0, -4.0, 4.0]


@pytest.mark.parametrize("changes", [
    {"after": _random(0, 3, 24, 30)}, {"before": _random(0, 1)}, {"divide": _random(0, 1, 2, 2)},
    {"multiply": _random(0, 2)}, {"divide": None}, {"gain": _random(0, 1)}, {"after": _random(0, 3)[0]}])
def test_wrong_shapes(changes):
    with pytest.raises(ValueError):
        _page(**changes)
