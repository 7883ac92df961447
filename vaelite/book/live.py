"""Arithmetic that a page can repeat: NumPy functions and trained networks, traced once.

A live figure's function is ordinary NumPy with networks in it.  ``explore`` calls it once with
:class:`Expression` in place of the reader's inputs.  An expression is an array that remembers how
it was computed.  What it remembers travels to the page as a list of operations, and ``live.js``
repeats them whenever the reader moves something.  ``OPERATIONS`` defines each of them in NumPy or
torch; ``live.js`` defines the same names.

What an expression can do: ``+ - * / **``, ``@`` with a matrix on the right, ``<`` and ``>`` (0 or
1), indexing by constants, ``reshape``, ``T``, ``sum``, ``mean``, ``max``, and NumPy's ``abs, clip,
concatenate, cos, exp, log, max, maximum, mean, minimum, moveaxis, ones_like, outer, reshape, sin,
sqrt, square, stack, sum, tanh, transpose, where, zeros_like``; :func:`pick`, :func:`sigmoid`,
:func:`softplus`, :func:`softmax`, :func:`product_of_experts`, :func:`ellipse`; and networks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from scipy import special
from torch import nn
from torch.nn import functional

from vaelite.book.chapter import number
from vaelite.nets import ConvDecoder, GaussianEncoder

MAX_NETWORK_BYTES = 60_000  # of base64, which turns a half float's two bytes into 8/3

UNARY = {
    **{name: getattr(np, name) for name in ("absolute", "cos", "exp", "log", "negative", "sin")},
    **{name: getattr(np, name) for name in ("sqrt", "square", "tanh")},
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(x, 0.0),
}
BINARY = {
    name: getattr(np, name)
    for name in ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum")
} | {
    "greater": lambda a, b: np.greater(a, b).astype(float),
    "less": lambda a, b: np.less(a, b).astype(float),
}


def _convolve(apply: Callable) -> Callable:
    def operation(x: np.ndarray, weight: np.ndarray, *, stride: int, padding: int) -> np.ndarray:
        x, weight = torch.as_tensor(x), torch.as_tensor(weight)
        return apply(x, weight, stride=stride, padding=padding).numpy()

    return operation


OPERATIONS: dict[str, Callable] = {
    **UNARY,
    **BINARY,
    "reshape": lambda x, shape: np.reshape(x, shape),
    "gather": lambda x, index: np.reshape(x, -1)[index],  # which entries, in the result's shape
    "join": lambda *parts: np.concatenate([np.reshape(part, -1) for part in parts]),
    "sum": lambda x: np.sum(x, axis=-1),
    "max": lambda x: np.max(x, axis=-1),
    "matmul": np.matmul,  # (..., N) and (N, M)
    "take": lambda x, k: x[np.clip(np.rint(k).astype(int), 0, len(x) - 1)],  # rows, k moves
    "conv": _convolve(functional.conv2d),  # (B, C, H, W) and torch's weights
    "conv_transpose": _convolve(functional.conv_transpose2d),
}


class Expression(NDArrayOperatorsMixin):
    """An array that remembers how it was computed from the reader's inputs.

    It has a value, the one at which the figure opens, but no branch may depend on it: turning an
    expression into a number, a truth value or a plain array raises TypeError.

    Attributes:
        name: an operation, or ``"constant"`` or ``"input"``.
        of: the operation's arguments.
        options: what else the operation needs.
        value: float64 array.
    """

    def __init__(
        self, name: str, of: Sequence[Expression], value: np.ndarray, **options: Any
    ) -> None:
        self.name, self.of, self.options = name, tuple(of), options
        self.value = np.asarray(value, dtype=float)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, which never changes."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.value.size

    @property
    def T(self) -> Expression:
        """The transpose."""
        return np.transpose(self)

    def __len__(self) -> int:  # noqa: D105
        return len(self.value) if self.ndim else self._no_value()

    def __iter__(self):  # noqa: D105
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:  # noqa: D105
        return f"Expression({self.name}, shape={self.shape})"

    def __getitem__(self, key: Any) -> Expression:  # noqa: D105
        index = np.arange(self.size).reshape(self.shape)[key]
        return apply("gather", self, index=np.asarray(index))

    def reshape(self, *shape: Any) -> Expression:
        """As NumPy's."""
        shape = shape[0] if len(shape) == 1 and np.ndim(shape[0]) else shape
        return apply("reshape", self, shape=np.empty(self.shape).reshape(shape).shape)

    def ravel(self) -> Expression:
        """As NumPy's."""
        return self.reshape(-1)

    def sum(self, axis: int | None = None) -> Expression:
        """As NumPy's, over one axis or all."""
        return np.sum(self, axis=axis)

    def mean(self, axis: int | None = None) -> Expression:
        """As NumPy's, over one axis or all."""
        return np.mean(self, axis=axis)

    def max(self, axis: int | None = None) -> Expression:
        """As NumPy's, over one axis or all."""
        return np.max(self, axis=axis)

    def __format__(self, form: str) -> str:
        """Stand in an f-string: the page puts the number there, with .2f, +.1f, .3g, .0% or d."""
        if self.size != 1:
            raise TypeError(f"text can show one number; the expression has shape {self.shape}.")
        if not re.fullmatch(r"\+?(\.\d+[fg%])?|d", form):
            raise ValueError(f"a live number is written with .2f, +.1f, .3g, .0% or d; got {form}.")
        _written.append(self.reshape(()))
        return f"\x02{len(_written) - 1}|{form}\x03"

    def _no_value(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "a live figure's inputs have no fixed value: use NumPy functions of them (the list is "
            "in vaelite.book.live), np.where for if, pick for indexing."
        )

    __bool__ = __float__ = __int__ = __index__ = __array__ = _no_value

    def __array_ufunc__(  # noqa: D105
        self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any
    ) -> Any:
        name = ufunc.__name__
        if method != "__call__" or options:
            raise TypeError(f"a live figure cannot repeat np.{name} with {method} or {options}.")
        if name == "positive":
            return inputs[0]
        if name == "matmul":
            return _matmul(*inputs)
        if name not in UNARY and name not in BINARY:
            raise TypeError(f"a live figure cannot repeat np.{name}; vaelite.book.live lists what.")
        return apply(name, *inputs)

    def __array_function__(  # noqa: D105
        self, function: Callable, _types: Any, of: Any, options: Any
    ) -> Any:
        if function not in FUNCTIONS:
            raise TypeError(
                f"a live figure cannot repeat np.{function.__name__}; "
                "vaelite.book.live lists what it can."
            )
        return FUNCTIONS[function](*of, **options)


