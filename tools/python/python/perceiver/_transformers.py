"""Models of Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

from ._errors import DTypeError
from ._native import Engine, Model


def from_transformers(module: Any, *, engine: Engine | None = None) -> Model:
    """The model of a module of transformers: any of its seven ``PerceiverFor…`` classes, or a subclass of one.

    Its weights are copied, in the module's own precision, from whichever device it is on; what becomes of the module
    later changes nothing. ``run`` takes what the module's ``forward`` takes, under the same names (``inputs``,
    ``attention_mask``, ``subsampled_output_points``), and gives its ``logits``: ``logits.image``, ``logits.audio`` and
    ``logits.label`` where there are several. Dropout is off, as after ``module.eval()``.

    Raises ConfigError where the class or its configuration is another, CheckpointError where the tensors do not fit.
    """
    if not (hasattr(module, "config") and hasattr(module, "state_dict")):
        raise DTypeError(
            f"input `module`: is of type {type(module).__name__}; expected a module of transformers, with a configuration"
        )
    classes = [c.__name__ for c in type(module).__mro__ if c.__module__.startswith("transformers.")]
    config = {**module.config.to_dict(), "architectures": classes[:1] or [type(module).__name__]}
    config.pop("dtype", None)
    config.pop("torch_dtype", None)
    arrays = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    return Model.from_arrays(config, arrays, engine=engine)
