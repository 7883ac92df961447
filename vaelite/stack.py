r"""Models in training: one alone, or many of one architecture as one stack.

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
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from vaelite.batches import Source, map_tensors
from vaelite.compiled import compiled, compiled_trace, trace
from vaelite.streams import noise_from

Outcome = tuple[Tensor, Mapping[str, Tensor], Any]


class Single:
    """One model in training, seen as :class:`Stack` shows many.

    Args:
        model: a module with ``loss(batch)``.
        compile: whether the step becomes machine code (:mod:`vaelite.compiled`).

    Raises:
        ValueError: if ``after_step_parameters`` names what is none of its parameters, or there
            is no ``after_step``, or nothing is left to Adam.
    """

    def __init__(self, model: nn.Module, compile: bool = False) -> None:
        self.models = [model]
        self.compiled_loss = compiled(model.loss) if compile else None
        self.parameters: dict[str, Tensor] = dict(model.named_parameters())
        self.own = [_Tensors(model)]
        self.moved_by_after_step = _declared(model)

    def find_numbers(self, scheduled: Iterable[str] | None = None) -> None:
        """Look for numbers in which models differ; one differs in none."""

    def batch(self, source: Source, rows: Sequence[Sequence[Tensor]], dtype: torch.dtype) -> Any:
        """Select a batch for each model.

        Args:
            source: the data.
            rows: for each data set, and in it for each model, indices.
            dtype: what the models compute with.
        """
        return source.batch([of_models[0] for of_models in rows], dtype)

    def adams(self) -> list[Tensor]:
        """Return the parameters that Adam moves, frozen ones included: it passes over them."""
        others = self.moved_by_after_step
        return [tensor for name, tensor in self.parameters.items() if name not in others]

    def losses(self, batch: Any) -> Outcome:
        """Return what ``loss`` returns: the loss, its parts, and what it carries, detached."""
        return _outcome((self.compiled_loss or self.models[0].loss)(batch))

    def gradients(self, batch: Any) -> Outcome:
        """Return what :meth:`losses` does, and leave the parameters their gradients."""
        loss, parts, carry = self.losses(batch)
        self.clear_gradients()
        (loss.sum() if loss.ndim else loss).backward()
        return loss, parts, carry

    def clear_gradients(self) -> None:
        """Forget the gradients of the step before."""
        for tensor in self.parameters.values():
            tensor.grad = None

    def after_step(self, batch: Any, carry: Any) -> None:
        """Call each model's ``after_step``, and take up what it assigned."""
        if hasattr(self.models[0], "after_step"):
            self.each(lambda model, _: model.after_step(batch, carry), "after_step")

    def each(self, function: Callable[[nn.Module, int], Any], what: str) -> None:
        """Call a function of each model and its number, with the model's own noise.

        Parameters that the function assigns anew are copied to where the optimiser finds them.

        Raises:
            ValueError: if it adds, removes or reshapes a parameter or a buffer.
        """
        function(self.models[0], 0)
        self.own[0].adopt(what, buffers=False)

    def release(self) -> None:
        """Let go of the model; there is nothing to do."""