_written: list[Expression] = []  # the numbers in the texts of the figure being traced
_MARK = re.compile("\x02(\\d+)\\|([^\x03]*)\x03")


def written(text: str, *, at_start: bool = False) -> list[Any]:
    """Split the text of the figure being traced where it holds expressions.

    Returns:
        Strings, and for each expression its pair with the format, or the number as it reads at the
        start.
    """
    pieces = _MARK.split(text)  # text, number, form, text, ...
    found: list[Any] = [pieces[0]]
    for key, form, after in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        expression = _written[int(key)]
        value = float(expression.value)
        shown = number(round(value) if form == "d" else value, form)
        found += [shown if at_start else (expression, form), after]
    return found


def forget() -> None:
    """Begin the trace of another figure."""
    _written.clear()


def recompute(expression: Expression, inputs: dict[int, np.ndarray]) -> np.ndarray:
    """Compute an expression for other inputs, given by their number."""
    known: dict[int, np.ndarray] = {}

    def value(node: Expression) -> np.ndarray:
        if id(node) not in known:
            if node.name == "input":
                known[id(node)] = inputs.get(node.options["number"], node.value)
            elif node.name == "constant":
                known[id(node)] = node.value
            else:
                known[id(node)] = OPERATIONS[node.name](*map(value, node.of), **node.options)
        return known[id(node)]

    with np.errstate(all="ignore"):
        return value(expression)


def as_expression(x: Any) -> Expression:
    """Return ``x`` itself, or a constant."""
    return x if isinstance(x, Expression) else Expression("constant", (), x)


