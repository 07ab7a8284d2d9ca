"""report.html of an insertion: valid, escaped, self-contained, and its cross is where the light is."""
import re
from html.parser import HTMLParser

import pytest
import torch

from dipir.insert import page as report
from dipir.insert.result import Result, page_of
from tests.support.small_result import small_result


class _Page(HTMLParser):
    """Collects addresses and checks that tags are closed in order."""

    VOID = {"meta", "img", "input", "br", "line", "polyline", "path", "circle", "i"}

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.addresses, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def _page(result: Result) -> tuple[str, _Page]:
    text, page = report.report_html(page_of(result)), _Page()
    page.feed(text)
    assert page.stack == []
    return text, page


def test_report_is_self_contained():
    text, page = _page(small_result())
    assert len(page.addresses) >= 12 and all(a.startswith("data:image/") for a in page.addresses)
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    words = " ".join(page.texts)
    assert "ball" in words and "the plate's alpha was ignored" in words and "steps: 40" in words


def test_report_escapes_every_text():
    bad = "</script><script>alert(1)</script>\"'&"
    text, _ = _page(small_result(config={"prompt": bad}, provenance={"name": bad, "prompt": bad, "notes": [bad],
                                                                     "prior": bad}, history=[{bad: 1.0}, {bad: 2.0}]))
    assert text.count("<script>") == 1 and "alert(1)&lt;/script&gt;" in text


def test_report_marks_the_light_where_it_is():
    text, _ = _page(small_result())
    x, y = (float(v) for v in re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', text).groups())
    # u = atan2(x, -z) / 2 pi of (0.48, 0.72, -0.5), v = acos(y) / pi.
    assert x == pytest.approx(512 * 0.1219, abs=3) and y == pytest.approx(256 * 0.2425, abs=3)


def test_each_guess_has_its_picture_its_chance_and_its_command():
    guesses = [{"azimuth_deg": a, "elevation_deg": 40.0, "chance": c} for a, c in ((50.4, 0.67), (-84.0, 0.14))]
    provenance = {"light_guesses": guesses, "light": {"committed": True, "guess": 2}}
    pictures = tuple(torch.full((1, 3, 9, 12), v) for v in (0.2, 0.8))
    result = small_result(provenance=provenance, guess_pictures=pictures)
    text, page = report.report_html(page_of(result, "out/<a b>")), _Page()
    page.feed(text)
    assert "azimuth 50°, elevation 40°: 67%" in page.texts
    assert "azimuth -84°, elevation 40°: 14% (taken here)" in page.texts
    assert [t for t in page.texts if t.startswith("dipir light")] == [
        f"dipir light 'out/<a b>' --guess {n}" for n in (1, 2)]
    assert "<a b>" not in text and all(a.startswith("data:image/") for a in page.addresses)
    assert len(page.addresses) == len(_page(small_result())[1].addresses) + 2
    # Names that the shell takes as they are need no quotes.
    assert "dipir light out/demo --guess 1<" in report.report_html(page_of(result, "out/demo"))


def test_without_guesses_nothing_is_said_of_them():
    text, _ = _page(small_result())
    assert "--guess" not in text and "Where the light may come from" not in text


def test_what_was_decided_about_the_light_is_told():
    provenance = {"light": {"decided": "light: a sun <b>"}, "seed": 3}
    text, page = _page(small_result(provenance=provenance))
    assert "light: a sun <b>" in page.texts
