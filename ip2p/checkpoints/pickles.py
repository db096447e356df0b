"""What is in a torch file (`.ckpt`, `.pt`, `.bin`), read without torch and without running anything of it.

Such a file holds a pickle, which is a program. This reads the program's steps one by one and builds nothing but strings, numbers,
lists, dictionaries and descriptions of tensors; every other thing that it names becomes one value that does nothing. Both formats
are known: the zip archive of torch 1.6 and later, and the pickles in a row of the releases before. Time and memory are bounded by
`MAX_PICKLE` and `MAX_STEPS`.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .header import BITS, Tensor, sizes

MAX_PICKLE = 32_000_000  # bytes; SD 1.x's with EMA weights has half a million
MAX_STEPS = 1_000_000  # of the pickle's program; SD 1.x's with EMA weights and an optimizer has 200,000
MAX_NESTED = 8  # dictionaries named `state_dict`, one in the other
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before torch 1.6
STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
    "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
    "UntypedStorage": "U8",
}  # fmt: skip
TYPES = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "uint16": "U16", "uint32": "U32", "uint64": "U64"}
UNKNOWN = "?"


class Opaque:
    """Stands for everything that is no part of a description."""


OPAQUE = Opaque()


class Global(NamedTuple):
    """A class or function that the pickle names."""

    module: str
    name: str


class Storage(NamedTuple):
    """A run of numbers in the file. key: its name there; first, length: the part that is meant, in numbers."""

    dtype: str
    key: str
    first: int
    length: int


class View(NamedTuple):
    """A tensor's numbers in its storage. first: the first one, counted in the whole storage; span: from it to behind the last one."""

    tensor: Tensor
    key: str
    first: int
    span: int
    stride: tuple[int, ...]


@dataclass
class TorchFile:
    """views: the tensors of the state dict by name. places: of every storage in the file its first byte and its length."""

    views: dict[str, View]
    places: dict[str, tuple[int, int]]


def torch_file(path: Path) -> TorchFile:
    """Raises ValueError, BadZipFile and others when the file is damaged or cut short."""
    if not path.is_file():
        raise ValueError(f"{path.name} is not a regular file")
    with open(path, "rb") as file:
        content, places = (from_archive if file.read(4) == b"PK\x03\x04" else from_pickles)(file)
    views, size = state_dict(content), path.stat().st_size
    for name, view in views.items():
        start, length = places.get(view.key, (0, 0))
        if view.span and ((view.first + view.span) * BITS.get(view.tensor.dtype, 8) > length * 8 or start + length > size):
            raise ValueError(f"the numbers of {name} are not in the file")
    return TorchFile(views, places)


def state_dict(content: object) -> dict[str, View]:
    """The tensors by name, wherever the training code put them."""
    for _ in range(MAX_NESTED):
        if not isinstance(content, dict):
            raise ValueError("the file holds no weights by name")
        if not isinstance(content.get("state_dict"), dict):
            break
        content = content["state_dict"]
    assert isinstance(content, dict)
    return {name: value for name, value in content.items() if isinstance(value, View)}


