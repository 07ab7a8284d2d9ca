"""``dipir prior train KIND``: hands over to the trainer."""
from __future__ import annotations

import argparse
import importlib

from dipir.errors import ConfigError, nearest

# Kind of prior -> folder of the workshop whose train.py has a main(arguments).
TRAINERS = {"light": "light", "insert": "insertion", "relight": "relight", "illuminet": "rti",
            "relighting": "relighting", "colour": "colour", "layout": "layout"}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("prior", help="train the embedded priors",
                            description="dipir prior train KIND, or --kind KIND. Options after it are those of its "
                                        f"trainer (--help lists them). Kinds: {', '.join(TRAINERS)}.")
    p.add_argument("action", choices=("train",))
    p.add_argument("options", nargs=argparse.REMAINDER, metavar="KIND ...", help="e.g. relight --minutes 40")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Train one kind. Raises ConfigError for an unknown one."""
    kind, *options = args.options[1:] if args.options[:1] == ["--kind"] else args.options or [""]
    if kind not in TRAINERS:
        raise ConfigError(f"prior train '{kind}': accepted kinds are {', '.join(TRAINERS)}.{nearest(kind, TRAINERS)}")
    importlib.import_module(f"dipir.workshop.{TRAINERS[kind]}.train").main(options)
