"""Weights read one tensor at a time, and written as safetensors one tensor at a time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ..errors import EditError
from ..files import why
from .recognise import INTEGERS, Tensor, safetensors_header

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Weights:
    """The tensors of a `.safetensors` file, or of a torch archive read with `weights_only`.

    tensors: what there is, by name. `read(name)`: that tensor on the CPU, read from the file when asked for.
    Raises EditError when the file can't be read. Use it in a `with` block.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file = self._state = None
        try:
            if self.path.suffix == ".safetensors":
                self.tensors, self._data = safetensors_header(self.path)
                self._file = open(self.path, "rb")  # noqa: SIM115 (closed by close)
            else:
                self._state = torch.load(self.path, map_location="cpu", mmap=True, weights_only=True)
                while isinstance(self._state.get("state_dict"), Mapping):
                    self._state = self._state["state_dict"]
                self._state = {k: v for k, v in self._state.items() if isinstance(v, torch.Tensor)}
                self.tensors = {k: Tensor(NAMES[v.dtype], tuple(v.shape)) for k, v in self._state.items()}
        except FileNotFoundError as e:
            raise EditError(f"There is no file {self.path}.") from e
        except OSError as e:
            raise EditError(f"{self.path} can't be read: {why(e)}.") from e
        except Exception as e:  # a damaged header or pickle raises nearly anything
            raise EditError(f"{self.path} can't be read: it is damaged, cut short, or holds more than weights.") from e

    def read(self, name: str) -> torch.Tensor:
        if self._state is not None:
            return self._state[name]
        dtype, shape, start = self.tensors[name]
        if dtype not in DTYPES:
            raise EditError(f"{self.path} has {name} in {dtype}, which can't be read: use a file in fp16, bf16 or fp32.")
        self._file.seek(self._data + start)
        buffer = bytearray(math.prod(shape) * DTYPES[dtype].itemsize)
        if self._file.readinto(buffer) < len(buffer):
            raise EditError(f"{self.path} is cut short.")
        # An empty buffer can't be a tensor's.
        return torch.frombuffer(buffer, dtype=DTYPES[dtype]).reshape(shape) if buffer else torch.empty(shape, dtype=DTYPES[dtype])

    def close(self) -> None:
        if self._file:
            self._file.close()
        self._state = None

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def stored(tensor: Tensor, half: bool) -> Tensor:
    """The tensor as it is stored: in fp16 when `half`, unless it holds whole numbers."""
    return tensor._replace(dtype="F16") if half and tensor.dtype not in INTEGERS else tensor


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], read: Callable[[str], torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes the header, then asks `read` for one tensor after the other and casts it to the dtype that `tensors` says.

    Raises EditError when a value does not fit fp16, and OSError when the disk is full.
    """
    # As the library lays them out: the widest first, so that every tensor is aligned.
    names = sorted(tensors, key=lambda name: (-DTYPES[tensors[name].dtype].itemsize, name))
    header: dict = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        dtype, shape, _ = tensors[name]
        start, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(to_bytes(cast(read(name), tensors[name], name)))


def cast(value: torch.Tensor, tensor: Tensor, name: str) -> torch.Tensor:
    """value in the dtype and shape of `tensor`. Raises EditError when it overflows fp16."""
    given = value
    value = value.to(DTYPES[tensor.dtype]).reshape(tensor.shape)
    if tensor.dtype == "F16" and given.dtype != torch.float16 and bool((value.isinf() & given.reshape(tensor.shape).isfinite()).any()):
        raise EditError(f"{name} has values beyond 65504, which fp16 can't hold: leave --half out.")
    return value


def to_bytes(value: torch.Tensor) -> memoryview:
    return memoryview(value.contiguous().reshape(-1).view(torch.uint8).numpy())
