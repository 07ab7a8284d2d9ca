"""What the benchmarks share: commands without folders of a machine, timed processes, exit codes."""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import common
from dipir.errors import ConfigError


def test_commands_name_no_folder_of_this_machine():
    text = common.typed("dipir", "--root", f"{common.DATA}/hdri/a b", "--out", f"{tempfile.gettempdir()}/x",
                        "--log", f"{Path.home()}/y", "--scene", str(common.DEMO))
    assert text == "dipir --root '$DIPIR_DATA/hdri/a b' --out $TMPDIR/x --log ~/y --scene ./scenes/demo.yaml"


def test_a_process_is_timed_and_its_memory_measured():
    code = "b = bytearray(200 * 2**20); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep(0.3)"
    seconds, peak = common.timed_process([sys.executable, "-S", "-c", code])
    assert 0.3 <= seconds < 30 and peak > 200 / 1024  # Never less than this process had when it began the other.


def test_a_process_that_fails_ends_the_benchmark_with_its_words():
    with pytest.raises(SystemExit, match="(?s)ended with 3:.*no light"):
        common.timed_process([sys.executable, "-S", "-c", "import sys; print('no light'); sys.exit(3)"])


def test_numbers_have_five_digits_and_infinity_is_null():
    assert common.compact({"a": [1.23456789, float("inf")], "b": {"c": "x"}}) == (
        '{\n "a": [1.2346, null],\n "b": {"c": "x"}\n}\n')


def test_a_table_has_its_pipes_escaped():
    assert common.markdown([["a|b", "c"], ["1", ""]]).splitlines()[0] == "| a\\|b   | c   |"


def test_what_cannot_be_used_is_exit_code_2(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--x"])

    def main(arguments):
        raise ConfigError(f"{arguments[0]}: accepted is none.")

    with pytest.raises(SystemExit) as ended:
        common.as_command(main)
    assert ended.value.code == 2 and capsys.readouterr().err == "benchmarks: error: --x: accepted is none.\n"
