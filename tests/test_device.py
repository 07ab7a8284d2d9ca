"""One decision a process, faked drivers: what is accepted, what is chosen and why, what is moved and what stays."""
from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch

from dipir import device
from dipir.errors import ConfigError, DeviceMemoryError
from tests.support.far import KIND, far_device

NAMES = ("DIPIR_DEVICE", "DIPIR_VARIANT", "DIPIR_GPU", "CUDA_VISIBLE_DEVICES")


@pytest.fixture
def fresh(monkeypatch):
    """A process that has decided nothing; sets what the two probes say."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # So that monkeypatch puts back what the code under test writes.
        monkeypatch.delenv(name)
    device.current.cache_clear()

    def probes(no_torch=None, no_optix=None):
        monkeypatch.setattr(device, "why_not_torch", lambda: no_torch)
        monkeypatch.setattr(device, "why_not_optix", lambda: no_optix)

    probes()
    yield probes
    device.current.cache_clear()


# -------------------------------------------------------------------------------------------------------- choosing
@pytest.mark.parametrize("asked, no_torch, no_optix, kind, variant", [
    ("auto", None, None, "cuda", device.CUDA), ("auto", "no driver", None, "cpu", device.LLVM),
    ("auto", None, "no OptiX", "cpu", device.LLVM), ("cuda", None, "no OptiX", "cuda", device.LLVM),
    ("cuda", None, None, "cuda", device.CUDA), ("cpu", None, None, "cpu", device.LLVM),
    ("cuda:0", None, None, "cuda", device.CUDA)])
def test_decision(fresh, monkeypatch, asked, no_torch, no_optix, kind, variant):
    fresh(no_torch, no_optix)
    monkeypatch.setenv("DIPIR_DEVICE", asked)
    chosen = device.decide()
    assert (chosen.kind, chosen.variant, chosen.asked, chosen.gpu) == (kind, variant, asked, kind == "cuda")
    assert chosen.torch == torch.device(kind)


def test_auto_says_why_it_fell_back(fresh):
    fresh("no driver here", None)
    assert device.decide().describe() == "cpu (no driver here)"
    fresh(None, "no OptiX here")
    said = device.decide().describe()
    assert said.startswith("cpu (no OptiX here") and "--device cuda" in said


def test_halves_are_described(fresh):
    assert device.Device("cuda", device.CUDA, "auto").describe() == "cuda"
    assert "renderer on the CPU (no OptiX)" in device.Device("cuda", device.LLVM, "cuda", "no OptiX").describe()
    assert device.Device("cpu", device.LLVM, "cpu").record() == {
        "torch": "cpu", "renderer": "llvm_ad_rgb", "asked": "cpu"}


def test_gpu_asked_for_and_not_there(fresh, monkeypatch):
    fresh("no driver here", None)
    monkeypatch.setenv("DIPIR_DEVICE", "cuda")
    with pytest.raises(ConfigError, match=r"device cuda.*no driver here.*--device cpu"):
        device.decide()


def test_variant_overrides_the_renderer(fresh, monkeypatch):
    monkeypatch.setenv("DIPIR_VARIANT", device.LLVM)
    assert (device.decide().kind, device.decide().variant) == ("cuda", device.LLVM)
    fresh(None, "no OptiX")
    assert (device.decide().kind, device.decide().variant) == ("cuda", device.LLVM)
    monkeypatch.setenv("DIPIR_VARIANT", "scalar_rgb")
    with pytest.raises(ConfigError, match=r"DIPIR_VARIANT=scalar_rgb: accepted are llvm_ad_rgb and cuda_ad_rgb"):
        device.decide()


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda 1", "mps", ""])
def test_what_is_not_accepted(fresh, text):
    with pytest.raises(ConfigError, match=r"--device .*accepted are auto, cpu, cuda or cuda:N"):
        device.request(text)
    assert "DIPIR_DEVICE" not in os.environ


def test_environment_is_checked_too(fresh, monkeypatch):
    monkeypatch.setenv("DIPIR_DEVICE", "tpu")
    with pytest.raises(ConfigError, match="DIPIR_DEVICE tpu"):
        device.decide()


def test_request_is_what_current_decides(fresh):
    device.request(" CPU ")
    assert os.environ["DIPIR_DEVICE"] == "cpu" and device.current() == device.Device("cpu", device.LLVM, "cpu",
                                                                                    "as asked")
    assert device.current() is device.current()
    device.request("cpu")  # The same again is fine.
    with pytest.raises(ConfigError, match="--device cuda: this process computes on cpu .*another process"):
        device.request("cuda")


@pytest.mark.parametrize("visible, number, left", [("", 2, "2"), ("4,6,7", 1, "6"), (" 4 , 6 ", 0, " 4 "),
                                                   ("GPU-1a2b,GPU-3c4d", 1, "GPU-3c4d")])
def test_a_number_leaves_one_gpu(fresh, monkeypatch, visible, number, left):
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device.request(f"cuda:{number}")
    assert os.environ["CUDA_VISIBLE_DEVICES"].strip() == left.strip()
    # A child process is told the same number and sees one GPU only: not narrowed again.
    device.decide()
    assert os.environ["CUDA_VISIBLE_DEVICES"].strip() == left.strip() and os.environ["DIPIR_GPU"] == str(number)


def test_a_number_beyond_the_visible(fresh, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    with pytest.raises(ConfigError, match=r"cuda:2: CUDA_VISIBLE_DEVICES=4,6 shows 2 .*largest N is 1"):
        device.request("cuda:2")


def test_a_number_too_late(fresh, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match=r"cuda:1: torch uses a GPU in this process already"):
        device.request("cuda:1")


def test_probes_of_this_machine():
    """Whatever the machine has: a reason is text, and no reason means that torch can compute there."""
    reason = device.why_not_torch()
    assert (reason is None) == torch.cuda.is_available() and (reason is None or len(reason) > 10)
    assert device.why_not_optix() is None or "OptiX" in device.why_not_optix()


def test_nothing_heavy_is_loaded():
    code = ("import os; os.environ.pop('DIPIR_DEVICE', None)\nfrom dipir import device\ndevice.request('cuda:0')\n"
            "import sys; print({'torch', 'numpy', 'drjit'} & set(sys.modules))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# ----------------------------------------------------------------------------------------------------- command line
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    device.add_option(made)
    return made


def test_option(fresh):
    device.use_option(parser().parse_args(["--device", "CPU"]))
    assert os.environ["DIPIR_DEVICE"] == "cpu"


def test_option_left_out_changes_nothing(fresh, monkeypatch):
    monkeypatch.setenv("DIPIR_DEVICE", "cpu")
    device.use_option(parser().parse_args([]))
    device.use_option(argparse.Namespace())
    assert os.environ["DIPIR_DEVICE"] == "cpu"


def test_option_of_a_bad_value(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--device", "gpu"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "'gpu'" in said and device.ACCEPTED in said and "Traceback" not in said
    assert "cuda:N" in " ".join(parser().format_help().split())


# ---------------------------------------------------------------------------------------------------------- moving
@dataclass(frozen=True)
class Inner:
    image: torch.Tensor
    name: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    pair: tuple
    table: dict
    doubled: int = field(init=False, default=2)


Point = collections.namedtuple("Point", "x y")


def outer() -> Outer:
    return Outer(Inner(torch.arange(3.0), "a"), (torch.ones(2), "b"), {"k": torch.zeros(1)})


def test_moved_keeps_identity_when_nothing_moves():
    value = outer()
    cpu = torch.device("cpu")
    assert device.moved(value.inner, cpu) is value.inner and device.moved(value.pair, cpu) is value.pair
    assert device.moved(value.inner.image, cpu) is value.inner.image
    items = [torch.ones(1)]
    point = Point(torch.ones(1), 2)
    assert device.moved(value, cpu) is value and device.moved(point, cpu) is point
    assert device.moved(items, cpu) is items and device.moved(Outer, cpu) is Outer and device.moved(None, cpu) is None


def test_moved_goes_through_everything():
    value = outer()
    with far_device() as there:
        far = device.moved(value)
        for tensor in (far.inner.image, far.pair[0], far.table["k"]):
            assert tensor.device.type == KIND == there.kind
        point = device.moved(Point(torch.ones(1), 2))
        assert isinstance(point, Point) and point.x.device.type == KIND and point.y == 2
        assert far.inner.name == "a" and far.pair[1] == "b" and far.doubled == 2 and isinstance(far.pair, tuple)
        back = device.moved(far, torch.device("cpu"))
    assert torch.equal(back.inner.image, value.inner.image) and torch.equal(back.table["k"], value.table["k"])


def test_noise_is_the_same_everywhere():
    def seeded():
        return torch.Generator().manual_seed(3)
    for draw, plain in ((device.randn, torch.randn), (device.rand, torch.rand)):
        here = draw((2, 5), seeded(), torch.device("cpu"))
        assert torch.equal(here, plain(2, 5, generator=seeded()))
        with far_device() as there:
            far = draw((2, 5), seeded(), there.torch)
            assert far.device.type == KIND
            assert torch.equal(far.cpu(), here)


# ---------------------------------------------------------------------------------------------------------- memory
class OutOfMemoryError(RuntimeError):
    pass


def test_memory_text():
    torch_says = OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total ...")
    assert device.memory_text(torch_says).startswith("out of GPU memory (20.00 GiB were asked for")
    drjit_says = RuntimeError("jit_malloc(): out of memory! could not allocate 123 MiB of device memory")
    assert "123 MiB were asked for" in device.memory_text(drjit_says)
    assert device.memory_text(RuntimeError("CUDA error: an illegal memory access")) is None
    assert device.memory_text(MemoryError("out of memory")) is None


def test_guarded():
    @device.guarded("Use --device cpu.")
    def work(problem=None):
        if problem is not None:
            raise problem
        return 5

    assert work() == 5
    with pytest.raises(DeviceMemoryError, match=r"out of GPU memory.* Use --device cpu\.") as caught:
        work(OutOfMemoryError("CUDA out of memory."))
    assert isinstance(caught.value.__cause__, OutOfMemoryError)
    with pytest.raises(ValueError, match="other"):
        work(ValueError("other"))


def test_caches_are_kept_on_the_cpu(fresh, monkeypatch):
    device.request("cpu")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("no GPU in use"))
    device.free_memory()
