"""Stubs: complete, true, and of use to a type checker."""

import inspect
import subprocess
import sys
from pathlib import Path

import perceiver
import pytest
from perceiver import types

FOLDER = Path(__file__).parent


def mypy(*arguments):
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = subprocess.run([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True, cwd=FOLDER)
    assert done.returncode == 0, done.stdout


def test_a_program_that_uses_everything(tmp_path):
    mypy("mypy", "--strict", "--cache-dir", tmp_path, FOLDER / "typed.py")


def test_stubs_are_those_of_the_module(tmp_path):
    (tmp_path / "mypy.ini").write_text(f"[mypy]\ncache_dir = {tmp_path}\n")
    mypy("mypy.stubtest", "--mypy-config-file", tmp_path / "mypy.ini", "--ignore-disjoint-bases", "perceiver._native")


def test_the_package_is_typed():
    assert (Path(inspect.getfile(perceiver)).parent / "py.typed").exists()
    assert all(hasattr(perceiver, name) for name in perceiver.__all__)
    assert types.Filled.__required_keys__ == {"text", "spans"}
