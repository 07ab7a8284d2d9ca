"""Tensors come into being on a stated device: read off the syntax tree, so that it is checked without a GPU.

In what runs inside a loop, a call that makes a tensor from nothing or from the host names its device (``device=``), is
followed by ``.to(...)``, or is of the ``*_like`` / ``new_*`` kind. Random numbers are drawn on the CPU from a generator
and then moved (``dipir.device.randn``), so that a seed means the same everywhere.
"""
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dipir"
LOOPS = ("image", "fit", "diffusion", "guidance", "render", "priors", "insert", "relight", "layout", "rti")
ALSO = ("scene/light.py", "scene/framing.py", "workshop/worlds/tracer.py", "workshop/worlds/described.py",
        "workshop/worlds/plate_filter.py")

CPU_CODE = {
    "image/files.py": "reads and writes files",
    "image/cutout.py": "reads and writes files",
    "insert/page.py": "a report",
    "layout/pictures.py": "a report's figures",
    "rti/page.py": "a report",
}
"""Files that are code for the CPU by design, and why."""

RANDOM = {"rand", "randn", "randint", "randperm", "normal"}
MAKERS = RANDOM | {"zeros", "ones", "full", "empty", "arange", "range", "linspace", "logspace", "eye", "tensor",
                   "as_tensor", "asarray", "from_numpy", "from_dlpack", "frombuffer", "scalar_tensor", "empty_strided",
                   "hann_window", "hamming_window", "tril_indices", "triu_indices", "Tensor", "FloatTensor",
                   "LongTensor"}
DRAWN_THERE = {"rand_like", "randn_like", "randint_like", "normal_", "uniform_", "bernoulli_", "exponential_"}
WITHOUT_DEVICE = {"from_numpy", "from_dlpack", "frombuffer", "Tensor", "FloatTensor", "LongTensor"}
# A network is made on the CPU and moved as a whole: its own numbers, and the first values that nn.init gives it.
OWNED = {"Parameter", "register_buffer", "register_parameter"}


def offences(source: str) -> list[str]:
    """What is wrong with a module, each with its line."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    bare = {alias.asname or alias.name: alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            and node.module == "torch" for alias in node.names}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _torch_name(node.func, bare)
        method = getattr(node.func, "attr", name)
        if method in DRAWN_THERE and not _on_init(node.func):
            found.append(f"line {node.lineno}: {method} draws on the device, where a seed means something else; "
                         "draw by dipir.device.randn or rand")
        elif name in MAKERS and not _owned(node, parents):
            found += _wrong(name, node, parents)
    return found


def _wrong(name: str, call: ast.Call, parents: dict) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in RANDOM:
        place = given.get("device")
        if not (isinstance(place, ast.Constant) and place.value == "cpu" and "generator" in given):
            yield (f"line {call.lineno}: torch.{name} must be drawn from a generator= with device=\"cpu\" and moved; "
                   "use dipir.device.randn or rand")
    elif ("device" not in given or name in WITHOUT_DEVICE) and not _moved(call, parents):
        yield f"line {call.lineno}: torch.{name} without device= and not moved by .to(...)"


def _torch_name(function: ast.expr, bare: dict[str, str]) -> str:
    """``zeros`` for torch.zeros and for a zeros that was imported from torch, else ""."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "torch":
        return function.attr
    return bare.get(function.id, "") if isinstance(function, ast.Name) else ""


def _moved(node: ast.AST, parents: dict) -> bool:
    """Whether .to(...) follows, maybe after other methods or an index: torch.from_numpy(x).float()[None].to(where)."""
    while True:
        above = parents.get(node)
        if isinstance(above, ast.Attribute) and isinstance(parents.get(above), ast.Call) \
                and parents[above].func is above:
            if above.attr in ("to", "cuda"):
                return True
            node = parents[above]
        elif isinstance(above, ast.Subscript) and above.value is node:
            node = above
        else:
            return False


def _owned(node: ast.AST, parents: dict) -> bool:
    while node in parents and not isinstance(node, ast.stmt):
        node = parents[node]
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in OWNED:
            return True
    return False


def _on_init(function: ast.expr) -> bool:
    """nn.init.normal_ and torch.nn.init.normal_."""
    value = getattr(function, "value", None)
    return getattr(value, "attr", getattr(value, "id", "")) == "init"


def looked_at() -> list[str]:
    """Paths below dipir/."""
    every = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
    return [p for p in every if (p.split("/")[0] in LOOPS or p in ALSO)]


@pytest.mark.parametrize("path", [p for p in looked_at() if p not in CPU_CODE])
def test_tensors_are_made_on_a_stated_device(path):
    assert offences((PACKAGE / path).read_text(encoding="utf-8")) == []


def test_exceptions_are_files_that_there_are():
    assert set(CPU_CODE) <= set(looked_at())
    assert len(looked_at()) > 80, "the packages are not found"


@pytest.mark.parametrize("source, count", [
    ("torch.zeros(3)", 1), ("torch.zeros(3, device=x.device)", 0), ("torch.zeros(3).to(x)", 0),
    ("torch.zeros_like(x)", 0), ("x.new_zeros(3)", 0), ("x.new_tensor([1.0])", 0),
    ("torch.tensor([1.0]) * x", 1), ("torch.arange(3)[None].float().to(x)", 0), ("(torch.arange(3) + 1).to(x)", 1),
    ("torch.linspace(0, 1, 5, dtype=torch.float64)", 1), ("torch.as_tensor(x, dtype=torch.long)", 1),
    ("torch.from_numpy(a)", 1), ("torch.from_numpy(a).to(where)", 0), ("torch.from_numpy(a).float()", 1),
    ("torch.from_numpy(a.astype('f4')).permute(2, 0, 1)[None].to(where)", 0), ("torch.Tensor([1])", 1),
    ("f(torch.eye(3), device=x.device)", 1), ("from torch import zeros\nzeros(3)", 1),
    ("from torch import zeros as z\nz(3)", 1), ("np.zeros(3)", 0), ("zeros(3)", 0), ("torch.zeros", 0),
    ("torch.randn(3, generator=g).to(x)", 1), ("torch.randn(3, generator=g, device='cpu').to(x)", 0),
    ("torch.randn(3, generator=g, device=x.device)", 1), ("torch.rand(3, device='cpu')", 1),
    ("torch.randperm(9, generator=g)", 1), ("torch.randn_like(x)", 1), ("x.normal_()", 1),
    ("nn.init.normal_(w)", 0), ("torch.nn.init.uniform_(w)", 0), ("device.randn((3,), g, x.device)", 0),
    ("nn.Parameter(torch.randn(3) * 0.1)", 0), ("self.register_buffer('b', torch.ones(3))", 0),
    ("def f():\n    return [torch.ones(1) for _ in range(3)]", 1), ("lambda: torch.empty(0)", 1)])
def test_the_test_sees_offences(source, count):
    assert len(offences(source)) == count, offences(source)


# ------------------------------------------------------------------------------------------------- the only crossing
def crossings(source: str) -> list[int]:
    """Lines with a call of a method ``torch()``, which Dr.Jit's arrays have."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute) and node.func.attr == "torch"]


def test_only_the_bridge_crosses():
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if crossings(path.read_text(encoding="utf-8"))}
    assert found == {"render/bridge.py"}


def test_crossings_are_seen():
    assert crossings("x = array.torch()\ny = dr.ravel(v).torch().reshape(-1)") == [1, 2]
    assert crossings("device.current().torch\nimport torch\ntorch.zeros(3)") == []
