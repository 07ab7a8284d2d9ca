"""``dipir studio``: insertion by hand, in a browser."""
from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import webbrowser
from pathlib import Path

from dipir import device
from dipir.cli import terminal
from dipir.cli.options import natural
from dipir.errors import ConfigError

_NEEDED = ("starlette", "uvicorn", "websockets")
_EXAMPLES = """\
examples:
  dipir studio
  dipir studio photo.jpg chair.glb
  dipir studio --result out
  dipir studio --session 20260301-101500-1f3a --port 9000 --no-browser
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("studio", help="place, light and render by hand, in a browser", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Open a page in the browser: place objects in a photo, drag the sun, render. "
                                        "Served by this machine to this machine; docs/studio.md.")
    p.add_argument("plate", nargs="?", type=Path, metavar="PLATE", help="a photo (begins another session)")
    p.add_argument("assets", nargs="*", type=Path, metavar="ASSET", help="meshes (GLB, glTF, OBJ, PLY, STL)")
    p.add_argument("--result", type=Path, metavar="DIR", help="an earlier result, or a folder of them, to choose from")
    p.add_argument("--port", type=natural, default=8765, metavar="N", help="0: any; taken ones are passed over")
    p.add_argument("--host", default="127.0.0.1", metavar="H", help="what to listen on; other than this machine's own "
                   "address opens the studio to others")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--session", metavar="ID", help="go on with this session (without it: the newest)")
    which.add_argument("--new", action="store_true", help="begin another session")
    p.add_argument("--no-browser", action="store_true", help="print the address only")
    device.add_option(p)
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl+C."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"dipir studio needs {', '.join(missing)}, which are not installed; install them by: pip "
                          "install 'dipir[studio]'")
    for path in filter(None, (args.plate, *args.assets)):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; accepted are a photo, then meshes.")
    from dipir.studio import folders
    from dipir.studio.opening import results_in
    from dipir.studio.server import Start, serve

    results = results_in(args.result)
    folder, lock = _session(args, folders)
    start = Start(folder, args.plate, tuple(args.assets), results, args.host, args.port)
    try:
        serve(start, _say, lambda address: _opened(address, args.no_browser))
    except KeyboardInterrupt:
        pass
    finally:
        lock.release()
        kept = (folder / folders.SAVED).exists()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    if kept:
        _say(f"the session is kept; go on with: dipir studio --session {folder.name}")
    return 0


def _session(args: argparse.Namespace, folders) -> tuple[Path, object]:
    """(folder, its lock) of the session that is meant: another one for a photo, else the newest that is free."""
    if args.session is not None:
        if args.plate is not None:
            raise ConfigError("--session and a photo were both given; a photo begins another session. Give one of "
                              "them.")
        folder = folders.named(args.session)
        lock = folders.Lock(folder)
        if not lock.taken():
            raise ConfigError(f"--session {args.session}: it is open in another program; close that one first.")
        return folder, lock
    for folder in [] if args.new or args.plate else folders.sessions()[:1]:
        lock = folders.Lock(folder)
        if lock.taken():
            _say(f"going on with session {folder.name}; --new begins another one")
            return folder, lock
        lock.release()
        _say(f"session {folder.name} is open in another program; another one is begun")
    folder = folders.new()
    lock = folders.Lock(folder)
    lock.taken()
    return folder, lock


def _opened(address: str, quiet: bool) -> None:
    terminal.say(address, sys.stdout)
    shown = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if shown and not quiet:
        webbrowser.open(address)


def _say(text: str) -> None:
    terminal.say(f"note: {text}")