def apply(name: str, *of: Any, **options: Any) -> Expression:
    """Return the expression of an operation, with its value."""
    arguments = [as_expression(x) for x in of]
    with np.errstate(all="ignore"):
        value = OPERATIONS[name](*(x.value for x in arguments), **options)
    return Expression(name, arguments, value, **options)


def value_of(x: Any) -> Any:
    """Return an expression's value at the start, or ``x`` itself."""
    return x.value if isinstance(x, Expression) else x


def _matmul(a: Any, b: Any) -> Expression:
    a, b = as_expression(a), as_expression(b)
    if b.ndim == 1:
        product = _matmul(a, b.reshape(-1, 1))
        return product.reshape(product.shape[:-1])
    if a.ndim < 1 or b.ndim != 2 or a.shape[-1] != b.shape[0]:
        raise ValueError(f"@ needs (..., N) and (N, M) or (N,); got {a.shape} and {b.shape}.")
    return apply("matmul", a, b)


def _concatenate(parts: Sequence[Any], axis: int = 0) -> Expression:
    parts = [as_expression(part) for part in parts]
    ends = np.cumsum([0, *(part.size for part in parts)])
    places = [
        np.arange(start, start + part.size).reshape(part.shape)
        for start, part in zip(ends[:-1], parts, strict=True)
    ]
    return apply("gather", apply("join", *parts), index=np.concatenate(places, axis=axis))


def _stack(parts: Sequence[Any], axis: int = 0) -> Expression:
    parts = [as_expression(part) for part in parts]
    joined = _concatenate([part.reshape(1, *part.shape) for part in parts])
    return joined if axis == 0 else _moveaxis(joined, 0, axis)


def _moveaxis(x: Expression, source: int, destination: int) -> Expression:
    return apply("gather", x, index=np.moveaxis(_places(x), source, destination))


def _places(x: Expression) -> np.ndarray:
    return np.arange(x.size).reshape(x.shape)


def _reduce(name: str) -> Callable:
    def reduce(x: Expression, axis: int | None = None) -> Expression:
        if axis is None:
            return apply(name, x.reshape(-1))
        return apply(name, x if axis in (-1, x.ndim - 1) else _moveaxis(x, axis, -1))

    return reduce


def _mean(x: Expression, axis: int | None = None) -> Expression:
    return np.sum(x, axis=axis) / (x.size if axis is None else x.shape[axis])


def _where(condition: Any, a: Any, b: Any) -> Expression:
    return condition * a + (1.0 - condition) * b


FUNCTIONS: dict[Callable, Callable] = {
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.sum: _reduce("sum"),
    np.max: _reduce("max"),
    np.mean: _mean,
    np.where: _where,
    np.clip: lambda x, low, high: np.minimum(np.maximum(x, low), high),
    np.reshape: lambda x, shape: x.reshape(shape),
    np.ravel: lambda x: x.reshape(-1),
    np.moveaxis: _moveaxis,
    np.transpose: lambda x, axes=None: apply("gather", x, index=np.transpose(_places(x), axes)),
    np.outer: lambda a, b: as_expression(a).reshape(-1, 1) * as_expression(b).reshape(1, -1),
    np.zeros_like: lambda x: np.zeros(x.shape),
    np.ones_like: lambda x: np.ones(x.shape),
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
}


def sigmoid(x: Any) -> Any:
    r""":math:`1 / (1 + e^{-x})`, of an array or an expression."""
    return apply("sigmoid", x) if isinstance(x, Expression) else special.expit(x)


def softplus(x: Any) -> Any:
    r""":math:`\ln(1 + e^x)`, of an array or an expression."""
    return apply("softplus", x) if isinstance(x, Expression) else np.logaddexp(x, 0.0)


def softmax(x: Any) -> Any:
    r""":math:`e^{x_i} / \sum_j e^{x_j}` over the last axis, of an array or an expression."""
    powers = np.exp(x - np.max(x, axis=-1).reshape(*x.shape[:-1], 1))
    return powers / np.sum(powers, axis=-1).reshape(*x.shape[:-1], 1)


