"""The studio's page as files: what the content policy asks of them, and sizes."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "dipir" / "studio" / "static"
MODULES = sorted(STATIC.glob("*.js"))
MARKUP = re.compile(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\s*\(|new Function)\b|"
                    r"setAttribute\(\s*[\"']style|https?://(?!www\.w3\.org/)")


def faults(source: str) -> list[str]:
    """What turns text into markup or code, or asks another machine."""
    return [found[0] for found in MARKUP.finditer(source)]


def test_the_test_sees_faults():
    for bad in ("a.innerHTML = b", "eval (x)", "new Function('x')", 'n.setAttribute("style", s)', "fetch('https://x.y')"):
        assert faults(bad), bad
    assert faults('const SVG = "http://www.w3.org/2000/svg"; node.textContent = evaluated(name);') == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules(path):
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    assert faults(source) == []
    assert len(lines) <= 350 and max(map(len, lines)) <= 120
    assert lines[0].startswith("// "), "the first line says what the module is for"
    imported = re.findall(r'from "\./([\w.]+)"', source)
    assert len(imported) == len(re.findall(r"^import\b|^} from", source, re.M)) and all(
        (STATIC / name).is_file() for name in imported)
    for name in imported:
        (names,) = re.findall(rf'import \{{([^}}]*)\}} from "\./{re.escape(name)}"', source)
        exported = (STATIC / name).read_text(encoding="utf-8")
        for one in filter(None, (part.strip() for part in names.split(","))):
            assert re.search(rf"^export (async )?(const|function|class) {re.escape(one)}\b", exported, re.M), one


def test_every_module_is_used():
    used = {name for path in MODULES for name in re.findall(r'from "\./([\w.]+)"', path.read_text(encoding="utf-8"))}
    assert {path.name for path in MODULES} - used == {"main.js"}


def test_the_document_has_no_script_or_style_of_its_own():
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script([^>]*)>([^<]*)</script>", page) == [(' type="module" src="/static/main.js"', "")]
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    for name in re.findall(r'(?:src|href)="/static/([\w.]+)"', page):
        assert (STATIC / name).is_file()
    style = (STATIC / "studio.css").read_text(encoding="utf-8")
    assert "@import" not in style and "url(" not in style
