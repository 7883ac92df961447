"""Machine code for a training step, by ``torch.compile``, with the noise of the step as it is.

One model's loss goes through ``torch.compile``.  A stack's step is traced as a whole, gradients
included, since ``torch.compile`` cannot follow what :mod:`vaelite.stack` does inside ``vmap``: the
trace is plain operations on the stacked tensors, and the noise, which must come from each model's
own generator, is an argument of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.fx.experimental.proxy_tensor import make_fx

BACKEND = "inductor"


def check_compiler(device: torch.device) -> None:
    """Insist on what turns a step into machine code.

    Raises:
        RuntimeError: if there is no C++ compiler, which torch needs for steps on a CPU.
    """
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(
        sys.platform, "g++"
    )
    if device.type == "cpu" and BACKEND == "inductor" and shutil.which(compiler) is None:
        raise RuntimeError(
            f"compile=True needs a C++ compiler, and {compiler} is not on the path; "
            "install one, or train without compile."
        )


def compiled(function: Callable) -> Callable:
    """Return a function that becomes machine code at its first call, and draws the same noise."""

    def call(*arguments: Any) -> Any:
        return function(*arguments)

    # torch.compile gives up on a function that it compiled eight times, and knows functions by
    # their code object: each training run gets one of its own.
    call.__code__ = call.__code__.replace()
    options = {"fallback_random": True} if BACKEND == "inductor" else None
    return torch.compile(call, backend=BACKEND, options=options)


@contextmanager
def validation_kept() -> Iterator[None]:
    """Restore the validation of ``torch.distributions``, which the compiler turns off for all."""
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def trace(function: Callable[..., list], *arguments: Sequence[Tensor]) -> torch.fx.GraphModule:
    """Return the operations on tensors that a function consists of.

    Args:
        function: of lists of tensors; returns a list of tensors and None.  All that it takes from
            elsewhere is a constant of the result.
        *arguments: lists of tensors, of which shapes and types count: nothing is computed, no
            buffer changes, no noise is drawn.

    Returns:
        A function of the same tensors, one after the other.
    """
    lengths = [len(tensors) for tensors in arguments]

    def flat(*tensors: Tensor) -> list:
        rest = iter(tensors)
        return function(*([next(rest) for _ in range(length)] for length in lengths))

    tensors = [tensor.detach() for several in arguments for tensor in several]
    return make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)


def compiled_trace(
    function: Callable[..., list], *arguments: Sequence[Tensor]
) -> Callable[..., list]:
    """Return a function of the same lists as :func:`trace` wants, as machine code."""
    run = compiled(trace(function, *arguments))

    @torch.no_grad()
    def call(*arguments: Sequence[Tensor]) -> list:
        return run(*(tensor for several in arguments for tensor in several))

    return call
