"""Threads, the interpreter lock, Ctrl-C, progress, forks."""

import concurrent.futures
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import perceiver
import pytest
from conftest import MODELS


@pytest.fixture(scope="module")
def flow(cpu):
    return cpu.load(MODELS / "flow-tiny")


@pytest.fixture(scope="module")
def large():
    """Two pictures whose flow takes some seconds."""
    return np.random.default_rng(11).integers(0, 255, (2, 300, 400, 3), dtype=np.uint8)


def test_threads_share_a_model(engine):
    model = engine.load(MODELS / "shapes-tiny")
    batches = np.random.default_rng(12).random((12, 1, 3, 32, 32), dtype=np.float32)
    wanted = [model.run(pixel_values=x)["logits"] for x in batches]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda x: model.run(pixel_values=x)["logits"], batches))
    for a, b in zip(found, wanted):
        np.testing.assert_array_equal(a, b)


def test_threads_share_an_encoder(shapes):
    rows = np.random.default_rng(13).random((1024, 3), dtype=np.float32)
    encoder = shapes.encoder(image=(32, 32))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda first: encoder.push("pixel", first, rows[first : first + 128]), range(0, 1024, 128)))
    wanted = shapes.encode(pixel_values=rows.T.reshape(1, 3, 32, 32))
    np.testing.assert_allclose(encoder.finish().numpy(), wanted.numpy(), atol=1e-4)


def test_the_interpreter_goes_on_during_a_run(flow, large):
    ticks = 0
    ended = threading.Event()

    def tick():
        nonlocal ticks
        while not ended.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    flow.flow(*large)
    ended.set()
    thread.join()
    assert ticks > 20


def test_progress_is_told_and_ends_with_all(flow, large):
    heard = []
    flow.flow(*large, progress=lambda done, total: heard.append((done, total)))
    assert len(heard) > 1 and heard[-1][0] == heard[-1][1] > 0
    assert all(a[0] <= b[0] for a, b in zip(heard, heard[1:]))


def test_an_exception_of_progress_ends_the_run(flow, large):
    def refuse(done, total):
        raise LookupError("enough")

    before = threading.active_count()
    started = time.monotonic()
    with pytest.raises(LookupError, match="enough"):
        flow.flow(*large, progress=refuse)
    assert threading.active_count() == before
    assert time.monotonic() - started < 60
    assert flow.flow(*large[:, :96, :128]).shape == (96, 128, 2)
    with pytest.raises(TypeError):
        flow.flow(*large, progress=3)


def test_bar(flow, large, capsys):
    tqdm = pytest.importorskip("tqdm", reason="tqdm is not installed")
    assert tqdm
    flow.flow(*large, progress=True)
    assert "op/s" in capsys.readouterr().err
    flow.flow(*large[:, :96, :128], progress=False)


def script(text):
    return [sys.executable, "-c", textwrap.dedent(text)]


LONG = f"""
    import sys
    import numpy as np
    import perceiver
    model = perceiver.Engine("cpu").load({str(MODELS / "flow-tiny")!r})
    large = np.random.default_rng(0).integers(0, 255, (2, 3000, 4000, 3), dtype=np.uint8)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("call", ["model.flow(*large, progress=tell)", "model.flow(*large, one_pass=True, progress=tell)"])
def test_ctrl_c_ends_a_run_and_leaves_the_model_sound(call):
    text = f"""{LONG}
    def tell(done, total):
        print("running", flush=True)
    try:
        {call}
    except KeyboardInterrupt:
        flow = model.flow(*large[:, :96, :128])
        print("ended", flow.shape, flush=True)
    """
    process = subprocess.Popen(script(text), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest.splitlines()[-1] == "ended (96, 128, 2)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_an_encoder_with_the_rows_before():
    text = f"""{LONG}
    import signal, threading
    image = (2048, 2048)
    encoder = model.encoder(image=image, resize_positions=True)
    (name, (count, channels)), = encoder.modalities.items()
    encoder.push(name, 0, np.zeros((1000, channels), np.float32))
    before = encoder.state
    rows = np.zeros((count - 1000, channels), np.float32)
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
    try:
        encoder.push(name, 1000, rows)
    except KeyboardInterrupt:
        assert encoder.state == before
        encoder.push(name, 1000, rows[:1000])
        assert encoder.state != before
        print("ended", flush=True)
    """
    done = subprocess.run(script(text), stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["ended"]


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="there is no fork")
def test_a_fork_is_told_rather_than_hung():
    text = f"""{LONG}
    import os
    child = os.fork()
    if child == 0:
        try:
            model.flow(*large[:, :96, :128])
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    """
    done = subprocess.run(script(text), stdout=subprocess.PIPE, text=True, timeout=60)
    assert "forked" in done.stdout and "spawn" in done.stdout


def test_processes_that_are_spawned():
    text = f"""
    import multiprocessing
    import perceiver

    def fill(text):
        model = perceiver.Engine("cpu").load({str(MODELS / "text-tiny")!r})
        return model.fill_mask(text)["text"]

    if __name__ == "__main__":
        print(fill("val[MASK]d"))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(fill, ["re[MASK]erence"])[0])
    """
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spawned.py"
        file.write_text(textwrap.dedent(text))
        done = subprocess.run([sys.executable, file], stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.stdout == "valid\nreference\n"


def test_nothing_of_an_array_is_kept(shapes, pixels):
    before = sys.getrefcount(pixels)
    for _ in range(3):
        shapes.run(pixel_values=pixels)
    with pytest.raises(perceiver.InputError):
        shapes.run(pixel_values=pixels, other=pixels)
    deadline = time.monotonic() + 5
    while sys.getrefcount(pixels) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sys.getrefcount(pixels) == before
