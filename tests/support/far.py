"""A second device without a GPU: tensors whose values lie on the CPU but which say, and insist, that they do not.

``with far_device():`` makes the run's device "meta" as far as torch is told, while every tensor put there keeps its
values. As with a GPU, an operation that mixes it with CPU tensors raises, ``.numpy()`` fails, and only ``.cpu()`` /
``.to()`` cross. The renderer stays on LLVM, which is the supported combination of a GPU without OptiX. So the whole way
of a method can be walked here, and compared with the CPU result bit for bit.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from dipir import device

KIND = "meta"
_CROSSING = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default, torch.ops.aten.index_put_.default,
             torch.ops.aten.index_put.default, torch.ops.aten.index.Tensor, torch.ops.aten._index_put_impl_.default)


class Far(torch.Tensor):
    """A tensor on the other device; ``near`` has its values."""

    # Results are what the operation says they are: not all of them are far.
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        return torch.Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            device=torch.device(KIND), requires_grad=False)

    def __init__(self, near: torch.Tensor) -> None:
        self.near = near

    def __repr__(self) -> str:
        return f"Far({self.near})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Also sees the functions that make tensors from nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Numbers that become tensors and tensors that become numbers, which torch does below the other mode's sight."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            target = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if target is None else made.to(target)
        if func is torch.Tensor.new_tensor and isinstance(args[0], Far):
            target = kwargs.pop("device", None) or KIND
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(target)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], Far):
            # A list of numbers as an index would come into being on the far device, without its values.
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(part) if isinstance(part, list) else part for part in index)
            return func(args[0], index if isinstance(args[1], tuple) else index[0], *args[2:])
        if func is torch.Tensor.tolist and isinstance(args[0], Far):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


@contextlib.contextmanager
def _autocast() -> Iterator[None]:
    """Autocast knows no such device: it is that of the CPU."""
    kept = torch.autocast.__init__

    def begin(self, device_type: str, *args, **kwargs) -> None:
        kept(self, "cpu" if device_type == KIND else device_type, *args, **kwargs)

    torch.autocast.__init__ = begin
    try:
        yield
    finally:
        torch.autocast.__init__ = kept


def _run(func, args, kwargs):
    tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
    far = [a for a in tensors if isinstance(a, Far)]
    target = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
    # A number (a tensor without dimensions) may come from the CPU, and indices may too, as in CUDA.
    stray = [a for a in tensors if not isinstance(a, Far) and a.ndim > 0]
    if far and stray and func not in _CROSSING:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found far and near ones in {func}")
    if func in _CROSSING[2:] and not isinstance(args[0], Far) and far:
        raise RuntimeError(f"far indices or values for a near tensor in {func}")
    def near(a):
        return a.near if isinstance(a, Far) else a
    given = {**kwargs, **({"device": "cpu"} if target else {})}
    out = func(*tree_map(near, args), **tree_map(near, given))
    if torch.Tag.inplace_view in func.tags and isinstance(args[0], Far):
        # The wrapper has a shape of its own (squeeze_ inside matmul).
        with no_dispatch():
            func(*args, **kwargs)
        return args[0]
    if func is torch.ops.aten.copy_.default:
        return args[0]
    lands_far = target == KIND or (bool(far) and target != "cpu")

    def wrap(value):
        if not isinstance(value, torch.Tensor):
            return value
        same = next((a for a in far if a.near is value), None)
        return same if same is not None else Far(value) if lands_far else value
    return tree_map(wrap, out)


@contextlib.contextmanager
def far_device() -> Iterator[device.Device]:
    """The run's device is the far one inside the block."""
    chosen = device.Device(KIND, device.LLVM, KIND, "a test")
    kept = device.current
    device.current = lambda: chosen
    try:
        with _Everywhere(), _Literals(), _autocast():
            yield chosen
    finally:
        device.current = kept
