"""Types of what goes in and what comes out, for type checkers and for readers."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt


class SupportsDLPack(Protocol):
    """A tensor of any package, in the machine's memory."""

    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, int]: ...


class SupportsPicture(Protocol):
    """A picture of PIL."""

    def getbands(self) -> tuple[str, ...]: ...
    def convert(self, mode: str) -> Any: ...


Array: TypeAlias = npt.ArrayLike | SupportsDLPack
Picture: TypeAlias = Array | SupportsPicture
Progress: TypeAlias = Callable[[int, int], object] | bool
Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Json: TypeAlias = str | Mapping[str, Any]


class Adapter(TypedDict):
    """A device that an engine can be opened on."""

    index: int
    name: str
    backend: str
    kind: str
    driver: str


class Class(TypedDict):
    """A class and how well it fits; `probability` is None where the model gives a quantity."""

    index: int
    label: str
    logit: float
    probability: float | None


class Candidate(TypedDict):
    """A byte and its probability among all 256."""

    byte: int
    name: str
    probability: float


class BytePrediction(TypedDict):
    """What was found for a masked byte; `position` counts tokens, of which [CLS] is number 0."""

    position: int
    byte: int
    probability: float
    top: list[Candidate]


class Span(TypedDict):
    """Masked bytes beside each other, as they were filled."""

    start: int
    text: str
    bytes: list[BytePrediction]


class Filled(TypedDict):
    """A text with its masks filled."""

    text: str
    spans: list[Span]


class Clip(TypedDict):
    """A clip after its way through the latents: uint8 `[frames, height, width, 3]`, float32 `[samples]`, decibels."""

    frames: Bytes
    audio: Floats
    classes: list[Class]
    video_psnr: float | None
    audio_snr: float | None
