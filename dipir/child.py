"""Processes of our own: Python that runs a module of this package, and nothing that lies in the current folder."""
from __future__ import annotations

import sys
from pathlib import Path

RUN = "import runpy\nrunpy.run_module('{module}', run_name='__main__', alter_sys=True)\n"
ROOT = str(Path(__file__).resolve().parents[1])


def program(module: str, first: str = "") -> str:
    """Python code for ``python -c``: as ``python -m module``, with the folder of this package in the place of the
    current one, where a ``yaml.py`` or ``ctypes.py`` would be imported instead of the real one (Python's own option for
    that, -P, is younger than the oldest Python that we run on). ``first`` : statements to run before it, ``sys`` is
    imported."""
    return (f"import sys\nsys.path[:] = [{ROOT!r}] + [place for place in sys.path if place]\n{first}"
            + RUN.format(module=module))


def command(module: str, *words: str, first: str = "") -> list[str]:
    """The whole command line, with ``words`` for the module; ``first`` as of :func:`program`."""
    return [sys.executable, "-c", program(module, first), *words]
