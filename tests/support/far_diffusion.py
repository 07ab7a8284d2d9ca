"""A tiny pretrained prior on the far device. diffusers and transformers use torch's own "meta" device while they load,
so the networks are read before the far device takes that name."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dipir.diffusion import pretrained
from dipir.diffusion.memory import MemorySettings
from tests.support.far import far_device


def one_attention() -> contextlib.AbstractContextManager:
    """On the far device torch has but the plain attention; inside, the CPU uses it too, so that bits can be equal."""
    return sdpa_kernel(SDPBackend.MATH)


def near_prior(folder: Path, options: MemorySettings | None = None) -> pretrained.PretrainedDenoiser:
    """The same on the CPU, for the comparison. Weights are copied to memory of their own, as on their way to a device:
    where they lie in the file decides their alignment, and that the last bits of MKL's products."""
    prior = pretrained.load_pretrained(folder, options=options)
    for module in (prior.network, prior.parts.vae, *prior.parts.text_encoders):
        for weight in module.parameters():
            weight.data = weight.data.clone()
    return prior


@contextlib.contextmanager
def far_reading(folder: Path) -> Iterator[torch.device]:
    """The run's device is the far one inside, and ``load_pretrained`` of ``folder`` works there, in float32."""
    parts = pretrained.load_pretrained(folder).parts
    with mock.patch.object(pretrained, "_load_parts", lambda *_: parts), far_device() as device:
        yield device.torch


@contextlib.contextmanager
def far_prior(folder: Path, options: MemorySettings | None = None) -> Iterator[pretrained.PretrainedDenoiser]:
    """The prior in ``folder``, loaded onto the far device in float32."""
    with far_reading(folder) as where:
        yield pretrained.load_pretrained(folder, where, torch.float32, options)
