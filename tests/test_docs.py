"""The documentation is true: modules, tables, links, commands, settings."""
from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dipir.cli import main as cli
from dipir.cli.verbs.insert import overrides_of
from dipir.insert.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "scenes" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PRIORS = ROOT / "assets" / "priors"
# The tutorial's runs made small: they show that the commands work, not what comes out.
TINY = """
guidance: {samples: 1, sampler_steps: 2}
transport: {samples: 1, bsdf_samples: 1, light_samples: 1}
fit: {steps: 2}
final: {size: 64, spp: 1}
"""


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """Words of every `dipir ...` line of the bash blocks, comments left out."""
    lines = (line for block in blocks(page, "bash") for line in block.splitlines())
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words[:1] == ["dipir"]]


# ------------------------------------------------------------------------------------------------- architecture page
def listed_modules() -> set[str]:
    """The modules that docs/architecture.md lists, as paths in the package."""
    (tree,) = blocks(ROOT / "docs" / "architecture.md", "modules")
    found, folder = set(), ""
    for line in tree.splitlines():
        name = line.split()[0]
        if line.startswith("  "):
            found.add(folder + name)
        else:
            folder = "" if name == "dipir/" else name
    return found


def test_the_architecture_page_lists_the_modules_that_exist():
    package = ROOT / "dipir"
    real = {str(p.relative_to(package)) for p in package.rglob("*.py") if p.name != "__init__.py"}
    listed = listed_modules()
    assert not real - listed, f"docs/architecture.md does not list {sorted(real - listed)}"
    assert not listed - real, f"docs/architecture.md lists what does not exist: {sorted(listed - real)}"


def test_places_named_by_the_trap_table_exist():
    text = (ROOT / "docs" / "architecture.md").read_text().split("## 9.")[1]
    rows = [line.split("|")[3] for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 15
    for row in rows:
        folder = ""
        for place in row.strip().split(", "):
            folder = place.rpartition("/")[0] or folder
            assert (ROOT / "dipir" / folder / Path(place).name).is_file(), f"{place} of the row '{row}'"


# ------------------------------------------------------------------------------------------------- page of the methods
def test_the_method_page_names_modules_that_exist():
    text = (ROOT / "docs" / "method.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", text))
    assert len(named) > 30
    assert not {name for name in named if not (ROOT / "dipir" / name).is_file()}


def test_citations_of_the_method_page_lead_to_a_section():
    sections = set(re.findall(r"^#+ (\d(?:\.\d+)?) ", (ROOT / "docs" / "method.md").read_text(), re.M))
    files = [path for folder in ("dipir", "benchmarks", "tests", "configs") for path in (ROOT / folder).rglob("*")
             if path.suffix in (".py", ".yaml")]
    cited = {(number, path.name) for path in [*files, *PAGES]
             for number in re.findall(r"docs/method\.md (\d(?:\.\d+)?)", path.read_text(encoding="utf-8"))}
    assert len(cited) > 10
    assert not {(number, name) for number, name in cited if number not in sections}


# ------------------------------------------------------------------------------------------------------------ tables
def tables() -> list[tuple[Path, str, str]]:
    pattern = re.compile(r"<!-- table: ([\w-]+) -->\n(.*?)<!-- end -->", re.S)
    return [(page, name, text) for page in PAGES for name, text in pattern.findall(page.read_text())]


def test_the_figures_of_the_readme_are_the_committed_results():
    """Its one table holds means, in the last two columns medians, of benchmarks/results/insert.json."""
    text = (ROOT / "README.md").read_text()
    (table,) = re.findall(r"<!-- figures: insert -->\n(.*?)<!-- end -->", text, re.S)
    assert [name for page, name, _ in tables() if page.name == "README.md"] == []
    results = json.loads((ROOT / "benchmarks" / "results" / "insert.json").read_text())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    methods = ("ambient", "projected", "soft", "default", "oracle-sg", "truth")
    for (_, *cells), method in zip(rows, methods, strict=True):
        means = [results["summary"][method][key]["mean"] for key in ("fg_si_rmse", "composite_rmse")]
        dark = results["summary"][method]["darkest_log2"]["median"]
        angle = results["single_light"]["summary"][method]["direction_deg"]["median"]
        assert cells == [f"{value:.3g}" for value in (*means, dark, angle)], method


@pytest.mark.parametrize("page, name, text", tables(), ids=lambda value: value if isinstance(value, str) else "")
def test_tables_are_the_committed_results(page, name, text):
    source = ROOT / "benchmarks" / "results" / f"{name}.md"
    if not source.is_file():
        assert not text.strip(), f"{page.name} shows a table {name} that no committed result has printed"
        pytest.skip(f"{source.relative_to(ROOT)} does not exist yet")
    assert text.strip() == source.read_text().strip(), f"copy {source.relative_to(ROOT)} into {page.name}"


# ----------------------------------------------------------------------------------------------- links and commands
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    if missing == ["docs/images/demo.jpg"]:
        pytest.skip("docs/images/demo.jpg is made by `make demo` and not committed yet")
    assert not missing, f"{page.name} links to {missing}"


