"""The house plan as a test (docs/architecture.md, sections 3 and 4): floors, circles, folders, names, sizes, comments.

Every import counts, also those inside functions and those by a string that names a module; only ``if TYPE_CHECKING:``
blocks are left out.
"""
from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "dipir"
# From the ground up; a folder may import what stands on its own floor or below.
STOREYS = (("",), ("settings", "image", "fit"), ("scene", "diffusion"), ("captures", "export"), ("render",),
           ("guidance", "priors"), ("report",), ("insert", "rti"), ("relight", "layout"), ("suite",),
           ("workshop", "studio"), ("cli", "__main__"))
FLOORS = {folder: floor for floor, folders in enumerate(STOREYS) for folder in folders}
# Modules on the ground floor; ``dipir`` itself only points lazily at the others.
ROOT = {"", "arrays", "child", "device", "disk", "errors", "event", "tensors"}
ONLY_IN = {"mitsuba": ("render", "workshop.worlds"), "drjit": ("render", "workshop.worlds"),
           "diffusers": ("diffusion",), "peft": ("diffusion",), "transformers": ("diffusion",),
           "trimesh": ("scene.assets", "captures.point_cloud", "workshop"), "ray": ("suite.cluster",),
           "pycolmap": ("scene.photo_camera.lens",)}
METHODS = ("insert", "relight", "layout", "rti")
MAX_FILES, MAX_FILE, MEDIAN_FILE, MAX_FUNCTION, MEDIAN_FUNCTION, MAX_PARAMETERS, MAX_DEPTH = 12, 350, 150, 70, 10, 6, 3
SEAMS = {"AbstractRenderer", "AbstractLight", "AbstractDenoiser", "Guidance"}


# -------------------------------------------------------------------------------------------------- reading the package
@cache
def sources() -> dict[str, tuple[Path, str, ast.Module]]:
    """Module name -> (file, text, syntax tree) of the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["dipir", *path.relative_to(PACKAGE).with_suffix("").parts]
        text = path.read_text(encoding="utf-8")
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = (path, text, ast.parse(text))
    return found


def place_of(module: str) -> str:
    """Folder of ``dipir.x.y``: "fit", or "" for the ground floor's modules."""
    parts = module.split(".")[1:]
    first = parts[0] if parts else ""
    return "" if first in ROOT else first


def imports(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[tuple[str, int]]:
    """(imported module, line) of every import in ``tree``; ``from dipir.fit import loop`` counts as dipir.fit.loop."""
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*up[:len(up) - node.level + 1], *filter(None, [node.module])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"(dipir|benchmarks)(\.\w+)+", node.value):
                yield node.value, node.lineno


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _walk(other)
            continue
        yield child
        yield from _walk(child)


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """(module.name, node) of every function and method."""
    for module, (_, _, tree) in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{module}.{node.name}", node


