r"""Many models of one architecture as one stack: what :func:`vaelite.training.fit_seeds` trains.

A small network leaves a processor idle: most of a training step goes into starting operations, not
into arithmetic.  S models whose parameters lie on top of each other need as many operations as
one.  ``torch.vmap`` runs a model's own ``loss`` on the stack, so that a paper's module never
hears of it.

Two things that ``vmap`` alone does not do well are done here.  It knows no fast form of a linear
layer and of the Bernoulli likelihood, which it takes apart into many passes over memory: both get
one operation for the whole stack.  And it cannot draw each model's noise from the model's own
generator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.func import functional_call
from torch.overrides import TorchFunctionMode


class Stack:
    """Models of one architecture whose parameters and buffers are slices of shared tensors.

    Until :meth:`release` the models stay usable: what changes the stack changes them, and the
    other way round.

    Args:
        models: S modules with ``loss(batch)``, in the same mode and on the same device.  They may
            differ in the values of parameters and buffers, and in attributes that are numbers,
            such as ``beta``.
        generators: one for each model: the source of its noise.

    Raises:
        ValueError: if the models differ in anything else, or share parameters.
    """

    def __init__(self, models: Sequence[nn.Module], generators: Sequence[torch.Generator]) -> None:
        self.models, self.generators = list(models), list(generators)
        self.template = models[0]
        _check_architecture(self.models)
        self.parameters = _stacked([dict(model.named_parameters()) for model in models])
        self.buffers = _stacked([dict(model.named_buffers()) for model in models])
        reference = next(iter(self.parameters.values()))
        self.numbers = _differing_numbers(self.models, reference)
        self._loss = _Loss(self.template)
        self._losses = torch.vmap(self._one)

    def losses(self, batch: tuple[Tensor, ...], single: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what ``loss`` returns, for all models at once.

        Args:
            batch: tensors ``(S, B, ...)``.
            single: whether ``loss`` takes the only one of them, and not a tuple.

        Returns:
            Losses and parts, ``(S,)`` each.  The gradient of the sum of the losses holds the
            gradients of all models, since no model sees another.
        """
        try:
            return self._losses(
                self.parameters,
                self.buffers,
                self.numbers,
                batch[0] if single else batch,
            )
        except RuntimeError as error:
            error.add_note(
                f"fit_seeds runs {type(self.template).__name__}.loss for all models at once, "
                "with torch.vmap: loss may neither branch on the values of tensors nor draw other "
                "noise than torch.randn and torch.rand."
            )
            raise

    def trained(self) -> list[Tensor]:
        """The stacked parameters, for an optimiser."""
        return [tensor for tensor in self.parameters.values() if tensor.requires_grad]

    def release(self) -> None:
        """Give every model tensors of its own again."""
        for model in self.models:
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.data = tensor.data.clone()

    def _one(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        numbers: dict[tuple[str, str], Tensor],
        batch: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One model's loss, as ``vmap`` sees it."""
        tensors = {f"model.{name}": value for name, value in {**parameters, **buffers}.items()}
        attributes = [(self.template.get_submodule(name), key) for name, key in numbers]
        before = [vars(module)[key] for module, key in attributes]
        for (module, key), value in zip(attributes, numbers.values(), strict=True):
            vars(module)[key] = value
        try:
            with _Translation(self.generators, parameters):
                return functional_call(self._loss, tensors, (batch,))
        finally:
            for (module, key), value in zip(attributes, before, strict=True):
                vars(module)[key] = value


class _Loss(nn.Module):
    """``functional_call`` calls a module, and a model's loss is not its ``forward``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.loss(batch)


def _on_stack(count: int, function: Callable, *tensors: Tensor | None) -> Tensor:
    """Leave ``vmap`` for one operation: ``function`` gets the stacked tensors ``(S, ...)``.

    The documented way, an ``autograd.Function`` with a rule for ``vmap``, costs more than a small
    layer's arithmetic.  These are the functions with which ``torch.vmap`` itself begins and ends.
    """
    level = _functorch.maybe_current_level()
    with temporarily_pop_interpreter_stack():
        stacked = [
            tensor if tensor is None else _functorch._remove_batch_dim(tensor, level, count, 0)
            for tensor in tensors
        ]
        result = function(*stacked)
    return _functorch._add_batch_dim(result, 0, level)


class _Translation(TorchFunctionMode):
    """Say a few of torch's functions in terms of the stack."""

    def __init__(
        self, generators: Sequence[torch.Generator], parameters: dict[str, Tensor]
    ) -> None:
        super().__init__()
        self.generators = generators
        self.parameters = {id(parameter) for parameter in parameters.values()}
        self.frozen: dict[int, Tensor] = {}

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _FLAGS and id(args[0]) in self.parameters:
            return self._flag(function, *args, **kwargs)
        if self.frozen:
            args, kwargs = self._replaced(args), self._replaced(kwargs)
        if function is F.linear:
            return _on_stack(len(self.generators), _linear, *_linear_arguments(*args, **kwargs))
        if function is F.binary_cross_entropy_with_logits and _is_plain(*args, **kwargs):
            return _on_stack(len(self.generators), _cross_entropy, *args)
        if function in _LIKE:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            function, args = _LIKE[function], (args[0].shape,)
        if function in _LIKE.values() and kwargs.get("generator") is None:
            return _on_stack(len(self.generators), lambda: self._draw(function, *args, **kwargs))
        return function(*args, **kwargs)

    def _draw(
        self, function: Callable, *args: Any, generator: None = None, **kwargs: Any
    ) -> Tensor:
        return torch.stack([function(*args, generator=g, **kwargs) for g in self.generators])

    def _flag(self, function: Callable, parameter: Tensor, wanted: bool = True) -> Any:
        """Read or set ``requires_grad``; without gradient, a parameter is replaced where used."""
        if function is not Tensor.requires_grad_:
            return id(parameter) not in self.frozen
        self.frozen.pop(id(parameter), None)
        if not wanted:
            self.frozen[id(parameter)] = parameter.detach()
        return parameter

    def _replaced(self, value: Any) -> Any:
        """Replace frozen parameters, however deep."""
        if isinstance(value, Tensor):
            return self.frozen.get(id(value), value)
        if isinstance(value, dict):
            return {key: self._replaced(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self._replaced, value))
        return value


_FLAGS = (Tensor.requires_grad_, Tensor.requires_grad.__get__)
_LIKE = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}


