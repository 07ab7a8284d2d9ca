"""Doctor: each wrong thing is found and comes with what to do."""
import json
from importlib import metadata

import pytest
import safetensors.numpy

from dipir import device
from dipir.cli import doctor, selftest
from dipir.cli import main as cli
from dipir.render import backend


def _by_name(checks):
    return {c.name: c for c in checks}


@pytest.mark.parametrize("llvm, word", [(None, "apt-get install"), (backend.Llvm("/x/libLLVM-14.so", 14), "LLVM 14")])
def test_llvm_missing_or_old(monkeypatch, llvm, word):
    monkeypatch.setattr(backend, "find_llvm", lambda: llvm)
    monkeypatch.delenv("DIPIR_VARIANT", raising=False)
    monkeypatch.setattr(doctor, "_renders_on_gpu", lambda: False)
    (check,) = doctor._llvm()
    assert word in check.problem
    monkeypatch.setattr(doctor, "_renders_on_gpu", lambda: True)
    (check,) = doctor._llvm()
    assert check.problem is None, "a renderer on the GPU needs no LLVM"


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

    monkeypatch.setattr(doctor.disk, "shipped", lambda name: tmp_path / name)
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


# ------------------------------------------------------------------------------------------------------------- device
@pytest.fixture
def gpu_machine(monkeypatch):
    """A pretended card of which torch and the driver tell."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (30 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(doctor, "_driver", lambda: "580.65.06")
    monkeypatch.setattr(device, "_has_driver", lambda: True)
    monkeypatch.delenv("DIPIR_VARIANT", raising=False)
    monkeypatch.delenv("DIPIR_DEVICE", raising=False)


@pytest.mark.parametrize("optix, asked, computes, variant", [
    (None, "auto", "cuda", device.CUDA), ("OptiX is missing", "cuda", "cuda, renderer on the CPU", device.LLVM),
    ("OptiX is missing", "auto", "cpu", device.LLVM)])
def test_both_halves_of_a_gpu(gpu_machine, monkeypatch, optix, asked, computes, variant):
    monkeypatch.setenv("DIPIR_DEVICE", asked)
    monkeypatch.setattr(device, "why_not_optix", lambda: optix)
    checks = _by_name(doctor._device())
    assert checks["device"].value == "NVIDIA Test, 30.0 of 80.0 GiB free; 1 more (choose with --device cuda:N)"
    assert checks["torch build"].value.endswith("CUDA 13.0") and checks["NVIDIA driver"].value == "580.65.06"
    assert checks["OptiX"].value == (optix or "found") and checks["mitsuba variant"].value == variant
    assert checks["computes on"].value.startswith(computes) and not any(c.problem for c in checks.values())


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setenv("DIPIR_DEVICE", "cuda")
    monkeypatch.setattr(device, "_has_driver", lambda: False)
    assert "--device cpu" in _by_name(doctor._device())["mitsuba variant"].problem
    assert doctor._tried() == [], "what has no device is not tried; it is reported once"


def test_llvm_is_needed_where_the_renderer_stays_on_the_cpu(gpu_machine, monkeypatch):
    monkeypatch.setattr(backend, "find_llvm", lambda: None)
    monkeypatch.setenv("DIPIR_DEVICE", "cuda")
    for optix, needed in (("OptiX is missing", True), (None, False)):
        monkeypatch.setattr(device, "why_not_optix", lambda optix=optix: optix)
        assert bool(doctor._llvm()[0].problem) == needed


def test_failures_are_problems_of_the_report(monkeypatch, capsys):
    quiet = {name: list for name in ("_packages", "_priors", "_data", "_memory", "_disk")}
    for name, make in quiet.items():
        monkeypatch.setattr(doctor, name, make)
    monkeypatch.setattr(selftest, "tried", lambda name: selftest.Tried("killed by SIGABRT", None, False))
    monkeypatch.setenv("DIPIR_DEVICE", "cpu")
    assert cli.main(["doctor", "--json"]) == 1
    wrong = [c for c in json.loads(capsys.readouterr().out)["checks"] if c["problem"]]
    assert [c["name"] for c in wrong] == ["renderer self-test", "network self-test"]
