"""``python -m benchmarks [NAME ...]``: run the named benchmarks, all of them without a name."""
from __future__ import annotations

import importlib
import sys

NAMES = ("insert_val", "speed", "plates")


def main(arguments: list[str]) -> int:
    """Run in the order given; exit code 2 for an unknown name."""
    unknown = [a for a in arguments if a not in NAMES]
    if unknown:
        print(f"benchmarks: unknown {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in arguments or NAMES:
        importlib.import_module(f"benchmarks.{name}").main([])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