def length(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return lines


# ------------------------------------------------------------------------------------------------ floors and packages
def offences(module: str, source: str, is_package: bool = False) -> list[str]:
    """Every import rule that ``source`` of ``module`` breaks."""
    found, here = [], place_of(module)
    for target, line in imports(ast.parse(source), module, is_package):
        where = f"{module}:{line} imports {target}"
        package = target.split(".")[0]
        if package in ONLY_IN and not module.startswith(tuple(f"dipir.{place}" for place in ONLY_IN[package])):
            found.append(f"{where}: {package} belongs to {', '.join(ONLY_IN[package])} only")
        if package == "benchmarks" and here != "cli":
            found.append(f"{where}: the package knows nothing of benchmarks")
        if package != "dipir":
            continue
        there = place_of(target)
        # `from dipir import Scene` has no folder of its own; a name of the root counts as the root.
        there = there if there in FLOORS else ""
        # The root's table of public names points at their homes; nothing is imported until one is asked for.
        if FLOORS[there] > FLOORS[here] and module != "dipir":
            found.append(f"{where}: floor {FLOORS[here]} may not import floor {FLOORS[there]}")
        if {here, there} == {"render", "diffusion"}:
            found.append(f"{where}: render and diffusion never meet below the priors")
        if here == "fit" and there not in ("", "fit"):
            found.append(f"{where}: fit imports only root modules")
        if there == "workshop" and here not in ("workshop", "cli"):
            found.append(f"{where}: nothing a user runs imports the workshop")
    return found


@pytest.mark.parametrize("module", list(sources()))
def test_imports(module):
    path, text, _ = sources()[module]
    assert place_of(module) in FLOORS, f"{module} stands on no floor; give it one in docs/architecture.md"
    assert offences(module, text, path.name == "__init__.py") == []


@pytest.mark.parametrize("module, source, bad", [
    ("dipir.scene.camera", "from dipir.insert.method import x", True),
    ("dipir.scene.camera", "def f():\n    import dipir.render.renderer", True),
    ("dipir.scene.camera", "from dipir import render", True),
    ("dipir.scene.camera", "import importlib\nimportlib.import_module('dipir.cli.main')", True),
    ("dipir.scene.camera", "HOME = 'dipir.cli.main'", True),
    ("dipir.scene.camera", "from ..insert import method", True),
    ("dipir.scene.camera", "from . import plate\nfrom dipir.image.color import luminance\nimport dipir.errors", False),
    ("dipir.scene.camera", "if TYPE_CHECKING:\n    from dipir.cli import main", False),
    ("dipir.render.bridge", "from dipir.diffusion.denoiser import Condition", True),
    ("dipir.diffusion.denoiser", "from dipir.render import renderer", True),
    ("dipir.diffusion.denoiser", "import mitsuba as mi", True), ("dipir.render.bridge", "import mitsuba as mi", False),
    ("dipir.workshop.worlds.tracer", "import mitsuba as mi", False), ("dipir.workshop.crops", "import drjit", True),
    ("dipir.insert.method", "def f():\n    from drjit.auto import Float", True),
    ("dipir.insert.method", "from dipir.workshop import crops", True),
    ("dipir.suite.run", "from benchmarks import common", True),
    ("dipir.fit.loop", "from dipir.settings.read import merge", True),
    ("dipir.fit.loop", "from dipir.image import color", True),
    ("dipir.fit.loop", "from dipir.errors import FitError\nfrom dipir.fit import checkpoint", False),
    ("dipir.insert.method", "from diffusers import UNet2DModel", True),
    ("dipir.scene.proxy", "import trimesh", True), ("dipir.workshop.things.shapes", "import trimesh", False)])
def test_the_test_sees_offences(module, source, bad):
    assert bool(offences(module, source)) == bad


# ------------------------------------------------------------------------------------------------------------- circles
def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components of two or more)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = stack[stack.index(node):]
            del stack[stack.index(node):]
            found.extend([sorted(group)] if len(group) > 1 else [])

    for node in graph:
        if node not in order:
            visit(node)
    return found


