"""The command line: ``dipir insert|light|render|init|studio|relight|layout|illuminet|synth|prior|bench|doctor``.

This module imports nothing heavy, so that ``dipir --help`` is quick; each verb imports what it needs.

Exit codes: 0 done; 1 ``doctor`` found something wrong; 2 an error that the user can mend (text on stderr, no
traceback); 130 interrupted; 143 asked to stop (SIGTERM, after saving a checkpoint); 141 the reader of our output went
away.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

import dipir
from dipir import device
from dipir.cli import terminal
from dipir.cli.verbs import bench, doctor, init, insert, layout, light, prior, relight, render, rti, studio, synth
from dipir.errors import DipirError, nearest, printable

VERBS = (insert, light, render, init, studio, relight, layout, rti, synth, prior, bench, doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (argparse itself leaves by SystemExit 0 or 2)."""
    terminal.open_streams()
    args = build_parser().parse_args(argv)
    if getattr(args, "threads", None):
        # Both must be set before torch and Dr.Jit are loaded.
        os.environ["DIPIR_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)
    try:
        device.use_option(args)
        with _clears_up_when_stopped():
            return args.verb(args) or 0
    except DipirError as problem:
        return _fail(args, str(problem))
    except KeyboardInterrupt:
        resume = " The same command with --resume continues." if hasattr(args, "resume") else ""
        terminal.say(f"dipir: interrupted.{resume}")
        return 130
    except BrokenPipeError:
        # `dipir ... | head`: nobody reads any more. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        return _fail(args, "not enough memory. Use a smaller picture (--set), --preset fast, or close other programs.")
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        return _fail(args, f"{where}{problem.strerror or problem}. Check the path, its permissions and the free disk "
                           "space.")
    except UnicodeEncodeError as problem:
        return _fail(args, f"{problem.object[:200]!a} cannot be written in this system's encoding, {problem.encoding}. "
                           "Set the environment variable PYTHONUTF8=1, or rename the file.")
    except Exception as problem:
        text = device.memory_text(problem)
        if text is None:
            raise
        return _fail(args, f"{text} Use a smaller picture (--set), or --device cpu.")


@contextlib.contextmanager
def _clears_up_when_stopped() -> Iterator[None]:
    """Inside, SIGTERM ends the program as an exception does: what it had begun to write is taken away."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _fail(args: argparse.Namespace, text: str) -> int:
    # Names in files may hold anything, also what drives a terminal.
    text = printable(text, 20_000)
    if getattr(args, "log", "") == "json":
        print(json.dumps({"event": "error", "message": text}))
    terminal.say(f"dipir: error: {text}")
    return 2


class Parser(argparse.ArgumentParser):
    """Names the nearest valid option when one is misspelt; takes ``--direction -90,30`` for an option and its value."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        # What looks like a negative number is a value where no option does.
        self._negative_number_matcher = re.compile(r"-(\.?\d|(inf|nan|[xyzXYZ])$)")

    def error(self, message: str) -> None:
        if message.startswith("unrecognized arguments:"):
            options = {o: None for action in self._walk() for o in action.option_strings}
            words = (w for w in message.split(":", 1)[1].split() if w.startswith("--"))
            # An option of another command is spelt well.
            message += "".join(nearest(word, options) for word in (w.split("=")[0] for w in words)
                               if word not in options)
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            message += "." + nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        super().error(message)

    def _walk(self) -> list[argparse.Action]:
        found = list(self._actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [a for parser in action.choices.values() for a in parser._actions]
        return found


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = Parser(prog="dipir", description="Put virtual objects into photos, in the photo's own light.")
    parser.add_argument("--version", action="version", version=f"dipir {dipir.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for verb in VERBS:
        verb.add_parser(commands)
    return parser
