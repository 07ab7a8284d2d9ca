"""Events -> progress bar, JSON lines, preview picture.

``--log json`` writes one JSON object a line to stdout (text for people goes to stderr):

* ``{"event": "device", "torch", "renderer", "asked", "why"}`` at first: what each half computes on, what was asked for,
  and why a half is on the CPU (null when both are on the GPU)
* ``{"event": "warning", "message"}`` and ``{"event": "note", "message"}``: remarks about the inputs, each once, before
  work; a warning says what changes the picture
* ``{"event": "progress", "stage", "step", "steps", "seconds_left", "scalars", "preview"}``; ``seconds_left`` and
  ``preview`` (path of the newest preview picture) may be null; a number that is not finite is null; where something
  was decided ``note`` says what
* ``{"event": "done", "out": DIR}`` at the end;  ``{"event": "error", "message": TEXT}`` (by cli.py) before exit code 2
"""
from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TextIO

from dipir.cli import terminal
from dipir.device import Device
from dipir.errors import SceneError, plain, printable
from dipir.event import Event, is_warning, warnings_in
from dipir.fit.board import Board

_PREVIEW_SECONDS = 2.0


class Progress:
    """An ``on_event`` for people or programs; a context manager that clears up after itself.

    out : folder for ``preview.png``, or None = no previews (it is removed when the block ends)
    board : folder for TensorBoard too, or None
    log : "text" or "json";  quiet : say nothing;  stream : for JSON, stdout by default;  terminal : for the bar, stderr
    strict : warnings about the inputs are errors
    """

    def __init__(self, out: Path | None = None, *, log: str = "text", quiet: bool = False,
                 stream: TextIO | None = None, terminal: TextIO | None = None, board: Path | None = None,
                 strict: bool = False) -> None:
        self._preview = None if out is None else Path(out) / "preview.png"
        self._json, self._quiet = log == "json", quiet
        self._stream, self._given = stream or sys.stdout, terminal
        self._bar = not quiet and not self._json and self._terminal.isatty()
        self._shown, self._written = False, -math.inf
        self._strict, self._said = strict, set()
        self._board = None if board is None else Board(board)

    @property
    def _terminal(self) -> TextIO:
        # stderr is another one once its reader went away.
        return self._given or sys.stderr

    def __call__(self, event: Event) -> None:
        if event.remarks:
            self.remarks(event.remarks)
        if not event.steps and not event.note:
            return
        self._save_preview(event)
        if self._board is not None:
            self._board(event)
        if self._json:
            self._line({"event": "progress", "stage": event.stage, "step": event.step, "steps": event.steps,
                        "seconds_left": _finite(event.seconds_left), "preview": self._shown_path(),
                        "scalars": {name: _finite(value) for name, value in event.scalars.items()},
                        **({"note": event.note} if event.note else {})})
        elif self._bar:
            self._draw(event)
        elif not self._quiet and event.step >= event.steps:
            # Log files and farms: one line for each finished stage.
            terminal.say(f"{event.stage}: {event.step} of {event.steps}", self._terminal)
        if event.note and not self._json and not self._quiet:
            self._clear()
            terminal.say(event.note, self._terminal)

    def remarks(self, notes: Iterable[str]) -> None:
        """Say remarks about the inputs, each once. SceneError with all warnings among them where they are errors."""
        notes = [note for note in dict.fromkeys(notes) if note not in self._said]
        if self._strict:
            refuse_warnings(notes)
        self._said |= set(notes)
        for note in notes:
            if self._json:
                self._line({"event": "warning" if is_warning(note) else "note", "message": str(note)})
            if not self._quiet:
                self._clear()
                terminal.say(remark_line(note), self._terminal)

    def device(self, chosen: Device) -> None:
        """Say once where the run computes, and why not on a GPU."""
        if self._json:
            self._line({"event": "device", "torch": chosen.kind, "renderer": chosen.variant, "asked": chosen.asked,
                        "why": chosen.why})
        elif not self._quiet:
            terminal.say(f"device: {chosen.describe()}", self._terminal)

    def done(self, out: Path) -> None:
        """Say where the result is: the picture's path on stdout (text) or the folder (json)."""
        self._clear()
        if self._json:
            self._line({"event": "done", "out": str(out)})
        elif not self._quiet:
            pictures = [out / name for name in ("composite.png", "relit.png", "image.png") if (out / name).exists()]
            terminal.say(pictures[0] if pictures else out, self._stream)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._clear()
        if self._board is not None:
            self._board.close()
        if self._preview is not None and self._written > -math.inf:
            self._preview.unlink(missing_ok=True)

    def _line(self, data: dict) -> None:
        terminal.say(json.dumps(data, allow_nan=False), self._stream)

    def _save_preview(self, event: Event) -> None:
        if self._preview is None or not event.images or time.monotonic() - self._written < _PREVIEW_SECONDS:
            return
        from dipir.image.files import write_png

        image = event.images.get("composite", next(iter(event.images.values())))
        write_png(self._preview, image)
        self._written = time.monotonic()

    def _shown_path(self) -> str | None:
        return str(self._preview) if self._written > -math.inf else None

    def _draw(self, event: Event) -> None:
        """``fit  [#####.....]  120/200  1:05 left  loss 0.123  out/preview.png``, cut to the terminal's width."""
        columns = shutil.get_terminal_size((80, 24)).columns
        share = event.step / max(event.steps, 1)
        filled = round(20 * min(max(share, 0.0), 1.0))
        text = f"{event.stage}  [{'#' * filled}{'.' * (20 - filled)}]  {event.step}/{event.steps}"
        if event.seconds_left is not None and math.isfinite(event.seconds_left):
            text += f"  {clock(event.seconds_left)} left"
        if "loss" in event.scalars:
            text += f"  loss {event.scalars['loss']:.4g}"
        if self._shown_path():
            text += f"  {self._shown_path()}"
        terminal.write("\r\x1b[K" + plain(text)[:columns - 1], self._terminal)
        if event.step >= event.steps:
            terminal.write("\n", self._terminal)
        self._shown = event.step < event.steps

    def _clear(self) -> None:
        if self._shown:
            terminal.write("\r\x1b[K", self._terminal)
            self._shown = False


def remark_line(note: str) -> str:
    """``note: ...`` or ``warning: ...``, one line without control characters."""
    return f"{'warning' if is_warning(note) else 'note'}: {' '.join(printable(note).splitlines())}"


def refuse_warnings(notes: Iterable[str]) -> None:
    """SceneError that lists the warnings among remarks; nothing when there is none."""
    found = warnings_in(notes)
    if found:
        head = f"--strict: {len(found)} warning{'s' if len(found) > 1 else ''}"
        raise SceneError("\n  - ".join([f"{head}; mend the input, or leave --strict out:", *found]))


def clock(seconds: float) -> str:
    """Seconds as ``0:07``, ``12:34`` or ``1:02:03``."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