def import_graph() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports anywhere."""
    modules, graph = sources(), defaultdict(set)
    for module, (path, _, tree) in modules.items():
        if module == "dipir":
            continue
        for target, _ in imports(tree, module, path.name == "__init__.py"):
            while target and target not in modules:
                target = target.rpartition(".")[0]
            if target not in ("", "dipir", module):
                graph[module].add(target)
    return graph


def test_no_import_circle():
    graph = import_graph()
    assert circles(graph) == []
    folders = defaultdict(set)
    for module, targets in graph.items():
        folders[place_of(module)] |= {place_of(t) for t in targets} - {place_of(module)}
    assert circles(folders) == []


def test_the_test_sees_circles():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


# ------------------------------------------------------------------------------------------------------- folders, names
def test_folders_are_small_shallow_and_without_shared_prefixes():
    for folder in [PACKAGE, *(p for p in PACKAGE.rglob("*") if p.is_dir() and p.name != "__pycache__")]:
        names = sorted(p.stem for p in folder.glob("*.py") if not p.name.startswith("__"))
        where = folder.relative_to(REPOSITORY)
        assert len(where.parts) <= MAX_DEPTH or where.parts[1:2] == ("data",), f"{where} is too deep"
        assert len(names) <= MAX_FILES, f"{where} has {len(names)} files; accepted are {MAX_FILES}"
        prefixes = Counter(name.split("_")[0] for name in names)
        shared = [p for p, count in prefixes.items() if count >= 3]
        assert not shared, f"{where}: three files begin with {shared}; make a folder of them"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_four_files(method):
    names = {p.stem for p in (PACKAGE / method).glob("*.py")}
    assert {"config", "method", "result", "page"} <= names, f"{method} lacks one of config, method, result, page"


def test_public_class_names_are_unique():
    homes = defaultdict(list)
    for module, (_, _, tree) in sources().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


@pytest.mark.parametrize("constant, what", [(r"0?\.2126", "BT.709 luminance"), (r"0?\.7152", "BT.709 luminance"),
                                            (r"12\.92", "the sRGB curve"), (r"1\.055", "the sRGB curve")])
def test_constants_are_written_once(constant, what):
    homes = [m for m, (_, text, _) in sources().items() if re.search(rf"(?<![\d.]){constant}", text)]
    assert homes == ["dipir.image.color"], f"{what} is written in {homes}"


def test_abstract_classes_stand_at_the_seams():
    found = {}
    for module, (_, _, tree) in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(getattr(b, "id", "") == "ABC" for b in node.bases):
                found[node.name] = module
    assert {n for n in found if not found[n].startswith("dipir.workshop")} <= SEAMS, found


def asked_of_priors(source: str) -> list[int]:
    """Lines that ask for the kind of a prior by type or by getattr."""
    kinds = re.compile(r"\b(AbstractDenoiser|\w*Prior|\w*Denoiser)\b")
    found = []
    for node in ast.walk(ast.parse(source)):
        name = getattr(getattr(node, "func", None), "id", "") if isinstance(node, ast.Call) else ""
        if name == "isinstance" and kinds.search(ast.unparse(node.args[1])):
            found.append(node.lineno)
        if name in ("getattr", "hasattr") and re.search(r"prior|denoiser", ast.unparse(node.args[0]), re.I):
            found.append(node.lineno)
    return found


def test_nothing_asks_for_the_kind_of_a_prior():
    places = ("dipir.priors", "dipir.diffusion", "dipir.workshop")
    found = {m: lines for m, (_, text, _) in sources().items()
             if not m.startswith(places) and (lines := asked_of_priors(text))}
    assert found == {}
    bad = "isinstance(denoiser, InsertionPrior)\ngetattr(prior, 'net', None)\ngetattr(x, 'y')"
    assert asked_of_priors(bad) == [1, 2]


def test_every_module_has_its_mirrored_test():
    missing = [m for m in sources() if m not in ("dipir", "dipir.__main__") and sources()[m][0].name != "__init__.py"
               and not list((REPOSITORY / "tests").joinpath(*m.split(".")[1:-1]).glob(f"test_{m.split('.')[-1]}*.py"))]
    assert missing == [], f"{len(missing)} modules have no test file of their own name"


# ------------------------------------------------------------------------------------------------- references and words
def texts() -> Iterator[tuple[Path, str]]:
    """Comments and strings of the sources, and the documentation pages."""
    for folder in ("dipir", "benchmarks", "tests", "assets/build"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "scenes").glob("*.md")]:
        yield path, path.read_text(encoding="utf-8")


def test_texts_cite_only_files_of_the_repository():
    outside = re.compile(r"\b(methods\.md|field\.md|measurements\.md|findings\.md|style\.md|house plan)\b")
    found = [f"{p.relative_to(REPOSITORY)}: {m[0]}" for p, text in texts() if p != Path(__file__)
             for m in outside.finditer(text)]
    assert found == []


def test_no_path_of_a_machine():
    machine = re.compile(r"/(home|root|work|Users|tmp/[a-z_]+\d)/[\w.-]+")
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True).stdout.split("\n")
    found = []
    for name in tracked:
        path = REPOSITORY / name
        if path.suffix in (".md", ".json", ".yaml", ".csv", ".py", ".sh", ".cfg") and path.is_file() \
                and path != Path(__file__):
            found += [f"{name}: {m[0]}" for m in machine.finditer(path.read_text(encoding="utf-8"))]
    assert found == []


# --------------------------------------------------------------------------------------------------------------- sizes
def test_sizes_of_files():
    lines = {m: len(text.splitlines()) for m, (p, text, _) in sources().items() if p.name != "__init__.py"}
    assert {m: n for m, n in lines.items() if n > MAX_FILE} == {}
    assert statistics.median(lines.values()) <= MEDIAN_FILE


def test_sizes_of_functions():
    lengths = {name: length(node) for name, node in functions()}
    assert {n: v for n, v in lengths.items() if v > MAX_FUNCTION} == {}
    assert statistics.median(lengths.values()) <= MEDIAN_FUNCTION


def test_parameters_are_few():
    """Six that can be given by position; beyond that keywords or a frozen dataclass."""
    many = {}
    for name, node in functions():
        count = len(node.args.posonlyargs) + len(node.args.args)
        count -= bool(node.args.args and node.args.args[0].arg in ("self", "cls"))
        if count > MAX_PARAMETERS:
            many[name] = count
    assert many == {}


def test_long_mathematics_has_ruled_phases():
    """Functions of more than 40 lines outside the command line have phase comments (`# ---- ...`)."""
    bare = []
    for module, (_, text, tree) in sources().items():
        if place_of(module) in ("cli", "suite", "report"):
            continue
        lines = text.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and length(node) > 40:
                body = lines[node.lineno - 1:node.end_lineno]
                if sum(bool(re.match(r"\s*# ?-{2,}", line)) for line in body) < 2:
                    bare.append(f"{module}.{node.name}: {length(node)} lines")
    assert bare == []


def test_share_of_comments():
    comments = total = 0
    for _, text, _ in sources().values():
        total += len(text.splitlines())
        comments += sum(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(io.StringIO(text).readline))
    assert 0.03 <= comments / total <= 0.06, f"comments are {100 * comments / total:.1f} % of lines"


def test_fields_are_documented_at_the_field():
    """No packed ``a : ...;  b : ...`` lines in the docstring of a dataclass."""
    packed = []
    for module, (_, _, tree) in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
                if re.search(r"^\s*\w[\w, ]* : .*;  ?\w[\w, ]* : ", ast.get_docstring(node) or "", re.M):
                    packed.append(f"{module}.{node.name}")
    assert packed == [], f"{len(packed)} dataclasses pack their fields' documentation"


# ------------------------------------------------------------------------------------------------------------ lightness
def _loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(m for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("code", ["import dipir", "import dipir.cli.main as c\nc.build_parser()"])
def test_nothing_heavy_at_the_start(code):
    heavy = {"torch", "numpy", "mitsuba", "drjit", "diffusers", "transformers", "peft", "trimesh", "cv2", "scipy",
             "pandas", "jinja2"}
    assert _loaded_by(code) & heavy == set()


def test_doctor_never_loads_drjit():
    loaded = _loaded_by("from dipir.cli import doctor\ndoctor.examine()")
    assert "dipir.render.backend" in loaded and loaded & {"drjit", "mitsuba"} == set()


@pytest.mark.parametrize("code", [
    "import dipir\nfirst = dipir.insert\nimport dipir.insert.config\nassert first is dipir.insert and callable(first)",
    "import dipir.insert.method\nfrom dipir import insert\nassert callable(insert)"])
def test_insert_is_a_folder_and_a_verb(code):
    _loaded_by(code)
