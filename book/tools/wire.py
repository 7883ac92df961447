"""What a sealed submission and the process that grades it say to each other, and nothing else.

Two peers share two pipes.  A message is one line of JSON; arrays and tensors travel inside it as
type, shape and base64, functions as numbers that only their owner can resolve.  Nothing is ever
unpickled.  Either side may call a function of the other, also while it answers a call, and
gradients pass through: a tensor that asks for its gradient is answered by one whose ``backward``
asks the other side.
"""

from __future__ import annotations

import base64
import inspect
import json
import os
import select
import sys
import time

import numpy as np

torch = sys.modules.get("torch")  # large; where an assignment does not name it nobody needs it

KINDS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
MAX_MESSAGE = 200_000_000
MAX_PARTS = 10_000_000  # lists and entries of lists; each takes many times its length in memory
MAX_DEPTH = 12
GRACE = 3.0  # seconds between the interruption and the end


class Silence(Exception):
    """The other side ended, broke the rules, or did not answer in time."""


class Opaque:
    """A value of the other side that cannot travel; only the name of its type is known."""

    def __init__(self, kind: str):
        self.kind = kind
        self.__class__ = type(kind, (Opaque,), {})


def is_tensor(value) -> bool:
    """Whether a value is a tensor, where there is torch."""
    return torch is not None and isinstance(value, torch.Tensor)


class Foreign(Exception):
    """What a function of the other side raised; ``line`` is the line of its own that did."""

    line = ""


class Peer:
    """One end of a pair of pipes.

    Args:
        reader: the file descriptor to read from.
        writer: the file descriptor to write to.
    """

    def __init__(self, reader: int, writer: int):
        self.reader, self.writer = reader, writer
        self.deadline: float | None = None
        self.functions: dict[int, object] = {}
        self.graphs: dict[int, tuple[list, list]] = {}
        self.requests: dict[str, object] = {}
        self._buffer = b""

    # --- Messages --------------------------------------------------------------------------------

    def send(self, message: dict) -> None:
        """Write a message; raise ``Silence`` where nobody reads it."""
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                _, ready, _ = select.select([], [self.writer], [], self._left())
                if not ready:
                    raise Silence("no answer in time")
                data = data[os.write(self.writer, data[:65536]) :]
        except OSError:
            raise Silence("the process ended") from None

    def receive(self) -> dict:
        """Read a message; raise ``Silence`` where none comes in time, or none that is one."""
        self._left()  # a flood of messages is always ready
        chunks = [self._buffer]
        size = len(self._buffer)
        while b"\n" not in chunks[-1]:
            ready, _, _ = select.select([self.reader], [], [], self._left())
            if not ready:
                raise Silence("no answer in time")
            chunk = os.read(self.reader, 1 << 20)
            size += len(chunk)
            if not chunk:
                raise Silence("the process ended")
            if size > MAX_MESSAGE:
                raise Silence(f"an answer is larger than {MAX_MESSAGE:,} bytes")
            chunks.append(chunk)
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        if sum(line.count(mark) for mark in b"[{,") > MAX_PARTS:
            raise Silence(f"an answer has more than {MAX_PARTS:,} parts")
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise Silence("an answer is not a message") from None
        return message

    def _left(self) -> float | None:
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Silence("no answer in time")
        return left

    def request(self, message: dict, seconds: float | None = None) -> dict:
        """Ask, answer what the other side asks meanwhile, and return the answer.

        After ``seconds`` the other side interrupts itself; where it does not, silence follows.
        A request that is made while another is answered ends with that one.
        """
        outer = self.deadline
        if seconds is not None:
            message = {**message, "seconds": seconds}
            end = time.monotonic() + seconds + GRACE
            self.deadline = end if outer is None else min(end, outer)
        try:
            self.send(message)
            while True:
                answer = self.receive()
                if "ask" not in answer:
                    return answer
                self.send(self.answer(answer))
        finally:
            self.deadline = outer

    def answer(self, message: dict) -> dict:
        """Do what the other side asked for; return what to send back."""
        try:
            handler = {"call": self._called, "backward": self._backward, **self.requests}
            return handler[message["ask"]](message)
        except Silence:
            raise
        except BaseException as error:
            return {
                "error": type(error).__name__,
                "text": str(error)[:2000],
                "line": line_of(error),
            }

    # --- Calls and gradients ---------------------------------------------------------------------

    def _called(self, message: dict) -> dict:
        leaves: list = []
        arguments = self.unpack(message["arguments"], leaves)
        # No leaves for the function: a change in place is to be seen, not to raise.
        arguments = _replace(arguments, {id(leaf): leaf.clone() for leaf in leaves})
        outputs: list = []
        result = self.functions[message["function"]](*arguments)
        graph = len(self.graphs)
        answer = {"graph": graph, "result": self.pack(result, outputs)}
        # What the function did to its arguments is the caller's to know.
        answer["arguments"] = self.pack([_frozen(argument) for argument in arguments], [])
        self.graphs[graph] = (leaves, outputs)
        return answer

    def _backward(self, message: dict) -> dict:
        leaves, outputs = self.graphs[message["graph"]]
        slopes = self.unpack(message["slopes"], [])
        used = [(o, s) for o, s in zip(outputs, slopes, strict=True) if s is not None]
        found = torch.autograd.grad(
            [output for output, _ in used],
            leaves,
            [slope.to(output.dtype) for output, slope in used],
            retain_graph=True,
            allow_unused=True,
        )
        return {"slopes": self.pack(list(found), [])}

    def call(self, function: int, arguments: tuple) -> object:
        """Call a function of the other side, with gradients."""
        asking: list = []
        packed = self.pack(list(arguments), asking)
        answer = self.request({"ask": "call", "function": function, "arguments": packed})
        raise_error(answer)
        values: list = []
        result = self.unpack(answer["result"], values)
        _take_over(arguments, self.unpack(answer["arguments"], []))
        if not values or not asking:
            return result
        linked = _Link.apply(self, answer["graph"], [value.detach() for value in values], *asking)
        return _replace(result, dict(zip(map(id, values), linked, strict=True)))

    # --- Values ----------------------------------------------------------------------------------

    def pack(self, value, graph: list, depth: int = 0):
        """Write a value as JSON; tensors that ask for gradients are appended to ``graph``."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value if type(value) in (type(None), bool, int, float, str) else float(value)
        if value is ...:
            return {"ellipsis": True}
        if depth > MAX_DEPTH:
            return {"other": "deeply nested value"}
        if is_tensor(value):
            array = np.ascontiguousarray(value.detach().cpu().numpy())
            packed = {"tensor": _pack_array(array, value.shape)}
            if value.requires_grad:
                packed["graph"] = len(graph)
                graph.append(value)
            return packed
        if isinstance(value, np.generic):
            value = value.item() if value.dtype.kind in "biuf" else str(value)
            return self.pack(value, graph, depth + 1)
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            if array.dtype.str[1:] not in KINDS:
                return {"other": f"array of {array.dtype}"}
            return {"array": _pack_array(array, np.shape(value))}
        if isinstance(value, (list, tuple, range)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.pack(part, graph, depth + 1) for part in value]}
        if callable(value):
            number = len(self.functions)
            self.functions[number] = value
            return {"function": number, "parameters": _parameters(value)}
        return {"other": type(value).__name__}

    def unpack(self, packed, graph: list):
        """Read what ``pack`` wrote; tensors that ask for gradients are appended to ``graph``."""
        if not isinstance(packed, dict):
            return packed
        if "tensor" in packed:
            tensor = torch.from_numpy(_unpack_array(packed["tensor"]))
            if "graph" not in packed or not tensor.is_floating_point():
                return tensor
            graph.append(tensor.requires_grad_())
            return tensor
        if "array" in packed:
            return _unpack_array(packed["array"])
        if "list" in packed:
            return [self.unpack(part, graph) for part in packed["list"]]
        if "tuple" in packed:
            return tuple(self.unpack(part, graph) for part in packed["tuple"])
        if "function" in packed:
            return RemoteFunction(self, int(packed["function"]), packed.get("parameters") or [])
        if "ellipsis" in packed:
            return ...
        return Opaque(str(packed.get("other", "value"))[:80])


class RemoteFunction:
    """A function of the other side."""

    def __init__(self, peer: Peer, number: int, parameters: list):
        self.peer, self.number = peer, number
        self.__parameters__ = [str(name)[:80] for name in parameters]

    def __call__(self, *arguments):
        """Call it."""
        return self.peer.call(self.number, arguments)


class _Link(torch.autograd.Function if torch else object):
    """Tensors of an answer, tied to the arguments by the other side's graph."""

    @staticmethod
    def forward(ctx, peer, graph, values, *asking):
        ctx.peer, ctx.graph = peer, graph
        return tuple(value.clone() for value in values)

    @staticmethod
    def backward(ctx, *slopes):
        packed = ctx.peer.pack([s if s is None else s.detach() for s in slopes], [])
        answer = ctx.peer.request({"ask": "backward", "graph": ctx.graph, "slopes": packed})
        raise_error(answer)
        return (None, None, None, *ctx.peer.unpack(answer["slopes"], []))


