"""What tests share: engines, and the models that ship with the project."""

import json
from pathlib import Path

import numpy as np
import perceiver
import pytest

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"


def read(file):
    """The arrays of a file of safetensors, read by hand."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "u1"}
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            first, last = (8 + size + n for n in entry["data_offsets"])
            found[name] = np.frombuffer(data[first:last], kinds[entry["dtype"]]).reshape(entry["shape"])
    return found


def pytest_report_header():
    return f"perceiver: {perceiver.__file__}, adapters: {[a['name'] for a in perceiver.Engine('cpu').devices]}"


@pytest.fixture(scope="session")
def cpu():
    return perceiver.Engine("cpu")


@pytest.fixture(scope="session", params=["cpu", "gpu"])
def engine(request):
    """Both executors; an adapter in software will do."""
    try:
        return perceiver.Engine(request.param)
    except perceiver.NoDeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def text(cpu):
    return cpu.load(MODELS / "text-tiny")


@pytest.fixture(scope="session")
def shapes(cpu):
    return cpu.load(MODELS / "shapes-tiny")


@pytest.fixture
def pixels():
    return np.random.default_rng(1).random((2, 3, 32, 32), dtype=np.float32)
