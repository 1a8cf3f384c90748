"""What tests share: engines, and the models that ship with the project."""

from pathlib import Path

import numpy as np
import perceiver
import pytest

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"


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
