"""The pickle stream inside a torch file (`data.pkl`): read by a small machine that runs none of it, and written.

Python's unpickler imports and calls whatever a file names, and its memo can be driven to huge allocations. A state
dict needs a few dozen names and half of the opcodes, so this machine has only those: a name from the file is looked
up in a table of our own functions, and anything else is refused by name. A tensor comes out as a `StridedTensor`,
which says where in which storage it lies; no storage is touched here.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

import ml_dtypes
import numpy as np

from zoe_jax.convert.errors import quoted

MAX_STREAM_BYTES = 8 << 20
"""A model of 1,000 tensors needs about 0.25 MB, three times that with its optimizer."""
MAX_OPCODES = 1 << 20
"""Every opcode adds at most one object or memo entry, so this bounds stack and memo: about 150 MB at worst."""
MAX_OPEN_MARKS = 64
"""Marks are nested as deep as the containers being built; a state dict needs four."""

_T = TypeVar("_T")

STORAGE_DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
"""torch's name of a storage, and the type of its elements."""


class PickleStreamError(ValueError):
    """The stream is damaged, or does something that no state dict needs."""


@dataclass(frozen=True)
class Storage:
    """A run of `n_elements` equal elements, in the archive's entry `data/<key>`."""

    key: str
    dtype: np.dtype
    n_elements: int


