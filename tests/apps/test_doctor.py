"""Doctor: each wrong thing is found and comes with what to do."""
import json
from importlib import metadata

import pytest
import safetensors.numpy

from dipir.apps import cli, doctor
from dipir.render import backend


def _by_name(checks):
    return {c.name: c for c in checks}


@pytest.mark.parametrize("llvm, word", [(None, "apt-get install"), (backend.Llvm("/x/libLLVM-14.so", 14), "LLVM 14")])
def test_llvm_missing_or_old(monkeypatch, llvm, word):
    monkeypatch.setattr(backend, "find_llvm", lambda: llvm)
    monkeypatch.delenv("DIPIR_VARIANT", raising=False)
    monkeypatch.setattr(doctor, "_sees_gpu", lambda: False)
    (check,) = doctor._llvm()
    assert word in check.problem
    monkeypatch.setattr(doctor, "_sees_gpu", lambda: True)
    (check,) = doctor._llvm()
    assert check.problem is None, "a GPU needs no LLVM"


def test_llvm_new_enough(monkeypatch):
    monkeypatch.setattr(backend, "find_llvm", lambda: backend.Llvm("/x/libLLVM.so.19", 19))
    assert doctor._llvm() == [doctor.Check("LLVM", "19 (/x/libLLVM.so.19)")]


def test_packages_missing_and_of_the_wrong_version(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2.4", "mitsuba==3.9.1", "gone>=1",
                                                            'pytest>=8; extra == "dev"'])

    def version(name):
        if name == "gone":
            raise metadata.PackageNotFoundError(name)
        return {"dipir": "0.1.0", "torch": "2.5", "mitsuba": "3.5.0"}[name]
    monkeypatch.setattr(metadata, "version", version)
    checks = _by_name(doctor._packages())
    assert set(checks) == {"dipir", "torch", "mitsuba", "gone"}
    assert checks["torch"].problem is None and 'pip install "mitsuba==3.9.1"' in checks["mitsuba"].problem
    assert checks["gone"].value == "missing" and "pip install" in checks["gone"].problem


def test_prior_weights_missing_good_and_truncated(monkeypatch, tmp_path):
    import numpy as np

    monkeypatch.setattr(doctor, "_ROOT", tmp_path)
    assert "dipir prior train" in doctor._priors()[0].problem
    folder = tmp_path / "assets" / "priors"
    folder.mkdir(parents=True)
    safetensors.numpy.save_file({"w": np.zeros(1000, np.float32)}, folder / "good.safetensors")
    (folder / "short.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:2000])
    checks = _by_name(doctor._priors())
    assert checks["prior good"].problem is None and "1 tensors" in checks["prior good"].value
    assert "git checkout" in checks["prior short"].problem


def test_little_memory_and_disk(monkeypatch):
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: 2 * 2**30)
    assert "--preset fast" in doctor._memory()[0].problem
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: 8 * 2**30)
    assert doctor._memory()[0].problem is None
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: None)
    assert doctor._memory()[0].problem is None


def test_unknown_variant_and_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DIPIR_VARIANT", "scalar_rgb")
    assert "llvm_ad_rgb and cuda_ad_rgb" in _by_name(doctor._device())["mitsuba variant"].problem
    monkeypatch.setenv("DIPIR_DATA", str(tmp_path / "none"))
    assert doctor._data()[0].problem
    monkeypatch.setenv("DIPIR_DATA", str(tmp_path))
    assert doctor._data()[0].problem is None


@pytest.mark.parametrize("problem, code", [(None, 0), ("do this", 1)])
def test_exit_code_text_and_json(monkeypatch, capsys, problem, code):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Check("a", "1"), doctor.Check("b", "2", problem)])
    assert cli.main(["doctor"]) == code
    text = capsys.readouterr().out
    assert ("do this" in text) == bool(problem) and ("All is well" in text) == (problem is None)
    assert cli.main(["doctor", "--json"]) == code
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] == (problem is None) and data["checks"][1] == {"name": "b", "value": "2", "problem": problem}
