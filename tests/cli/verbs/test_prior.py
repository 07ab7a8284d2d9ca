"""``dipir prior train KIND`` hands over to the trainer of that kind."""
from __future__ import annotations

import importlib.util
import sys
import types

import pytest

from dipir.cli import main as cli
from dipir.cli.verbs.prior import TRAINERS


def test_prior_passes_its_options_on(monkeypatch):
    seen = []
    trainer = types.SimpleNamespace(main=seen.append)
    monkeypatch.setitem(sys.modules, "dipir.workshop.light.train", trainer)
    assert cli.main(["prior", "train", "light", "--minutes", "3"]) == 0
    assert seen == [["--minutes", "3"]]


@pytest.mark.parametrize("kind", TRAINERS)
def test_every_kind_has_a_trainer(kind):
    trainer = importlib.import_module(f"dipir.workshop.{TRAINERS[kind]}.train")
    with pytest.raises(SystemExit) as left:
        trainer.main(["--help"])
    assert left.value.code == 0


def test_unknown_kind_of_prior(capsys):
    for words in (["--kind", "ligth"], ["ligth"]):
        assert cli.main(["prior", "train", *words]) == 2
        assert "Did you mean 'light'" in capsys.readouterr().err