@dataclass(frozen=True)
class StridedTensor:
    """Where a tensor lies: `offset` and `strides` count elements of its storage. Nothing is checked but the types."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Rebuilder:
    """What a name of the file that may be called stands for here."""

    name: str
    build: Callable[..., object]
    n_arguments: range


def _rebuild_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object = False,
    backward_hooks: object = None,
    metadata: object = None,
) -> StridedTensor:
    """torch._utils._rebuild_tensor_v2; `metadata` is set for lazily negated and conjugated tensors only."""
    if metadata or not (isinstance(storage, Storage) and _is_size(offset) and _is_sizes(shape) and _is_sizes(strides)):
        raise PickleStreamError("describes a tensor by something other than storage, offset, sizes and strides")
    return StridedTensor(storage, offset, shape, strides)


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int


def _is_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(map(_is_size, value))


def _rebuild_dict(pairs: object = ()) -> dict:
    rebuilt: dict = {}
    for pair in _as_list(pairs):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise PickleStreamError("makes an OrderedDict of something other than pairs")
        _set_item(rebuilt, *pair)
    return rebuilt


def _as_list(items: object = ()) -> list:
    if not isinstance(items, (list, tuple)):
        raise PickleStreamError("makes a sequence of something that is none")
    return list(items)


def _set_item(target: dict, key: object, value: object) -> None:
    # Only these are hashed: the hash of a hostile tuple of tuples recurses until the process dies.
    if not isinstance(key, (str, int)):
        raise PickleStreamError(f"has a dictionary key of type {type(key).__name__} instead of str or int")
    if key in target:
        raise PickleStreamError(f"holds {quoted(key)} twice in one dictionary")
    target[key] = value


# A torch type that may stand among the ignored entries (a configuration, an optimizer) and that nothing here uses.
_OPAQUE = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_ALLOWED: dict[str, object] = {
    **{f"torch.{name}": dtype for name, dtype in STORAGE_DTYPES.items()},
    **{f"torch.{name}": name for name in _OPAQUE},
    "torch._utils._rebuild_tensor_v2": _Rebuilder("_rebuild_tensor_v2", _rebuild_tensor, range(4, 8)),
    "torch._utils._rebuild_parameter": _Rebuilder("_rebuild_parameter", lambda tensor, *ignored: tensor, range(3, 4)),
    "torch.Size": _Rebuilder("Size", lambda sizes: tuple(_as_list(sizes)), range(1, 2)),
    "torch.device": _Rebuilder("device", lambda *ignored: None, range(1, 3)),
    "collections.OrderedDict": _Rebuilder("OrderedDict", _rebuild_dict, range(2)),
    # A set would hash what it holds; nothing here reads one, so that a list does.
    "builtins.set": _Rebuilder("set", _as_list, range(2)),
    "__builtin__.set": _Rebuilder("set", _as_list, range(2)),
}


def read_pickle(stream: bytes) -> object:
    """The object of a pickle stream, of dict, list, tuple, numbers, str, bytes, None and `StridedTensor`.

    OrderedDicts become dicts (their attributes, such as `_metadata`, are dropped), sets become lists, parameters
    their tensors.

    Raises:
        PickleStreamError: an opcode or a name that is not on the list, a dictionary with one key twice, a damaged or
            oversized stream.
    """
    if len(stream) > MAX_STREAM_BYTES:
        raise PickleStreamError(f"is longer than {MAX_STREAM_BYTES} bytes, which no state dict needs")
    machine = _Machine()
    try:
        end = -1
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise PickleStreamError(f"has more than {MAX_OPCODES} operations")
            machine.step(opcode.name, argument)
            end = position or 0
    except PickleStreamError:
        raise
    except (ValueError, EOFError, OverflowError, struct.error) as error:  # what genops raises over damaged bytes
        raise PickleStreamError(f"is damaged ({error})") from None
    if end != len(stream) - 1:
        raise PickleStreamError("goes on after its end")
    return machine.result()


class _Machine:
    """The stack, the memo and the open marks of a pickle being read."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def result(self) -> object:
        if len(self._stack) != 1 or self._marks:
            raise PickleStreamError("leaves its stack unfinished")
        return self._stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        """Carries out one operation; the names of the opcodes are those of `pickletools`."""
        match opcode:
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self._push(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
                self._push(argument)
            case "NONE":
                self._push(None)
            case "NEWTRUE" | "NEWFALSE":
                self._push(opcode == "NEWTRUE")
            case "MARK":
                if len(self._marks) == MAX_OPEN_MARKS:
                    raise PickleStreamError(f"nests its containers more than {MAX_OPEN_MARKS} deep")
                self._marks.append(len(self._stack))
            case "EMPTY_TUPLE":
                self._push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._push(tuple(self._pop() for _ in range(int(opcode[-1])))[::-1])
            case "TUPLE":
                self._push(tuple(self._pop_to_mark()))
            case "EMPTY_LIST" | "EMPTY_SET":
                self._push([])
            case "APPEND":
                item = self._pop()
                self._top(list).append(item)
            case "APPENDS" | "ADDITEMS":
                items = self._pop_to_mark()
                self._top(list).extend(items)
            case "EMPTY_DICT":
                self._push({})
            case "SETITEM":
                value, key = self._pop(), self._pop()
                _set_item(self._top(dict), key, value)
            case "SETITEMS":
                items = self._pop_to_mark()
                if len(items) % 2:
                    raise PickleStreamError("has a dictionary key without a value")
                for key, value in zip(items[::2], items[1::2], strict=True):
                    _set_item(self._top(dict), key, value)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._top(object)
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._top(object)
            case "BINGET" | "LONG_BINGET":
                if argument not in self._memo:
                    raise PickleStreamError(f"recalls an object {argument} that it never stored")
                self._push(self._memo[argument])
            case "GLOBAL":  # pickletools joins module and name by a space
                self._push(_allowed(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                name, module = self._pop(), self._pop()
                self._push(_allowed(f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?"))
            case "REDUCE":
                arguments, callee = self._pop(), self._pop()
                self._push(_call(callee, arguments))
            case "BUILD":  # the attributes of an OrderedDict: its _metadata
                self._pop()
                self._top(dict)
            case "BINPERSID":
                self._push(_storage(self._pop()))
            case "PROTO":
                if argument not in (2, 3, 4, 5):
                    raise PickleStreamError(f"uses the pickle protocol {argument} instead of 2 to 5")
            case "FRAME" | "STOP":
                pass
            case _:
                raise PickleStreamError(f"uses the operation {opcode}, which no state dict needs")

    def _push(self, item: object) -> None:
        self._stack.append(item)

    def _pop(self) -> object:
        self._top(object)
        return self._stack.pop()

    def _top(self, kind: type[_T]) -> _T:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise PickleStreamError("takes more from its stack than it put there")
        if not isinstance(item := self._stack[-1], kind):
            raise PickleStreamError(f"fills a {type(item).__name__} as if it were a {kind.__name__}")
        return item

    def _pop_to_mark(self) -> list[object]:
        if not self._marks:
            raise PickleStreamError("closes a container that it never opened")
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items


def _allowed(name: str) -> object:
    if name not in _ALLOWED:
        raise PickleStreamError(f"asks for {quoted(name)}, which no state dict needs; save the state dict alone")
    return _ALLOWED[name]


def _call(callee: object, arguments: object) -> object:
    if not isinstance(callee, _Rebuilder) or not isinstance(arguments, tuple):
        raise PickleStreamError("calls something that cannot be called")
    if len(arguments) not in callee.n_arguments:
        raise PickleStreamError(f"calls {callee.name} with {len(arguments)} arguments, which it does not take")
    return callee.build(*arguments)


def _storage(identity: object) -> Storage:
    match identity:
        case ("storage", np.dtype() as dtype, str() as key, str(), int() as n_elements):
            return Storage(key, dtype, n_elements)
        case _:
            raise PickleStreamError("refers to something other than a storage of a known type")


def write_pickle(tensors: Iterable[tuple[str, StridedTensor]], wrapper: str = "") -> bytes:
    """The stream of `OrderedDict(tensors)`, or of `{wrapper: OrderedDict(tensors)}`, for torch to read.

    Protocol 2 without a memo; torch reads it also with `weights_only=True`.
    """
    stream = io.BytesIO()
    stream.write(b"\x80\x02" + (b"}" + _text(wrapper) if wrapper else b""))
    stream.write(b"ccollections\nOrderedDict\n)R(")
    for name, tensor in tensors:
        stream.write(_text(name) + _tensor(tensor))
    stream.write(b"u" + (b"s" if wrapper else b"") + b".")
    return stream.getvalue()


def _tensor(tensor: StridedTensor) -> bytes:
    names = {dtype: name.encode() for name, dtype in STORAGE_DTYPES.items()}
    storage = tensor.storage
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + (b"(" + _text("storage") + b"ctorch\n" + names[storage.dtype] + b"\n")
        + (_text(storage.key) + _text("cpu") + _integer(storage.n_elements) + b"tQ")
        + (_integer(tensor.offset) + _integers(tensor.shape) + _integers(tensor.strides))
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little")  # signed, so that a top bit is never set
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
