"""Exceptions: one class for each kind of the engine's errors, with the engine's own text."""


class Error(Exception):
    """Everything that the engine refuses or that fails in it."""


class InputError(Error, ValueError):
    """An input array, text, picture or state does not fit the model; the text names it."""


class DTypeError(InputError, TypeError):
    """An input is no array of numbers that could be read as what the model takes."""


class ConfigError(Error, ValueError):
    """A configuration asks for something impossible."""


class CheckpointError(Error, ValueError):
    """Weights are damaged, of an unknown kind, or not those of the configuration."""


class FileError(Error, OSError):
    """A file or folder could not be read or written."""


class HubError(Error, OSError):
    """A model could not be found or downloaded by its name."""


class DeviceError(Error, RuntimeError):
    """A device could not be opened or refused an operation."""


class NoDeviceError(DeviceError):
    """No adapter fits the request."""


class DeviceLostError(DeviceError):
    """The device was lost; `Engine.reopen` opens it again."""


class LimitError(Error, MemoryError):
    """Something is beyond what the device, the memory limit or the memory budget allow."""


class OutOfMemoryError(LimitError):
    """The device has no room for a buffer."""


class NotFiniteError(Error, ArithmeticError):
    """A model's output has infinities or what is no number."""


class CancelledError(Error):
    """The run was ended."""


class DefectError(Error, RuntimeError):
    """A defect of the engine or of a driver; please report it."""


for _class in [*globals().values()]:
    if isinstance(_class, type) and issubclass(_class, Error):
        # As users write them.
        _class.__module__ = "perceiver"
