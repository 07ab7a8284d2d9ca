"""``dipir bench``: suites of jobs (``cli/suite.py``), and the benchmark tables of a source checkout."""
from __future__ import annotations

import argparse
import importlib
import sys

from dipir import disk
from dipir.cli import suite
from dipir.errors import MissingExtra


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("bench", help="run suites of jobs, and the benchmark tables",
                            description="run SUITE.yaml, status DIR, table DIR, compare A B: suites of jobs "
                                        "(docs/benchmarks.md). Any other NAME: a benchmark table of the source "
                                        "checkout, all of them without a name. `dipir bench run --help` and `dipir "
                                        "bench NAME --help` list their options.")
    p.add_argument("options", nargs=argparse.REMAINDER, metavar="NAME ...",
                   help="e.g. run lobes.yaml --workers 2, or insert --environments DIR --meshes DIR")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> int:
    """A suite, or the benchmark of that name, whose folder lies beside the package."""
    if args.options and args.options[0] in suite.VERBS:
        return suite.main(args.options)
    root = disk.checkout()
    if root is None:
        raise MissingExtra("benchmarks are in the source checkout only; this is an installed package. "
                           "Clone the repository and run `pip install -e .` there.")
    # In this process, so that relative paths mean what they mean where the user stands; ours goes before any other
    # folder of that name.
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.__main__").main(args.options)