class Stack(Single):
    """Models of one architecture whose parameters and buffers are slices of shared tensors.

    Until :meth:`release` the models stay usable: what changes the stack changes them, and the
    other way round.

    Args:
        models: S modules with ``loss(batch)``, in the same mode and on the same device.  They may
            differ in the values of parameters and buffers, and in attributes that are numbers,
            such as ``beta``.
        noise: generators for each model, of the CPU and where that is in use of the GPU: the
            source of its noise.
        compile: as for :class:`Single`.

    Raises:
        ValueError: if the models differ in anything else, or share parameters.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        noise: Sequence[Sequence[torch.Generator]],
        compile: bool = False,
    ) -> None:
        self.models, self.noise = list(models), list(noise)
        self.template = models[0]
        self.scheduled: set[str] = set()
        _check_architecture(self.models)
        self.moved_by_after_step = _declared(self.template)
        self.parameters = _stacked([dict(model.named_parameters()) for model in models])
        self.buffers = _stacked([dict(model.named_buffers()) for model in models])
        self.own = [_Tensors(model) for model in models]
        each = [dict(model.named_parameters()) for model in models]
        self.owned = [(t, [named[name] for named in each]) for name, t in self.parameters.items()]
        self.device = next(iter(self.parameters.values())).device
        self.compile = compile
        self.drawn: _Drawn | None = None  # while a step is traced
        self.find_numbers()
        self._loss = _Loss(self.template)
        self._losses = torch.vmap(self._one)

    def find_numbers(self, scheduled: Iterable[str] | None = None) -> None:
        """Look again in which numbers the models differ.

        Args:
            scheduled: attributes that are set to the same value for all before each step.
        """
        self.scheduled = self.scheduled if scheduled is None else set(scheduled)
        reference = next(iter(self.parameters.values()))
        self.numbers = _differing_numbers(self.models, reference, self.scheduled)
        self.steps: dict[Any, _Step] = {}  # compiled, for batches of one shape each
        if self.compile:  # a number that moves is an argument, not a constant of the machine code
            moving = self.scheduled & vars(self.template).keys()
            self.numbers |= {("", name): reference.new_zeros(len(self.models)) for name in moving}

    def batch(self, source: Source, rows: Sequence[Sequence[Tensor]], dtype: torch.dtype) -> Any:
        """Select a batch for each model; they lie on top of each other, ``(S, B, ...)``."""
        return source.batch(
            [torch.cat(list(of_models)) for of_models in rows],
            dtype,
            lambda batch: batch.unflatten(0, (len(self.models), -1)),
        )

    def losses(self, batch: Any) -> Outcome:
        """Return what ``loss`` returns, for all models at once.

        Args:
            batch: tensors ``(S, B, ...)``, alone or in tuples.

        Returns:
            Losses and parts, ``(S,)`` each, and what the losses carry, stacked.  The gradient of
            the sum of the losses holds the gradients of all models, since no model sees another.
        """
        try:
            loss, parts, carry = self._losses(self.parameters, self.buffers, self.numbers, batch)
        except RuntimeError as error:
            error.add_note(
                f"fit_seeds runs {type(self.template).__name__}.loss for all models at once, "
                "with torch.vmap: loss may neither branch on the values of tensors nor fill "
                "tensors with noise in place (as Tensor.normal_ does); torch.randn, torch.rand, "
                "torch.bernoulli, dropout and the like are fine."
            )
            raise
        return loss, parts, carry[0] if carry else None

    def gradients(self, batch: Any) -> Outcome:
        """Return what :meth:`losses` does, and leave the parameters their gradients."""
        if not self.compile:
            return super().gradients(batch)
        for name in self.scheduled & vars(self.template).keys():
            self.numbers["", name].fill_(getattr(self.template, name))
        tensors: list[Tensor] = []
        map_tensors(tensors.append, batch)
        flags = tuple(tensor.requires_grad for tensor in self.parameters.values())
        key = flags, *((tensor.shape, tensor.dtype) for tensor in tensors)
        if key not in self.steps:
            self.steps[key] = _Step(self, batch, tensors)
        return self.steps[key](tensors)

    def after_step(self, batch: Any, carry: Any) -> None:
        """Call each model's ``after_step`` with its slice of everything, gradients included."""
        if not hasattr(self.template, "after_step"):
            return
        slices = [(t, t.grad, owned) for t, owned in self.owned if t.grad is not None]
        for _, gradients, owned in slices:
            for parameter, gradient in zip(owned, gradients, strict=True):
                parameter.grad = gradient

        def call(model: nn.Module, index: int) -> None:
            own = map_tensors(lambda tensor: tensor[index], batch)
            kept = None if carry is None else map_tensors(lambda tensor: tensor[index], carry)
            model.after_step(own, kept)

        self.each(call, "after_step")
        for _, _, owned in slices:
            for parameter in owned:
                parameter.grad = None

    def each(self, function: Callable[[nn.Module, int], Any], what: str) -> None:
        """Call a function of each model and its number, with the model's own noise.

        What it assigns anew is copied back into the stack, numbers are looked at again.

        Raises:
            ValueError: if it adds, removes or reshapes a parameter or a buffer, or freezes a
                parameter in some models only.
        """
        changed = False
        for index, (model, noise, own) in enumerate(
            zip(self.models, self.noise, self.own, strict=True)
        ):
            before = own.attributes()
            with noise_from(noise, self.device):
                function(model, index)
            own.adopt(what, buffers=True)
            changed |= not _identical(before, own.attributes())
        for tensor, owned in self.owned:
            flags = {parameter.requires_grad for parameter in owned}
            if len(flags) > 1:
                raise ValueError(f"{what} must freeze the same parameters in all models.")
            tensor.requires_grad_(flags.pop())
        if changed:
            if self.compile and what == "after_step":
                kind = type(self.template).__name__
                raise ValueError(
                    f"compile=True makes constants of a model's attributes, and {kind}.after_step "
                    "changes them: keep what changes in buffers, or train without compile."
                )
            self.find_numbers()

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
    ) -> tuple[Tensor, dict[str, Tensor], tuple]:
        """One model's loss, as ``vmap`` sees it."""
        tensors = {f"model.{name}": value for name, value in {**parameters, **buffers}.items()}
        attributes = [(self.template.get_submodule(name), key) for name, key in numbers]
        before = [vars(module)[key] for module, key in attributes]
        for (module, key), value in zip(attributes, numbers.values(), strict=True):
            vars(module)[key] = value
        try:
            with _Translation(self.noise, self.device, parameters, self.drawn):
                return functional_call(self._loss, tensors, (batch,))
        finally:
            for (module, key), value in zip(attributes, before, strict=True):
                vars(module)[key] = value


