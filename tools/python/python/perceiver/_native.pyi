"""The native part of the package."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, final, overload

import numpy as np
import numpy.typing as npt

__version__: str

class SupportsDLPack(Protocol):
    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, int]: ...

class SupportsPicture(Protocol):
    def getbands(self) -> tuple[str, ...]: ...
    def convert(self, mode: str) -> Any: ...

Array: TypeAlias = npt.ArrayLike | SupportsDLPack
Picture: TypeAlias = Array | SupportsPicture
Progress: TypeAlias = Callable[[int, int], object] | bool
Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Json: TypeAlias = str | Mapping[str, Any]

class Adapter(TypedDict):
    index: int
    name: str
    backend: str
    kind: str
    driver: str

class Class(TypedDict):
    index: int
    label: str
    logit: float
    probability: float | None

class Candidate(TypedDict):
    byte: int
    name: str
    probability: float

class BytePrediction(TypedDict):
    position: int
    byte: int
    probability: float
    top: list[Candidate]

class Span(TypedDict):
    start: int
    text: str
    bytes: list[BytePrediction]

class Filled(TypedDict):
    text: str
    spans: list[Span]

class Clip(TypedDict):
    frames: Bytes
    audio: Floats
    classes: list[Class]
    video_psnr: float | None
    audio_snr: float | None

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
    def from_arrays(
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
        bounds: tuple[float, float] = (-1.0, 1.0),
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
    def __getitem__(self, item: int) -> Latents: ...
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
    def merge(self, other: EncoderState) -> None: ...
    def finish(self) -> Latents: ...

@final
class Decoding(Iterator[tuple[slice, Floats]]):
    @property
    def shape(self) -> tuple[int, int]: ...
    def __iter__(self) -> Decoding: ...
    def __next__(self) -> tuple[slice, Floats]: ...

def flow_picture(flow: Array, *, longest: float | None = None) -> Bytes: ...
