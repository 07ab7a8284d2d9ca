"""Options that the verbs share: types, settings, the out folder."""
from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from dipir.cli import options
from dipir.errors import ConfigError, ImageError
from dipir.insert.config import InsertConfig
from dipir.settings import read


@pytest.mark.parametrize("kind, good, bad", [
    (options.positive, {"0.5": 0.5, "1e3": 1000.0}, ["0", "-1", "nan", "inf", "x", ""]),
    (options.natural, {"0": 0, "12": 12}, ["-1", "1.5", "x", ""]),
    (options.count, {"1": 1, "12": 12}, ["0", "-1", "1.5", "x", ""]),
    (options.pair(float, "X,Y"), {"1,2.5": (1.0, 2.5), "-1,2": (-1.0, 2.0)}, ["1", "1,2,3", "a,b", ""]),
    (options.pair(options.count, "W,H"), {"1,2": (1, 2)}, ["0,1", "1.5,3"])])
def test_types(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="is not"):
            kind(text)


@pytest.mark.parametrize("path", ["w", "a b/c: d", "12", "true", "[x", "bjørk", '"'])
def test_a_path_is_a_setting_whatever_it_looks_like(path):
    """As YAML some of these are numbers, lists or nothing at all."""
    args = argparse.Namespace(set=["seed=9"])
    words = options.overrides(args, {"prior": path, "seed": 3, "optimize": ["light"], "final.denoise": None})
    config = read.override(InsertConfig(), words)
    assert (config.prior, config.seed, config.optimize) == (path, 9, ("light",)), "--set has the last word"


def test_the_out_folder_goes_when_nothing_was_put_into_it(tmp_path):
    for name, left in (("empty", False), ("full", True)):
        with pytest.raises(KeyError), options.out_folder(tmp_path / name / "below") as folder:
            if left:
                (folder / "picture").write_text("x")
            raise KeyError
        assert (tmp_path / name).exists() == left
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyError), options.out_folder(tmp_path / "mine"):
        raise KeyError
    assert (tmp_path / "mine").exists(), "it was there before"


def test_remarks(capsys):
    options.say(["a", "b"], quiet=False)
    options.say(["c"], quiet=True)
    assert capsys.readouterr() == ("", "note: a\nnote: b\n")


def test_a_result_that_cannot_be_written_is_written_elsewhere(tmp_path, monkeypatch):
    """The work is not lost, and is said to lie there; where nothing can be written the first reason is given."""
    monkeypatch.setattr(options.tempfile, "tempdir", str(tmp_path / "temp"))
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "out").write_text("taken")
    with pytest.raises(ImageError, match=r"Not a directory.*was written to .*/temp/dipir-result-\w+ instead"):
        options.saved(lambda folder: (folder / "a").write_text("x"), tmp_path / "out")
    (made,) = (tmp_path / "temp").iterdir()
    assert (made / "a").read_text() == "x"

    def never(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ConfigError(f"nothing for {folder.name}")

    (tmp_path / "good").mkdir()
    with pytest.raises(ConfigError, match="nothing for good$"):
        options.saved(never, tmp_path / "good")
    assert list((tmp_path / "temp").iterdir()) == [made] and not list((tmp_path / "cache").iterdir())