class _Drawn:
    """The noise of a step that is traced: written down first, then taken from the arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable, tuple, dict]] = []
        self.like: list[Tensor] = []
        self.given: Iterator[Tensor] | None = None

    def __call__(self, function: Callable, args: tuple, kwargs: dict, count: int) -> Tensor:
        """Stand for :func:`_draw`."""
        if self.given is not None:
            return next(self.given)
        self.calls.append((function, args, kwargs))
        drawn = torch.stack([function(*args, **kwargs) for _ in range(count)])
        self.like.append(drawn.detach())
        return drawn


class _Step:
    """A stack's losses and gradients as machine code, for batches of one shape.

    Args:
        stack: the models.
        batch: a batch as :meth:`Stack.losses` takes it.
        tensors: what it holds.
    """

    def __init__(self, stack: Stack, batch: Any, tensors: list[Tensor]) -> None:
        self.stack = stack
        self.drawn = stack.drawn = _Drawn()
        self.parameters = list(stack.parameters.values())
        self.fixed = [*stack.buffers.values(), *stack.numbers.values()]
        self.trained = [i for i, tensor in enumerate(self.parameters) if tensor.requires_grad]

        def step(
            parameters: list[Tensor],
            fixed: list[Tensor],
            tensors: list[Tensor],
            noise: list[Tensor] | None = None,
        ) -> list:
            own, rest, given = [p.detach() for p in parameters], iter(fixed), iter(tensors)
            for index in self.trained:
                own[index].requires_grad_()
            self.drawn.given = None if noise is None else iter(noise)
            before = stack.parameters, stack.buffers, stack.numbers
            stack.parameters = dict(zip(stack.parameters, own, strict=True))
            stack.buffers = {name: next(rest) for name in stack.buffers}
            stack.numbers = {name: next(rest) for name in stack.numbers}
            try:
                with torch.enable_grad():
                    outcome = stack.losses(map_tensors(lambda _: next(given), batch))
            finally:
                stack.parameters, stack.buffers, stack.numbers = before
            loss, self.parts, self.carry = outcome[0], list(outcome[1]), outcome[2]
            carried: list[Tensor] = []
            if self.carry is not None:
                map_tensors(carried.append, self.carry)
            trained = [own[index] for index in self.trained]
            gradients = torch.autograd.grad(loss.sum(), trained, allow_unused=True)
            return [
                loss.detach(),
                *(part.detach() for part in outcome[1].values()),
                *carried,
                # As Adam wants them: laid out as the parameters are.
                *(None if g is None else g.contiguous() for g in gradients),
            ]

        try:
            # The first trace finds out what noise is drawn.
            inputs = self.parameters, self.fixed, tensors
            trace(step, *inputs)
            noise = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in self.drawn.like]
            self.run = compiled_trace(step, *inputs, noise)
        finally:
            stack.drawn = None

    def _noise(self) -> list[Tensor]:
        """Draw what the step asks for, each model's part from its own generator."""
        return [
            _draw(self.stack.noise, function, args, kwargs)
            for function, args, kwargs in self.drawn.calls
        ]

    def __call__(self, tensors: list[Tensor]) -> Outcome:
        """Return losses, parts and what is carried; leave the parameters their gradients."""
        found = iter(self.run(self.parameters, self.fixed, tensors, self._noise()))
        loss, parts = next(found), {name: next(found) for name in self.parts}
        carry = self.carry
        if carry is not None:
            carry = map_tensors(lambda _: next(found), carry)
        self.stack.clear_gradients()
        for index in self.trained:
            self.parameters[index].grad = next(found)
        return loss, parts, carry


