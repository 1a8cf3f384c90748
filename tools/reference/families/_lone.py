"""One module of an installed package, without what its packages' __init__ files pull in."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent


def folder_of(package: str) -> Path:
    """Where it is installed; a family's file here may have the same name."""
    for entry in sys.path:
        at = Path(entry or ".").resolve()
        if at != HERE and (at / package).is_dir():
            return at / package
    raise ModuleNotFoundError(f"{package} is not installed", name=package)


def lone(module: str, **stubs: dict):
    """Imports `module`; the packages above it become empty ones that only know their folder.

    stubs: modules that are not to be loaded (dotted from the top package, '__' for '.') -> names they offer."""
    if module in sys.modules:
        return sys.modules[module]
    parts = module.split(".")
    top = parts[0]
    root = folder_of(top)
    family = sys.modules.pop(top, None)
    for k in range(1, len(parts)):
        name = ".".join(parts[:k])
        if name not in sys.modules:
            shell = types.ModuleType(name)
            shell.__path__ = [str(root.joinpath(*parts[1:k]))]
            sys.modules[name] = shell
    for path, names in stubs.items():
        name = f"{top}.{path.replace('__', '.')}"
        sys.modules.setdefault(name, types.ModuleType(name)).__dict__.update(names)
    try:
        return importlib.import_module(module)
    finally:
        if family is not None:
            sys.modules[top] = family
