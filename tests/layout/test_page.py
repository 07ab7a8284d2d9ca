"""The page of `dipir layout`."""
import torch

from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, layout
from dipir.layout.page import layout_html
from dipir.layout.regions import Region
from dipir.settings import read
from tests.support.toy_layout import ColourToy

CONFIG = read.override(LayoutConfig(), ["attention=false", "width=16", "height=16", "sampler.steps=4"])


def made(**more):
    regions = (Region("a <red> cube", (0.25, 0.25, 0.75, 1.0)),)
    return layout(LayoutRequest("a <red> cube & more", regions, **more), CONFIG, prior=ColourToy(size=16))


def test_the_page_escapes_texts_and_asks_for_nothing_outside():
    page = layout_html(made())
    assert "<red>" not in page and "a &lt;red&gt; cube &amp; more" in page
    assert "http:" not in page and "https:" not in page
    assert page.count("<figure>") == 4 and "class=\"compare\"" not in page
    edited = made(image=torch.rand(1, 3, 32, 32))
    assert "class=\"compare\"" in layout_html(edited)