class _Tensors:
    """The parameters and buffers that a model has when training begins, and where they lie."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tables = [
            (path, table, dict(table), table is module._parameters)
            for path, module in model.named_modules()
            for table in (module._parameters, module._buffers)
        ]
        self.places = {
            id(tensor): (tensor.data_ptr(), tensor.data)
            for _, _, before, _ in self.tables
            for tensor in before.values()
            if tensor is not None
        }
        self.modules = list(model.modules())

    def attributes(self) -> list[dict[str, Any]]:
        """Return all attributes, module by module."""
        return [dict(vars(module)) for module in self.modules]

    @torch.no_grad()
    def adopt(self, what: str, buffers: bool) -> None:
        """Put tensors that were assigned anew back into their places, with the new values.

        Args:
            what: who assigned them, for the message.
            buffers: whether buffers have places too, as they do in a stack.
        """
        moved = []
        for path, table, before, of_parameters in self.tables:
            if table.keys() != before.keys():
                name, *_ = table.keys() ^ before.keys()
                raise ValueError(
                    f"{what} adds or removes {_join(path, name)}; "
                    "parameters and buffers are made in the constructor."
                )
            for key, was in before.items():
                now = table[key]
                if now is was and (now is None or now.data_ptr() == self.places[id(was)][0]):
                    continue
                kinds = [_kind(self.places[id(was)][1] if was is not None else None), _kind(now)]
                if kinds[0] != kinds[1]:
                    raise ValueError(
                        f"{what} must leave {_join(path, key)} what it is, {kinds[0]}; "
                        f"it assigns {kinds[1]}."
                    )
                if of_parameters or buffers:
                    moved.append((table, key, was, now.detach().clone(), now.requires_grad))
        for table, key, was, values, wants_gradient in moved:
            was.data = self.places[id(was)][1]
            was.copy_(values)
            was.requires_grad_(wants_gradient)
            table[key] = was


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"


def _identical(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether attributes are the very same objects; names with an underscore do not count."""
    for before, after in zip(one, other, strict=True):
        if len(before) != len(after) or not all(map(operator.is_, before.values(), after.values())):
            public = [key for key in {**before, **after} if not key.startswith("_")]
            if any(before.get(key, _ABSENT) is not after.get(key, _ABSENT) for key in public):
                return False
    return True


_ABSENT = object()


def _declared(model: nn.Module) -> set[str]:
    """Return the names of the parameters that ``after_step`` moves."""
    wanted = list(getattr(model, "after_step_parameters", list)())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if not all(id(parameter) in names for parameter in wanted):
        raise ValueError("after_step_parameters must name parameters of the model.")
    if wanted and not hasattr(model, "after_step"):
        raise ValueError("after_step_parameters leaves parameters to after_step, which is missing.")
    if len(wanted) == len(names):
        raise ValueError("after_step_parameters must leave at least one parameter to Adam.")
    return {names[id(parameter)] for parameter in wanted}


def _outcome(output: Any) -> Outcome:
    """Return the three things that a loss may return, in their checked form."""
    if not (isinstance(output, tuple) and len(output) in (2, 3)):
        found = type(output).__name__
        found += f" of {len(output)}" if isinstance(output, tuple) else ""
        raise TypeError(f"loss must return (loss, parts) or (loss, parts, carry); got {found}.")
    loss, parts, *carry = output
    if not isinstance(parts, Mapping):
        raise TypeError(f"loss must return its parts by name; got {type(parts).__name__}.")
    for name, value in {"loss": loss, **parts}.items():
        if not isinstance(value, Tensor) or value.ndim:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"loss must return scalar tensors; {name} is {found}.")
    if not carry or carry[0] is None:
        return loss, parts, None
    return loss, parts, map_tensors(Tensor.detach, carry[0], "what loss carries to after_step")