def _linear_arguments(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple:
    return input, weight, bias


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``(S, ..., I), (S, O, I), (S, O) -> (S, ..., O)``, one batched product."""
    rows = x.reshape(len(x), -1, x.shape[-1])
    if bias is None:
        out = torch.bmm(rows, weight.mT)
    else:
        out = torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)
    return out.reshape(*x.shape[:-1], weight.shape[1])


def _is_plain(logits: Tensor, target: Tensor, reduction: str = "mean", **options: Any) -> bool:
    """Whether a call of the binary cross-entropy is the plain one, without sums and weights."""
    unused = all(value is None for value in options.values())
    return reduction == "none" and unused and logits.shape == target.shape


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _check_architecture(models: list[nn.Module]) -> None:
    """Insist on equal names, shapes and classes, and on tensors of each model's own."""
    first = _outline(models[0])
    for model in models[1:]:
        other = _outline(model)
        for name in [*first, *other]:
            if first.get(name) != other.get(name):
                raise ValueError(
                    f"make_model must build one architecture; {name or 'the model'} is "
                    f"{first.get(name, 'absent')} in one run and "
                    f"{other.get(name, 'absent')} in another."
                )
    seen = [id(tensor) for model in models for tensor in (*model.parameters(), *model.buffers())]
    if len(set(seen)) < len(seen):
        raise ValueError("make_model must build a new model at each call; two runs share tensors.")


def _outline(model: nn.Module) -> dict[str, Any]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        **{name: type(module).__name__ for name, module in model.named_modules()},
        **{
            name: (tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
            for name, tensor in tensors
        },
    }


def _stacked(tensors: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack by name, and make each given tensor a view of its slice."""
    stack = {}
    for name, first in tensors[0].items():
        whole = torch.stack([named[name].detach() for named in tensors])
        for named, part in zip(tensors, whole, strict=True):
            named[name].data = part
        stack[name] = whole.requires_grad_(first.requires_grad)
    return stack


def _differing_numbers(models: list[nn.Module], like: Tensor) -> dict[tuple[str, str], Tensor]:
    """Attributes that are numbers and not the same in all models, ``(S,)`` each."""
    numbers = {}
    for name, module in models[0].named_modules():
        others = [model.get_submodule(name) for model in models]
        for key, value in vars(module).items():
            if key.startswith("_") or isinstance(value, torch.optim.Optimizer):
                continue
            values = [vars(other).get(key) for other in others]
            if all(_same(value, other) for other in values):
                continue
            if not all(type(other) in (int, float) for other in values):
                where = f"{name}.{key}" if name else key
                raise ValueError(
                    f"the models differ in {where}, which is no number; "
                    "train runs that differ in it by separate calls."
                )
            numbers[name, key] = torch.tensor(values, dtype=like.dtype, device=like.device)
    return numbers


def _same(one: Any, other: Any) -> bool:
    """Whether two attributes hold the same, however deep."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (
        bool(getattr(one, "__dict__", None)) and _same(vars(one), vars(other))
    )


def bytes_needed(model: nn.Module, batch: Any) -> int:
    """Estimate the memory that training one model takes: parameters, Adam's, and activations.

    One loss is computed on a copy of the model.  What it keeps for the backward pass is counted
    twice, for the gradients and for what is only there in between.
    """
    model = copy.deepcopy(model)
    parameters = {tensor.data_ptr() for tensor in model.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        held = model.loss(batch)  # holds the graph, so that no address is used twice
    del held
    return 4 * sum(tensor.nbytes for tensor in model.parameters()) + 2 * sum(kept.values())
