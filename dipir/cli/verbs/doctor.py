"""``dipir doctor``: see ``cli/doctor.py``, which does the work."""
from __future__ import annotations

import argparse

from dipir import device


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("doctor", help="say what is installed, what is wrong and what to do about it")
    p.add_argument("--json", action="store_true", help="machine-readable")
    device.add_option(p)
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> int:
    """0 when all is well, 1 when something is wrong."""
    from dipir.cli.doctor import report

    return report(args.json)