class _Loss(nn.Module):
    """``functional_call`` calls a module, and a model's loss is not its ``forward``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        modules = dict(model.named_modules())
        self._tables = [
            (path, table)
            for path, module in modules.items()
            for table in (vars(module), module._buffers, module._parameters)
        ]

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor], tuple]:
        before = [list(table.items()) for _, table in self._tables]
        loss, parts, carry = _outcome(self.model.loss(batch))
        for (path, table), entries in zip(self._tables, before, strict=True):
            if len(entries) != len(table) or any(table[key] is not old for key, old in entries):
                old = dict(entries)
                key = next(k for k in table if k not in old or table[k] is not old[k])
                raise ValueError(
                    f"loss assigns {_join(path, key)}, which fit_seeds cannot keep "
                    "for each model: return what after_step needs as carry, and keep what changes "
                    "in buffers that after_step assigns."
                )
        return loss, dict(parts), () if carry is None else (carry,)


def _on_stack(count: int, function: Callable, *tensors: Tensor | None) -> Tensor:
    """Leave ``vmap`` for one operation: ``function`` gets the stacked tensors ``(S, ...)``.

    The documented way, an ``autograd.Function`` with a rule for ``vmap``, costs more than a small
    layer's arithmetic: 0.13 ms a layer and step, where a layer of 64 by 10 takes 0.17.  These are
    the functions with which ``torch.vmap`` itself begins and ends; they are private, hence torch's
    upper bound in pyproject.toml.
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
        self,
        noise: Sequence[Sequence[torch.Generator]],
        device: torch.device,
        parameters: dict[str, Tensor],
        drawn: _Drawn | None = None,
    ) -> None:
        super().__init__()
        self.noise, self.device, self.count, self.drawn = noise, device, len(noise), drawn
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
            return _on_stack(self.count, _linear, *_linear_arguments(*args, **kwargs))
        if function is F.binary_cross_entropy_with_logits and _is_plain(*args, **kwargs):
            return _on_stack(self.count, _cross_entropy, *args)
        if function in _LIKE:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device, **kwargs}
            function, args = _LIKE[function], (args[0].shape,)
        if function in _LIKE.values() and kwargs.get("generator") is None:
            return _on_stack(self.count, lambda: self._draw(function, args, kwargs))
        if function in _RANDOM and kwargs.get("generator") is None:
            if self.drawn is not None:
                raise NotImplementedError(
                    "compile=True knows no noise in a stack but that of torch.randn and "
                    f"torch.rand, and this loss calls {function.__name__}; train without compile."
                )
            return self._one_by_one(function, args, kwargs)
        return function(*args, **kwargs)

    def _draw(self, function: Callable, args: tuple, kwargs: dict) -> Tensor:
        kwargs = {key: value for key, value in kwargs.items() if key != "generator"}
        if self.drawn is not None:
            return self.drawn(function, args, kwargs, self.count)
        return _draw(self.noise, function, args, kwargs)

    def _one_by_one(self, function: Callable, args: tuple, kwargs: dict) -> Tensor:
        """Call a function that draws noise with each model's slices and each model's generator."""
        given: list[Tensor] = []

        def number(value: Any) -> Any:
            if isinstance(value, Tensor):
                given.append(value)
                return _Slot(len(given) - 1)
            if type(value) in (list, tuple):
                return type(value)(map(number, value))
            return value

        args, kwargs = number(args), {key: number(value) for key, value in kwargs.items()}

        def fill(value: Any, slices: list[Tensor]) -> Any:
            if isinstance(value, _Slot):
                return slices[value.index]
            if type(value) in (list, tuple):
                return type(value)(fill(item, slices) for item in value)
            return value

        def call(*stacked: Tensor) -> Tensor:
            drawn = []
            for index, noise in enumerate(self.noise):
                slices = [tensor[index] for tensor in stacked]
                own = {key: fill(value, slices) for key, value in kwargs.items()}
                with noise_from(noise, self.device):
                    drawn.append(function(*fill(args, slices), **own))
            return torch.stack(drawn)

        return _on_stack(self.count, call, *given)

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


def _draw(
    noise: Sequence[Sequence[torch.Generator]], function: Callable, args: tuple, kwargs: dict
) -> Tensor:
    """Draw each model's noise from its own generator, and stack it."""
    device = torch.device(kwargs.get("device") or torch.get_default_device())
    which = 0 if device.type == "cpu" else -1
    return torch.stack([function(*args, generator=own[which], **kwargs) for own in noise])


_FLAGS = (Tensor.requires_grad_, Tensor.requires_grad.__get__)
_LIKE = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}
# What else draws noise and returns a tensor.
_RANDOM = {
    torch.bernoulli,
    Tensor.bernoulli,
    torch.multinomial,
    Tensor.multinomial,
    torch.normal,
    torch.poisson,
    torch.randint,
    torch.randint_like,
    torch.randperm,
    torch.dropout,
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    F.gumbel_softmax,
}


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor among a function's arguments."""

    index: int


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


def _differing_numbers(
    models: list[nn.Module], like: Tensor, scheduled: set[str]
) -> dict[tuple[str, str], Tensor]:
    """Attributes that are numbers and not the same in all models, ``(S,)`` each."""
    numbers = {}
    for name, module in models[0].named_modules():
        others = [model.get_submodule(name) for model in models]
        for key, value in vars(module).items():
            if key.startswith("_") or isinstance(value, torch.optim.Optimizer):
                continue
            if not name and key in scheduled:
                continue
            values = [vars(other).get(key) for other in others]
            if all(_same(value, other) for other in values):
                continue
            if not all(type(other) in (int, float) for other in values):
                raise ValueError(
                    f"the models differ in {_join(name, key)}, which is no number; "
                    "train runs that differ in it by separate calls, and keep what after_step "
                    "changes in buffers."
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
