"""The examples, each where its package is installed."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def lines(name, needs):
    if find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, "--pictures", "3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()


def check_latents(found):
    """Pictures in order, latents as near to those of one machine as rounding allows."""
    assert [line.split(":")[0] for line in found] == ["picture 0", "picture 1", "picture 2"]
    for line in found:
        assert float(re.search(r"latents (\S+) from", line).group(1)) < 1e-4, line


def classes(found):
    return [re.search(r"class (\d+)", line).group(1) for line in found]


def test_ray():
    found = [line for line in lines("ray_encode.py", "ray") if line.startswith(("picture", "actor"))]
    check_latents(found[:3])
    assert classes(found[:3]) == classes(found[3:])


def test_daft():
    found = [line for line in lines("daft_encode.py", "daft") if line.startswith(("picture", "batch"))]
    check_latents(found[:3])
    assert classes(found[:3]) == classes(found[3:])
