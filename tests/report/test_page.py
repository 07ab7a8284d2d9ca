"""The templates: every value escaped, a missing one refused, curves of what is a number."""
import jinja2
import pytest
import torch

from dipir.report import page as report_page

BAD = "</script><script>alert(1)</script>\"'&"


def test_parts_escape_every_text():
    parts = report_page.environment().get_template("parts.html").module
    picture = torch.zeros(1, 3, 4, 4)
    (chart,) = report_page.curves_of([{BAD: 1.0}, {BAD: 2.0}])
    html = (parts.head(BAD, BAD, {BAD: BAD}, [BAD]) + parts.compare(picture, picture, BAD, BAD)
            + parts.grid({(BAD, BAD): picture}) + parts.charts([chart]) + parts.settings({BAD: BAD}, {BAD: BAD}))
    assert "<script" not in html and html.count("alert(1)") >= 16
    assert html.count("alert(1)") == html.count("&lt;script&gt;alert(1)&lt;/script&gt;")


def test_what_is_missing_is_said():
    with pytest.raises(jinja2.UndefinedError, match="prompt"):
        report_page.render("layout.html", name="a", facts={}, before=None, after=None, grids={}, config={},
                           provenance={})


def test_a_curve_for_every_number():
    rows = [{"step": 0, "a": 1.0, "b": True, "c": "x", "d": 5}, {"step": 0, "a": 3.0, "b": True, "c": "y"}]
    (chart,) = report_page.curves_of(rows)
    assert chart.label == "a"