ALL_COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


def test_the_pages_have_commands():
    assert len(ALL_COMMANDS) > 8


@pytest.mark.parametrize("words", [words for _, words in ALL_COMMANDS], ids=" ".join)
def test_commands_are_accepted(words):
    """Options exist, and so do the settings that `--set` and presets name."""
    args = cli.build_parser().parse_args(words[1:])
    if args.command == "insert":
        load_config(args.preset, None, overrides_of(args))


def test_settings_in_running_text_exist():
    """`guidance.kind`, `light.anchor`, ... written in back quotes are settings."""
    config = load_config()
    sections = r"(?:light|tone|material|guidance|personalise|transport|fit|final)"
    quoted = re.compile(rf"`(?:--set )?({sections}\.[a-z_]+)(?:=[^`]*)?`")
    found = {name for page in PAGES for name in quoted.findall(page.read_text())}
    found -= {name for name in found if name.rsplit(".", 1)[1] in ("exr", "json", "yaml", "cube", "py", "png")}
    assert len(found) >= 3
    for name in found:
        section, key = name.split(".")
        assert key in vars(getattr(config, section)), f"there is no setting {name}"


def test_files_of_a_result_are_those_that_are_explained(tmp_path):
    """docs/result.md names every file that save() writes."""
    text = (ROOT / "docs" / "result.md").read_text()
    source = (ROOT / "dipir" / "insert" / "result.py").read_text()
    written = set(re.findall(r'out / "([\w.]+)"', source)) - {"light.png"}
    assert len(written) > 7
    assert not {name for name in written if f"`{name}`" not in text}
    layers = set(re.findall(r'"(\w+)": ', source.split("def exr_layers")[1].split("\ndef ")[0]))
    assert {"shadow_full", "depth"} <= layers
    assert not {name for name in layers - {"beauty"} if f"`{name}." not in text}


def test_imports_of_the_pages_work():
    """Every name that a Python block imports from dipir is there."""
    lines = [line.split("#")[0] for page in PAGES for block in blocks(page, "python") for line in block.splitlines()]
    imports = [re.fullmatch(r"from (dipir\S*) import (.+)", line.strip()) for line in lines]
    names = [(found[1], name.strip()) for found in imports if found for name in found[2].split(",")]
    assert len(names) > 10
    assert not [f"{module}.{name}" for module, name in names if not hasattr(importlib.import_module(module), name)]


# ----------------------------------------------------------------------------------------------------------- tutorial
@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    """Every block marked `# tested`, in order, in a folder that has the shipped assets."""
    config = TINY
    if not (PRIORS / "insert.safetensors").is_file():
        config = config.replace("guidance: {", "guidance: {kind: none, ")
    if not (PRIORS / "light.safetensors").is_file():
        config += "light: {start: mirrored}\n"
    (tmp_path / "tiny.yaml").write_text(config)
    for name in ("assets", "scenes", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    tested = [b for b in blocks(ROOT / "docs" / "tutorial-insert.md", "bash") if b.startswith("# tested\n")]
    assert len(tested) >= 4
    # Options after those of the tutorial win; `--set` has the last word, so those of the tutorial are left out.
    shell = f"""set -euo pipefail
dipir() {{
    case $1 in
        insert) {sys.executable} -m dipir "${{@/fit.steps=200/fit.steps=3}}" --config tiny.yaml --quiet ;;
        render) {sys.executable} -m dipir "$@" --size 64,48 --spp 1 --quiet ;;
        *) {sys.executable} -m dipir "$@" ;;
    esac
}}
""" + "\n".join(tested)
    run = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=900,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / "out/vase/composite.png").is_file() and (tmp_path / "out/mine/composite.png").is_file()


@pytest.mark.slow
def test_the_tutorial_in_python_runs(tmp_path, monkeypatch):
    (block,) = blocks(ROOT / "docs" / "tutorial-insert.md", "python")
    settings = ["final.size=64", "final.spp=1", "transport.samples=1", "guidance.kind=none", "light.start=mirrored"]
    small = block.replace('load_config("fast")', f'load_config("fast", None, {settings})')
    assert small != block
    monkeypatch.chdir(tmp_path)
    for name in ("assets", "scenes"):
        (tmp_path / name).symlink_to(ROOT / name)
    exec(compile(small, "tutorial", "exec"), {})
    assert (tmp_path / "out/python/composite.png").is_file()


# ------------------------------------------------------------------------------------------- files of assets and plates
def held_lines(page: str) -> list[str]:
    """Last cells of the rows of the tables of a page whose last column names tests."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [cells[-1] for cells in rows if cells[-1] != "held by"]


@pytest.mark.parametrize("page", ["assets.md", "plates.md"])
def test_every_line_of_these_tables_is_held_by_a_test(page):
    found = held_lines(page)
    assert len(found) > 30
    for place in found:
        file, _, name = place.partition("::")
        path = ROOT / "tests" / file
        assert path.is_file() and f"\ndef {name}(" in path.read_text(), f"docs/{page} names no test by '{place}'"
