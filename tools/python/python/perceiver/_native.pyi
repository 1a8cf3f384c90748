"""The native part of the package."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, final, overload

import numpy.typing as npt

from .types import Adapter, Array, Bytes, Clip, Filled, Floats, Json, Picture, Progress

__all__ = [
    "Decoding",
    "Encoder",
    "EncoderState",
    "Engine",
    "Latents",
    "Model",
    "TensorInfo",
    "__version__",
    "flow_picture",
]

__version__: str

@final
class TensorInfo:
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | None, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def optional(self) -> bool: ...

@final
class Engine:
    def __new__(
        cls,
        device: str | int | None = None,
        *,
        precision: Literal["f32", "f16"] = "f32",
        memory_budget: int | str | None = None,
        memory_limit: int | str | None = None,
    ) -> Engine: ...
    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def devices(self) -> list[Adapter]: ...
    def reopen(self) -> None: ...
    def load(
        self,
        model: str | PathLike[str] | bytes | bytearray | memoryview,
        *,
        config: Json | None = None,
        processor: Json | None = None,
        part: str | None = None,
        progress: Progress | None = None,
    ) -> Model: ...
    def load_arrays(
        self, config: Json, arrays: Mapping[str, Array], *, processor: Json | None = None
    ) -> Model: ...

@final
class Model:
    @staticmethod
    def load(
        model: str | PathLike[str] | bytes | bytearray | memoryview,
        *,
        engine: Engine | None = None,
        config: Json | None = None,
        processor: Json | None = None,
        part: str | None = None,
        progress: Progress | None = None,
    ) -> Model: ...
    @staticmethod
    def from_arrays(
        config: Json,
        arrays: Mapping[str, Array],
        *,
        engine: Engine | None = None,
        processor: Json | None = None,
    ) -> Model: ...
    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def allocated_bytes(self) -> int: ...
    @property
    def inputs(self) -> list[TensorInfo]: ...
    @property
    def outputs(self) -> list[TensorInfo]: ...
    def run(
        self,
        arrays: Mapping[str, Array | Mapping[str, Array | None] | None] | None = None,
        /,
        *,
        intermediates: bool = False,
        resize_positions: bool = False,
        progress: Progress | None = None,
        **more: Array | Mapping[str, Array | None] | None,
    ) -> dict[str, Floats]: ...
    def warmup(
        self,
        arrays: Mapping[str, Array | Mapping[str, Array | None] | None] | None = None,
        /,
        *,
        intermediates: bool = False,
        resize_positions: bool = False,
        progress: Progress | None = None,
        **more: Array | Mapping[str, Array | None] | None,
    ) -> None: ...
    def encode(
        self,
        arrays: Mapping[str, Array | Mapping[str, Array | None] | None] | None = None,
        /,
        *,
        resize_positions: bool = False,
        progress: Progress | None = None,
        **more: Array | Mapping[str, Array | None] | None,
    ) -> Latents: ...
    def input_rows(
        self,
        arrays: Mapping[str, Array | Mapping[str, Array | None] | None] | None = None,
        /,
        *,
        resize_positions: bool = False,
        **more: Array | Mapping[str, Array | None] | None,
    ) -> dict[str, Floats]: ...
    def encoder(
        self,
        *,
        length: int | None = None,
        image: tuple[int, int] | None = None,
        resize_positions: bool = False,
    ) -> Encoder: ...
    def decode(
        self,
        latents: Latents,
        output: str | None = None,
        *,
        queries: range | slice | Sequence[int] | Array | None = None,
        content: Array | None = None,
        chunk: int | None = None,
    ) -> Decoding: ...
    def starting_at(self, array: str) -> Model: ...
    def ending_at(self, array: str) -> Model: ...
    @overload
    def fill_mask(  # type: ignore[overload-overlap]  # a text is a sequence of texts, too
        self,
        texts: str,
        *,
        top: int = 5,
        most_certain_first: bool = False,
        progress: Progress | None = None,
    ) -> Filled: ...
    @overload
    def fill_mask(
        self,
        texts: Sequence[str],
        *,
        top: int = 5,
        most_certain_first: bool = False,
        progress: Progress | None = None,
    ) -> list[Filled]: ...
    def classify(
        self,
        what: str | Sequence[str] | Picture | Sequence[Picture],
        *,
        top: int = 5,
        resize_positions: bool = False,
        progress: Progress | None = None,
    ) -> Any: ...
    def flow(
        self,
        first: Picture,
        second: Picture,
        *,
        overlap: int | None = None,
        tiles_per_batch: int = 1,
        one_pass: bool = False,
        progress: Progress | None = None,
    ) -> Floats: ...
    def autoencode(
        self,
        frames: Sequence[Picture] | Array,
        audio: Array | None = None,
        *,
        top: int = 5,
        progress: Progress | None = None,
    ) -> Clip: ...
    def shape(
        self,
        latents: Latents,
        *,
        cells: int = 64,
        bounds: tuple[float, float] = ...,
        block: int = 1,
        progress: Progress | None = None,
    ) -> Floats: ...

@final
class Latents:
    @property
    def shape(self) -> tuple[int, int, int]: ...
    def numpy(self) -> Floats: ...
    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, item: int, /) -> Latents: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(bytes: bytes) -> Latents: ...

@final
class EncoderState:
    @property
    def nbytes(self) -> int: ...
    def merge(self, other: EncoderState) -> EncoderState: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(bytes: bytes) -> EncoderState: ...

@final
class Encoder:
    @property
    def modalities(self) -> dict[str, tuple[int, int]]: ...
    @property
    def state(self) -> EncoderState: ...
    def chunk_rows(self, modality: str) -> int | None: ...
    def push(self, modality: str, first: int, rows: Array) -> None: ...
    def push_at(self, modality: str, cells: Array, rows: Array) -> None: ...
    def merge(self, other: EncoderState) -> None: ...
    def finish(self) -> Latents: ...

@final
class Decoding(Iterator[tuple[slice, Floats]]):
    @property
    def shape(self) -> tuple[int, int]: ...
    def __iter__(self) -> Decoding: ...
    def __next__(self) -> tuple[slice, Floats]: ...

def flow_picture(flow: Array, *, longest: float | None = None) -> Bytes: ...
