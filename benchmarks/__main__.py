"""``python -m benchmarks [NAME ...]`` runs the named benchmarks, all of them without a name, and writes the committed
tables; ``python -m benchmarks NAME --option ...`` hands options to one of them. Exit code 2 for what cannot be used."""
from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import as_command
from dipir.errors import nearest

NAMES = ("insert", "spheres", "speed", "plates", "composites", "environments", "relight", "rti", "layout",
         "suites", "co3d", "questions", "studio")


def main(arguments: Sequence[str]) -> int:
    """Run in the order given; the largest exit code. Raises the DipirError of a benchmark."""
    count = next((i for i, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    names, options = list(arguments[:count]), list(arguments[count:])
    unknown = [a for a in names if a not in NAMES]
    if unknown or (options and len(names) != 1):
        problem = (f"unknown {', '.join(unknown)}; there are {', '.join(NAMES)}.{nearest(unknown[0], NAMES)}" if unknown
                   else f"options need one name before them; there are {', '.join(NAMES)}")
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 2
    codes = [0]
    for name in names or NAMES:
        folder = (Path(__file__).parent / name / "__main__.py").is_file()
        module = importlib.import_module(f"benchmarks.{name}{'.__main__' if folder else ''}")
        # Without a name the tables are remade: a benchmark may have more in its table than it does by default.
        codes.append(module.main(options if names else list(getattr(module, "COMMITTED", ()))) or 0)
    return max(codes)


if __name__ == "__main__":
    as_command(main)