def pick(options: Any, k: Any) -> Any:
    """Return ``options[k]`` where the reader's input decides: ``k`` is rounded and clipped.

    Args:
        options: ``(K, ...)``, or a sequence of K arrays or expressions of one shape.
        k: one number, such as a string control's index.
    """
    if any(isinstance(part, Expression) for part in options):
        options = np.stack(list(options))
    if isinstance(k, Expression) or isinstance(options, Expression):
        return apply("take", options, k)
    options = np.asarray(options)
    return OPERATIONS["take"](options, np.asarray(k))


def product_of_experts(mean: Any, log_var: Any, present: Any) -> tuple[Any, Any]:
    r"""Multiply diagonal Gaussians with a standard normal, leaving some of them out.

    .. math::
        \sigma^{-2} = 1 + \sum_g m_g \sigma_g^{-2}, \qquad
        \mu = \sigma^2 \sum_g m_g \sigma_g^{-2} \mu_g

    Args:
        mean: ``(G, D)``, array or expression: one row an expert.
        log_var: ``(G, D)``.
        present: ``(G,)``, the weights m: 1 for an expert that is asked, 0 for one that is not.

    Returns:
        Mean and log variance of the product, each ``(D,)``.
    """
    precision = present.reshape(-1, 1) * np.exp(-log_var)
    total = 1.0 + np.sum(precision, axis=0)
    return np.sum(precision * mean, axis=0) / total, -np.log(total)


_CIRCLE = np.linspace(0, 2 * math.pi, 49)


def ellipse(mean: Any, log_var: Any, deviations: float = 2.0) -> tuple[Any, Any]:
    """Return x and y, each ``(49,)``, of the contour of a diagonal Gaussian in the plane.

    Args:
        mean: ``(2,)``, array or expression.
        log_var: ``(2,)``.
        deviations: how many standard deviations from the mean it lies.
    """
    reach = deviations * np.exp(0.5 * log_var)
    return mean[0] + reach[0] * np.cos(_CIRCLE), mean[1] + reach[1] * np.sin(_CIRCLE)


