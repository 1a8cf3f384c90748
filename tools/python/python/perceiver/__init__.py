"""Perceiver IO on any GPU, or the CPU.

    import perceiver

    model = perceiver.Model.load("deepmind/language-perceiver")
    print(model.fill_mask("This is an incomplete sentence where some words are [MASK:8].")["text"])

Shapes are given as ``[batch, length]``; types are numpy's. Whatever takes time releases the interpreter lock, ends by
Ctrl-C, and tells ``progress(done, total)`` about 25 times a second (``progress=True`` shows a bar where tqdm is installed).
"""

from ._errors import (
    CancelledError,
    CheckpointError,
    ConfigError,
    DefectError,
    DeviceError,
    DeviceLostError,
    DTypeError,
    Error,
    FileError,
    HubError,
    InputError,
    LimitError,
    NoDeviceError,
    NotFiniteError,
    OutOfMemoryError,
)
from ._native import (
    Decoding,
    Encoder,
    EncoderState,
    Engine,
    Latents,
    Model,
    TensorInfo,
    __version__,
    flow_picture,
)
from ._transformers import from_transformers

__all__ = [
    "CancelledError",
    "CheckpointError",
    "ConfigError",
    "DTypeError",
    "Decoding",
    "DefectError",
    "DeviceError",
    "DeviceLostError",
    "Encoder",
    "EncoderState",
    "Engine",
    "Error",
    "FileError",
    "HubError",
    "InputError",
    "Latents",
    "LimitError",
    "Model",
    "NoDeviceError",
    "NotFiniteError",
    "OutOfMemoryError",
    "TensorInfo",
    "__version__",
    "flow_picture",
    "from_transformers",
]