def raise_error(answer: dict) -> None:
    """Raise here what the other side raised, under the same name."""
    if "error" in answer:
        name = str(answer["error"])[:80]
        error = type(name if name.isidentifier() else "Error", (Foreign,), {})
        raised = error(str(answer.get("text", ""))[:2000])
        raised.line = str(answer.get("line", ""))[:200]
        raise raised


def line_of(error: BaseException) -> str:
    """Return the last line of a notebook's cells in a traceback."""
    import linecache
    import traceback

    line = getattr(error, "line", "")
    for frame, number in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if "ipykernel_" in path or path.startswith("<ipython-input"):
            line = linecache.getline(path, number).strip() or line
    return line if isinstance(line, str) else ""


def _parameters(function) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _pack_array(array: np.ndarray, shape) -> list:
    kind = array.dtype.str[1:]
    if kind not in KINDS:
        raise TypeError(f"an array of {array.dtype} cannot be graded")
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return [kind, list(shape), base64.b64encode(data).decode()]


def _unpack_array(packed: list) -> np.ndarray:
    try:
        kind, shape, data = packed
        if kind not in KINDS or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError
        flat = np.frombuffer(base64.b64decode(data), dtype=np.dtype("<" + kind))
        return flat.reshape(shape).copy()
    except (TypeError, ValueError):
        raise Silence("an answer holds an array that is none") from None


def _frozen(argument):
    """Return an argument as it is now, functions left out."""
    if is_tensor(argument):
        return argument.detach()
    return None if callable(argument) else argument


def _take_over(arguments, now) -> None:
    """Let the caller's arguments become what the other side made of them."""
    for mine, theirs in zip(arguments, now, strict=True):
        if is_tensor(mine) and is_tensor(theirs):
            if mine.shape == theirs.shape and not torch.equal(mine, theirs):
                with torch.no_grad():
                    mine.copy_(theirs)
        elif isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
            if mine.shape == theirs.shape and not np.array_equal(mine, theirs, equal_nan=True):
                mine[...] = theirs
        elif isinstance(mine, list) and isinstance(theirs, list):
            mine[:] = theirs


def _replace(value, by: dict):
    if isinstance(value, (list, tuple)):
        return type(value)(_replace(part, by) for part in value)
    return by.get(id(value), value)