def from_archive(file: BinaryIO) -> tuple[object, dict[str, tuple[int, int]]]:
    """Of a zip archive as torch writes it, nothing of it compressed: its pickle's content, and the places of the storages."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        name = next(name for name in entries if name.endswith("data.pkl"))
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
            raise ValueError("the archive is compressed or encrypted, as torch writes none")
        if entries[name].file_size > MAX_PICKLE:
            raise ValueError("the pickle is too long")
        reader = Reader()
        content = reader.load(io.BytesIO(archive.read(name)))
        places = {}
        for key in reader.storages:
            if info := entries.get(name.removesuffix("data.pkl") + f"data/{key}"):
                file.seek(info.header_offset + 26)
                lengths = file.read(4)  # of the name and of what is between it and the data
                start = info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
                places[key] = start, info.file_size
    return content, places


def from_pickles(file: BinaryIO) -> tuple[object, dict[str, tuple[int, int]]]:
    """The same of a file of torch before 1.6: five pickles in a row, then every storage with its length before it."""
    size = file.seek(0, 2)
    file.seek(0)
    start, reader = io.BytesIO(file.read(MAX_PICKLE)), Reader()
    if (reader.load(start), reader.load(start)) != (MAGIC, PROTOCOL):
        raise ValueError("the file is not torch's")
    reader.load(start)  # the byte order and sizes of the machine that wrote it
    content, keys = reader.load(start), reader.load(start)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in reader.storages for key in keys):
        raise ValueError("the list of storages is damaged")
    places, position = {}, start.tell()
    for key in keys:
        file.seek(position)
        length = int.from_bytes(file.read(8), "little") * (BITS[reader.storages[key]] // 8)
        position += 8 + length
        if position > size:
            raise ValueError("the file is cut short")
        places[key] = position - length, length
    return content, places


@dataclass
class Reader:
    """Goes through a pickle's program. storages: the dtype of every storage that it names, by key."""

    storages: dict[str, str] = field(default_factory=dict)
    steps: int = 0

    def load(self, stream: io.BytesIO) -> object:
        """The next pickle's content. Raises ValueError and others when it is damaged or too long."""
        stack: list = []
        marks: list[int] = []
        memo: dict[int, object] = {}

        def from_mark() -> list:
            start = marks.pop()
            values = stack[start:]
            del stack[start:]
            return values

        argument: Any  # what the opcode's description says, which genops has checked
        for opcode, argument, _ in pickletools.genops(stream):
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise ValueError("the pickle is too long")
            name = opcode.name
            if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            elif name in ARGUMENTS:
                stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[argument])
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "POP_MARK":
                from_mark()
            elif name == "DUP":
                stack.append(stack[-1])
            elif name in ("POP", "BUILD"):  # of BUILD the state is dropped, and what it was for stays as it is
                stack.pop()
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "LIST":
                stack.append(from_mark())
            elif name == "TUPLE":
                stack.append(tuple(from_mark()))
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "DICT":
                stack.append(filled({}, from_mark()))
            elif name in ("SETITEM", "SETITEMS"):
                values = from_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                filled(stack[-1], values)
            elif name in ("APPEND", "APPENDS"):
                values = from_mark() if name == "APPENDS" else [stack.pop()]
                if isinstance(stack[-1], list):
                    stack[-1].extend(values)
            elif name == "ADDITEMS":
                from_mark()
            elif name in ("FROZENSET", "INST", "OBJ"):
                from_mark()
                stack.append(OPAQUE)
            elif name == "GLOBAL":
                stack.append(Global(*argument.split(" ", 1)))
            elif name == "STACK_GLOBAL":
                module, attribute = stack.pop(-2), stack.pop()
                stack.append(Global(module, attribute) if isinstance(module, str) and isinstance(attribute, str) else OPAQUE)
            elif name in ("REDUCE", "NEWOBJ"):
                function, arguments = stack.pop(-2), stack.pop()
                stack.append(result_of(function, arguments))
            elif name == "NEWOBJ_EX":
                stack[-3:] = [OPAQUE]
            elif name in ("BINPERSID", "PERSID"):
                stack.append(self.storage(stack.pop() if name == "BINPERSID" else argument))
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME", "READONLY_BUFFER"):  # what is left is of no tensor: bytes, sets, extensions
                stack.append(OPAQUE)
        raise ValueError("the pickle has no end")

    def storage(self, identity: object) -> object:
        """What torch names a storage by: ("storage", its class, its key, the device, how many numbers, a part of it or None)."""
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            return OPAQUE
        _, kind, key, _, count, *part = identity
        if not isinstance(kind, Global) or not isinstance(key, str):
            return OPAQUE
        (count,) = sizes([count])
        dtype = STORAGES.get(kind.name, UNKNOWN) if kind.module in ("torch", "torch.storage") else UNKNOWN
        if dtype != UNKNOWN:
            self.storages[key] = dtype
        first = 0
        if part and isinstance(part[0], tuple):
            _, first, count = part[0]
            first, count = sizes([first, count])
        return Storage(dtype, key, first, count)


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_SET": OPAQUE, "EMPTY_TUPLE": ()}
ARGUMENTS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip


def filled(target: object, values: list) -> object:
    """Puts keys and values, one after the other, into a dictionary, as far as the keys are strings: the hash of a tuple of tuples can
    take for ever."""
    if isinstance(target, dict):
        target.update((key, value) for key, value in zip(values[::2], values[1::2]) if isinstance(key, str))
    return target


def result_of(function: object, arguments: object) -> object:
    """What a call of the pickle gives: a tensor's description, a dictionary, or nothing of use. Nothing is called."""
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        return OPAQUE
    if function == ("collections", "OrderedDict"):
        return ordered(arguments[0]) if arguments and isinstance(arguments[0], list) else {}
    if function.module == "torch._utils" and function.name.startswith("_rebuild_parameter"):
        return arguments[0] if arguments else OPAQUE
    if function.module == "torch._utils" and function.name.startswith("_rebuild_tensor"):
        return view_of(arguments)
    return OPAQUE


def ordered(pairs: Iterable) -> dict:
    """An OrderedDict as Python 2 pickled it: a list of pairs."""
    return filled({}, [value for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2 for value in pair])  # type: ignore[return-value]


def view_of(arguments: tuple) -> object:
    """Of `torch._utils._rebuild_tensor*`. Raises ValueError for sizes that are none or leave the storage."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        return OPAQUE
    storage, first, shape, stride = arguments[:4]
    (first,), shape, stride = sizes([first]), sizes(shape), sizes(stride)
    named = [value.name for value in arguments[4:] if isinstance(value, Global) and value.module == "torch"]
    dtype, count = storage.dtype, storage.length
    if named:  # a dtype that has no storage class of its own: the storage counts bytes
        dtype = TYPES.get(named[0], UNKNOWN)
        count = count * 8 // BITS.get(dtype, 8)
    span = 1 + sum((size - 1) * step for size, step in zip(shape, stride)) if all(shape) else 0
    if len(shape) != len(stride) or first + span > count:
        raise ValueError("a tensor leaves its storage")
    return View(Tensor(dtype, shape), storage.key, storage.first + first, span, stride)
