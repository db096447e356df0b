"""Weights read one tensor at a time, and written as safetensors one tensor at a time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from ..errors import EditError
from ..files import why
from .header import Tensor, is_safetensors, safetensors_header
from .pickles import torch_file
from .recognise import INTEGERS, PRECISIONS, check_file

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


class Weights:
    """The tensors of a `.safetensors` file or of a torch file; nothing in it is run.

    tensors: what there is, by name. `read(name)`: that tensor on the CPU, read from the file when asked for.
    Raises EditError when the file can't be read. Use it in a `with` block.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._stack = ExitStack()
        check_file(self.path)
        try:
            if is_safetensors(self.path):
                self.tensors = safetensors_header(self.path)
                self._safetensors = self._stack.enter_context(safe_open(str(self.path), framework="pt"))
            else:
                self._torch = torch_file(self.path)
                self.tensors = {name: view.tensor for name, view in self._torch.views.items()}
                self._file = self._stack.enter_context(self.path.open("rb"))
        except OSError as e:
            raise EditError(f"{self.path} can't be read: {why(e)}.") from e
        except Exception as e:  # a damaged header or pickle raises nearly anything
            raise EditError(f"{self.path} can't be read: it is damaged, cut short or no checkpoint ({why(e)}).") from e

    def read(self, name: str) -> torch.Tensor:
        tensor = self.tensors[name]
        if tensor.dtype not in DTYPES:
            raise EditError(f"{self.path} has {name} in {tensor.dtype}, which can't be read: use a file in fp16, bf16 or fp32.")
        try:
            if is_safetensors(self.path):
                return self._safetensors.get_tensor(name)
            return self._read_torch(name)
        except Exception as e:  # such as a file that changed
            raise EditError(f"{self.path} can't be read: {why(e)}.") from e

    def _read_torch(self, name: str) -> torch.Tensor:
        view = self._torch.views[name]
        dtype = DTYPES[view.tensor.dtype]
        if not view.span:
            return torch.empty(view.tensor.shape, dtype=dtype)
        self._file.seek(self._torch.places[view.key][0] + view.first * dtype.itemsize)
        numbers = bytearray(view.span * dtype.itemsize)
        if self._file.readinto(numbers) < len(numbers):
            raise EOFError("it is cut short")
        return torch.frombuffer(numbers, dtype=dtype).as_strided(view.tensor.shape, view.stride)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True)
class Source:
    """A tensor to write or to load: what it is to be, and the reader and the name that it comes from."""

    tensor: Tensor
    weights: Weights
    name: str

    def read(self) -> torch.Tensor:
        return self.weights.read(self.name).reshape(self.tensor.shape)


def stored(tensor: Tensor, half: bool) -> Tensor:
    """The tensor as it is stored: in fp16 when `half`, unless it holds whole numbers."""
    return tensor._replace(dtype="F16") if half and tensor.dtype not in INTEGERS else tensor


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], read: Callable[[str], torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes the header, then asks `read` for one tensor after the other and casts it to the dtype that `tensors` says.

    The library's `save_file` wants all tensors in memory; this needs one. Raises EditError when a value does not fit the dtype or
    the dtype is unknown, and OSError when the disk is full.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise EditError(f"{name} is stored as {tensor.dtype}, which can't be written: use a file in fp16, bf16 or fp32.")
    # As the library lays them out: the widest first, so that every tensor is aligned.
    names = sorted(tensors, key=lambda name: (-DTYPES[tensors[name].dtype].itemsize, name))
    header: dict = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        dtype, shape = tensors[name]
        start, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(to_bytes(cast(read(name), tensors[name], name)))


def cast(value: torch.Tensor, tensor: Tensor, name: str) -> torch.Tensor:
    """value in the dtype and shape of `tensor`. Raises EditError when a finite number does not fit it."""
    dtype, original = DTYPES[tensor.dtype], value.reshape(tensor.shape)
    if original.dtype == dtype:
        return original
    value = original.to(dtype)
    if dtype.is_floating_point:
        wide = original.float() if original.dtype.itemsize == 1 else original  # fp8 can't be compared
        lost = wide.abs() > torch.finfo(dtype).max if dtype.itemsize == 1 else value.isinf()  # to fp8 torch clips
        if bool((lost & wide.isfinite()).any()):
            advice = "leave --half out" if dtype == torch.float16 else "use an edit model in fp16, bf16 or fp32"
            raise EditError(f"{name} has values beyond {torch.finfo(dtype).max:g}, which {PRECISIONS[tensor.dtype]} can't hold: {advice}.")
    return value


def to_bytes(value: torch.Tensor) -> memoryview:
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().data
