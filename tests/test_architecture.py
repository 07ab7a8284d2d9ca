"""The house plan as a test: imports point downwards, heavy packages stay in their folder (docs/architecture.md).

Every import counts, also those inside functions; only ``if TYPE_CHECKING:`` blocks are left out.
"""
import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dipir"
FLOORS = {"": 1, "nets": 1, "settings": 2, "image": 2, "fit": 2, "scene": 3, "diffusion": 3, "exchange": 4, "render": 4,
          "guidance": 4, "synth": 5, "methods": 6, "apps": 7, "__main__": 7}
# Root modules on the first floor; ``dipir`` itself only points lazily at the others.
ROOT = {"", "arrays", "device", "disk", "errors", "event"}
ONLY_IN = {"mitsuba": {"render"}, "drjit": {"render"}, "diffusers": {"diffusion"}, "peft": {"diffusion"},
           "transformers": {"diffusion"}, "trimesh": {"scene", "synth"}, "ray": {"apps"}}
MAX_FILE, MAX_FUNCTION = 350, 70


def place_of(module: str) -> str:
    """Folder (or root module) of ``dipir.x.y``: "fit", "config", or "" for the first floor's root modules."""
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
        elif isinstance(node, ast.Call) and _is_import_call(node):
            yield node.args[0].value, node.lineno


def _is_import_call(node: ast.Call) -> bool:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in ("import_module", "__import__") and bool(node.args) and isinstance(node.args[0], ast.Constant)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _walk(other)
            continue
        yield child
        yield from _walk(child)


def sources() -> list[tuple[str, Path]]:
    """(module name, file) of the whole package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["dipir", *path.relative_to(PACKAGE).with_suffix("").parts]
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def offences(module: str, source: str, is_package: bool = False) -> list[str]:
    """Every rule that ``source`` of ``module`` breaks."""
    found, here = [], place_of(module)
    for target, line in imports(ast.parse(source), module, is_package):
        where = f"{module}:{line} imports {target}"
        package = target.split(".")[0]
        if package in ONLY_IN and here not in ONLY_IN[package]:
            found.append(f"{where}: {package} belongs to {', '.join(sorted(ONLY_IN[package]))} only")
        if package != "dipir":
            continue
        there = place_of(target)
        # `from dipir import Scene` has no folder of its own; a name of the root counts as the root.
        there = there if there in FLOORS else ""
        if FLOORS[there] > FLOORS[here]:
            found.append(f"{where}: floor {FLOORS[here]} may not import floor {FLOORS[there]}")
        if {here, there} == {"render", "diffusion"}:
            found.append(f"{where}: render and diffusion never meet outside methods")
        if here == "fit" and there not in ("", "fit"):
            found.append(f"{where}: fit imports only root modules")
    return found


@pytest.mark.parametrize("module, path", sources(), ids=[module for module, _ in sources()])
def test_imports(module, path):
    assert place_of(module) in FLOORS, f"{module} stands on no floor; give it one in docs/architecture.md"
    assert offences(module, path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize("module, source, bad", [
    ("dipir.scene.camera", "from dipir.insert.method import x", True),
    ("dipir.scene.camera", "def f():\n    import dipir.render.renderer", True),
    ("dipir.scene.camera", "from dipir import render", True),
    ("dipir.scene.camera", "import importlib\nimportlib.import_module('dipir.cli.main')", True),
    ("dipir.scene.camera", "from ..methods import insert", True),
    ("dipir.scene.camera", "from . import plate\nfrom dipir.image.color import luminance\nimport dipir.errors", False),
    ("dipir.scene.camera", "if TYPE_CHECKING:\n    from dipir.apps import cli", False),
    ("dipir.render.bridge", "from dipir.diffusion.denoiser import Condition", True),
    ("dipir.diffusion.denoiser", "from dipir.render import renderer", True),
    ("dipir.diffusion.denoiser", "import mitsuba as mi", True), ("dipir.render.bridge", "import mitsuba as mi", False),
    ("dipir.insert.method", "def f():\n    from drjit.auto import Float", True),
    ("dipir.fit.loop", "from dipir.settings.read import merge", True),
    ("dipir.fit.loop", "from dipir.image import color", True),
    ("dipir.fit.loop", "from dipir.errors import FitError\nfrom dipir.fit import checkpoint", False),
    ("dipir.insert.method", "from diffusers import UNet2DModel", True),
    ("dipir.image.files", "import trimesh", True), ("dipir.workshop.things.shapes", "import trimesh", False)])
def test_the_test_sees_offences(module, source, bad):
    assert bool(offences(module, source)) == bad


def _loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(m for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("code", ["import dipir", "import dipir.cli.main as c\nc.build_parser()"])
def test_nothing_heavy_at_the_start(code):
    heavy = {"torch", "numpy", "mitsuba", "drjit", "diffusers", "transformers", "peft", "trimesh", "cv2", "scipy"}
    assert _loaded_by(code) & heavy == set()


def test_doctor_never_loads_drjit():
    loaded = _loaded_by("from dipir.apps import doctor\ndoctor.examine()")
    assert "dipir.render.backend" in loaded and loaded & {"drjit", "mitsuba"} == set()


def test_sizes_are_shown(record_property):
    """Aims, not a gate: prints what is longer than the plan wants (`pytest -s tests/test_architecture.py`)."""
    long = []
    for module, path in sources():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > MAX_FILE:
            long.append(f"{module}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                long += [f"{module}.{node.name}: {lines} lines"] if lines > MAX_FUNCTION else []
    record_property("long", long)
    print("\n".join(["longer than the plan wants:", *long] if long else ["all files and functions within the plan"]))
