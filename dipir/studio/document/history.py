"""Undo and redo, as values; and their file."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dipir import disk
from dipir.errors import ConfigError
from dipir.settings import read
from dipir.settings.yaml import to_dict
from dipir.studio.document.state import Document

LONGEST = 100
"""Steps that can be undone."""
FORMAT = 1


@dataclass(frozen=True)
class History:
    """A document, what it was before and what it would be again."""

    present: Document = Document()
    past: tuple[Document, ...] = ()
    future: tuple[Document, ...] = ()
    """Nearest first."""
    begun: Document | None = None
    """What it was before the drag that goes on; None = none does."""

    def done(self, document: Document) -> History:
        """A finished change: one step of undo, back to before the drag that led to it. None where nothing changed."""
        before = self.begun or self.present
        if document == before:
            return replace(self, present=document, begun=None)
        return History(document, (*self.past, before)[-LONGEST:])

    def dragged(self, document: Document) -> History:
        """A change that goes on: shown, but no step of undo."""
        return replace(self, present=document, begun=self.begun or self.present)

    def amended(self, document: Document) -> History:
        """Changed without a step of undo: what was selected, what was found out meanwhile."""
        return replace(self, present=document)

    def undone(self) -> History:
        """One step back; a drag that goes on is given up. ConfigError when there is none."""
        if self.begun is not None:
            return replace(self, present=self.begun, begun=None)
        if not self.past:
            raise ConfigError("there is nothing to undo.")
        return History(_still_selected(self.past[-1], self.present), self.past[:-1], (self.present, *self.future))

    def redone(self) -> History:
        """One step forward. ConfigError when there is none."""
        if self.begun is not None or not self.future:
            raise ConfigError("there is nothing to redo.")
        return History(_still_selected(self.future[0], self.present), (*self.past, self.present), self.future[1:])


def _still_selected(document: Document, seen: Document) -> Document:
    """What is selected stays selected where it is there."""
    there = seen.selected is None or any(item.id == seen.selected for item in document.objects)
    return replace(document, selected=seen.selected) if there else document


# ---- its file --------------------------------------------------------------------------------------------------------

def write(path: Path, history: History, more: Mapping[str, Any]) -> None:
    """Whole or not at all. A drag that goes on is left out."""
    present = history.begun or history.present
    data = {"format": FORMAT, "present": to_dict(present), "past": [to_dict(d) for d in history.past],
            "future": [to_dict(d) for d in history.future], **more}
    disk.write_text(path, json.dumps(data, allow_nan=False), ConfigError)


def load(path: Path) -> tuple[History, dict[str, Any]]:
    """(the history, what else was written). ConfigError that names the file when it is damaged or of another
    version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise ValueError("it is of another version")
        present, past, future = data.pop("present"), data.pop("past"), data.pop("future")
        made = [read.from_dict(Document, document, str(path)) for document in (present, *past, *future)]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, ConfigError) as problem:
        why = " ".join(str(problem).split())[:300]
        raise ConfigError(f"{path}: this session cannot be read ({why}). Begin another one with "
                          "`dipir studio --new`.") from problem
    count = 1 + len(past)
    return History(made[0], tuple(made[1:count]), tuple(made[count:])), data