class Network:
    """A trained network that a live figure asks, in the page or in the kernel.

    Applied to an array it asks torch.  Applied to an expression it lays the network out as
    operations, whose weights travel to the page as half floats.

    Args:
        module: ``nn.Sequential`` (also :class:`vaelite.nets.MLP` and
            :class:`vaelite.nets.ConvEncoder`) of linear layers, convolutions, transposed
            convolutions, ReLU, leaky ReLU, tanh, sigmoid, softplus, flatten, unflatten, identity;
            :class:`vaelite.nets.ConvDecoder`; or :class:`vaelite.nets.GaussianEncoder` round one
            of these, which returns mean and log variance.  It is read when the figure is made.

    Raises:
        TypeError: if a layer is none of these.
        ValueError: if its weights would take more than 60 kB on the page (22,500 weights), or
            a convolution is dilated, grouped or padded in another way than evenly with zeros.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        _check(module)
        weights = sum(parameter.numel() for parameter in module.parameters())
        size = math.ceil(weights * 2 * 4 / 3)
        if size > MAX_NETWORK_BYTES:
            raise ValueError(
                f"the network has {weights:,} weights, {size // 1000} kB on the page; a live one "
                f"has at most {MAX_NETWORK_BYTES * 3 // 8:,}."
            )
        self._constants: dict[int, Expression] = {}

    def __call__(self, x: Any) -> Any:
        """Apply the network.

        Args:
            x: one datum, or with linear layers a batch of them; array or expression.

        Returns:
            What the module returns for ``x``; mean and log variance from a Gaussian encoder.
        """
        if isinstance(x, Expression):
            result = self._lay_out(self.module, x.reshape(1, *x.shape))
            parts = result if isinstance(result, tuple) else (result,)
            parts = tuple(part.reshape(part.shape[1:]) for part in parts)
        else:
            first = next(self.module.parameters(), torch.zeros(()))
            with torch.no_grad():
                given = torch.as_tensor(np.asarray(x)).to(first.device, first.dtype)
                result = self.module(given[None])
            parts = result if isinstance(result, tuple) else (result,)
            parts = tuple(part[0].double().cpu().numpy() for part in parts)
        return parts if isinstance(result, tuple) else parts[0]

    def _weight(self, tensor: torch.Tensor, transform: Callable = lambda weight: weight) -> Any:
        """One constant for each tensor, however often the network is asked."""
        if id(tensor) not in self._constants:
            value = transform(tensor.detach().double().cpu().numpy())
            self._constants[id(tensor)] = Expression("constant", (), value, half=True)
        return self._constants[id(tensor)]

    def _linear(self, layer: nn.Linear, x: Expression) -> Expression:
        y = _matmul(x, self._weight(layer.weight, np.transpose))
        return y if layer.bias is None else y + self._weight(layer.bias)

    def _conv(self, layer: nn.Conv2d | nn.ConvTranspose2d, x: Expression) -> Expression:
        name = "conv" if isinstance(layer, nn.Conv2d) else "conv_transpose"
        options = {"stride": layer.stride[0], "padding": layer.padding[0]}
        y = apply(name, x, self._weight(layer.weight), **options)
        if layer.bias is None:
            return y
        return y + self._weight(layer.bias, lambda bias: bias[:, None, None])

    def _lay_out(self, module: nn.Module, x: Expression) -> Any:
        match module:
            case nn.Sequential():
                for layer in module:
                    x = self._lay_out(layer, x)
                return x
            case GaussianEncoder():
                y = self._lay_out(module.net, x)
                return y[..., : y.shape[-1] // 2], y[..., y.shape[-1] // 2 :]
            case ConvDecoder():
                codes = x.reshape(-1, x.shape[-1])
                h = _relu(self._linear(module.expand, codes)).reshape(-1, *module.start)
                h = _relu(h + self._conv(module.refine, h))
                skip = self._linear(module.skip, codes).reshape(len(codes), -1, 1, 1)
                h = self._conv(module.paint, _relu(self._conv(module.upsample, h) + skip))
                return h.reshape(*x.shape[:-1], *h.shape[1:])
            case nn.Linear():
                return self._linear(module, x)
            case nn.Conv2d() | nn.ConvTranspose2d():
                return self._conv(module, x)
            case nn.Flatten():
                return x.reshape(
                    *torch.empty(x.shape, device="meta")
                    .flatten(module.start_dim, module.end_dim)
                    .shape
                )
            case nn.Unflatten():
                return x.reshape(
                    *torch.empty(x.shape, device="meta")
                    .unflatten(module.dim, module.unflattened_size)
                    .shape
                )
            case nn.ReLU():
                return _relu(x)
            case nn.LeakyReLU():
                return np.maximum(x, 0.0) + module.negative_slope * np.minimum(x, 0.0)
            case nn.Softplus():
                return softplus(module.beta * x) / module.beta
            case nn.Tanh():
                return np.tanh(x)
            case nn.Sigmoid():
                return sigmoid(x)
            case _:  # nn.Identity, after _check
                return x


def _relu(x: Expression) -> Expression:
    return np.maximum(x, 0.0)


_KNOWN = (nn.Linear, nn.Flatten, nn.Unflatten, nn.ReLU, nn.LeakyReLU, nn.Softplus, nn.Tanh)
_KNOWN += (nn.Sigmoid, nn.Identity, ConvDecoder)


def _check(module: nn.Module) -> None:
    match module:
        case nn.Sequential():
            for layer in module:
                _check(layer)
        case GaussianEncoder():
            _check(module.net)
        case nn.Conv2d() | nn.ConvTranspose2d():
            even = all(
                isinstance(size, tuple) and len(set(size)) == 1
                for size in (module.stride, module.padding)
            )
            extra = getattr(module, "output_padding", (0, 0))
            plain = module.groups == 1 and set(module.dilation) == {1} and set(extra) == {0}
            if not (even and plain and module.padding_mode == "zeros"):
                raise ValueError(
                    "a live network's convolutions have one stride, one padding with zeros, no "
                    f"groups and no dilation; got {module}."
                )
        case _ if not isinstance(module, _KNOWN):
            raise TypeError(f"a page cannot run a {type(module).__name__}; Network lists what.")
