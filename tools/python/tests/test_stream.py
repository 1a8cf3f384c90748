"""Encoders of chunks, their states, and decoding of any queries."""

import functools
import itertools
import pickle

import numpy as np
import perceiver
import pytest
from conftest import MODELS


@pytest.fixture(scope="module")
def rows():
    """The pixels of a picture, row by row."""
    return np.random.default_rng(5).random((1024, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def whole(shapes, rows):
    return shapes.encode(pixel_values=rows.T.reshape(1, 3, 32, 32))


def states_of(model, rows, cuts):
    states = []
    for first, last in itertools.pairwise([0, *cuts, len(rows)]):
        encoder = model.encoder(image=(32, 32))
        encoder.push("pixel", first, rows[first:last])
        states.append(encoder.state)
    return states


def finished(model, state):
    encoder = model.encoder(image=(32, 32))
    encoder.merge(state)
    return encoder.finish()


def test_states_merge_in_any_order_to_that_of_all_rows(shapes, rows, whole):
    states = states_of(shapes, rows, [100, 101, 700])
    for order in itertools.permutations(states):
        merged = functools.reduce(perceiver.EncoderState.merge, order)
        np.testing.assert_allclose(finished(shapes, merged).numpy(), whole.numpy(), atol=1e-4)
    a, b, c, d = states
    np.testing.assert_allclose(
        finished(shapes, (a.merge(b)).merge(c.merge(d))).numpy(), whole.numpy(), atol=1e-4
    )
    assert a.merge(b) == b.merge(a)


def test_rows_in_any_order(shapes, rows, whole):
    order = np.random.default_rng(6).permutation(1024)
    encoder = shapes.encoder(image=(32, 32))
    for cells in np.array_split(order, 3):
        encoder.push_at("pixel", cells, rows[cells])
    np.testing.assert_allclose(encoder.finish().numpy(), whole.numpy(), atol=1e-4)
    for cells, words in [([-1], "numbers from 0"), ([1024], "cell 1024"), ([[0]], r"\[rows\]"), ([0, 1], "each cell")]:
        with pytest.raises(perceiver.InputError, match=words):
            encoder.push_at("pixel", cells, rows[:1])


def test_states_pickle(shapes, rows):
    (state,) = states_of(shapes, rows, [])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(state, protocol)) == state
    again = perceiver.EncoderState.from_bytes(state.to_bytes())
    assert again == state and again.nbytes == state.nbytes and str(state.nbytes) in repr(state)


def test_chunks_in_any_order(engine, rows):
    model = engine.load(MODELS / "shapes-tiny")
    encoder = model.encoder(image=(32, 32))
    assert encoder.modalities == {"pixel": (1024, 3)}
    for first in [700, 0, 300]:
        last = {0: 300, 300: 700, 700: 1024}[first]
        encoder.push("pixel", first, rows[first:last].astype(np.float64))
    latents = encoder.finish()
    wanted = model.encode(pixel_values=rows.T.reshape(1, 3, 32, 32))
    np.testing.assert_allclose(latents.numpy(), wanted.numpy(), atol=1e-4)
    assert encoder.chunk_rows("pixel") > 0 and encoder.chunk_rows("sound") is None


def test_what_is_pushed_wrongly_is_refused_by_name(shapes, rows):
    encoder = shapes.encoder(image=(32, 32))
    before = encoder.state
    for arguments, text in [
        (("sound", 0, rows), "input `model`: has no modality `sound`"),
        (("pixel", 1000, rows), "input `pixel`: has shape"),
        (("pixel", 0, rows[:, :2]), "input `pixel`: has shape"),
        (("pixel", 0, rows[0]), "input `pixel`: has shape"),
        (("pixel", 0, rows * np.nan), "input `pixel`: has NaN"),
        (("pixel", 0, [[None] * 3]), "input `pixel`: has elements of type object"),
    ]:
        with pytest.raises(perceiver.InputError, match=text):
            encoder.push(*arguments)
    with pytest.raises(OverflowError):
        encoder.push("pixel", -1, rows)
    assert encoder.state == before
    with pytest.raises(perceiver.InputError, match="has read no rows"):
        encoder.finish()


def test_states_of_other_models_are_refused(shapes, cpu, rows):
    (state,) = states_of(shapes, rows, [])
    small = shapes.encoder(image=(16, 16))
    small.push("pixel", 0, rows[:256])
    other = cpu.load(MODELS / "flow-tiny").encoder()
    for foreign in [small.state, other.state]:
        with pytest.raises(perceiver.InputError, match="input `encoder state`"):
            state.merge(foreign)
        with pytest.raises(perceiver.InputError, match="input `encoder state`"):
            finished(shapes, foreign)
    for nothing in [None, b"123", 3]:
        with pytest.raises(perceiver.DTypeError, match="input `other`"):
            state.merge(nothing)
        with pytest.raises(perceiver.DTypeError, match="input `other`"):
            shapes.encoder(image=(32, 32)).merge(nothing)
    data = state.to_bytes()
    for damaged in [b"", data[:-3], data[:8] + b"x" + data[9:]]:
        with pytest.raises(perceiver.Error):
            perceiver.EncoderState.from_bytes(damaged)


def test_latents_of_several_items(shapes, pixels):
    latents = shapes.encode(pixel_values=pixels)
    assert latents.shape == (2, 64, 128) and len(latents) == 2
    array = np.asarray(latents)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array[1], latents[1].numpy()[0])
    np.testing.assert_array_equal(array[1], latents[-1].numpy()[0])
    assert np.asarray(latents, np.float64).dtype == np.float64
    assert pickle.loads(pickle.dumps(latents)) == latents
    with pytest.raises(IndexError):
        latents[2]
    with pytest.raises(perceiver.InputError, match=r"latents\[i\]"):
        shapes.decode(latents)
    for damaged in [b"", latents.to_bytes()[:-1]]:
        with pytest.raises(perceiver.InputError, match="input `latents`"):
            perceiver.Latents.from_bytes(damaged)


def all_rows(decoding):
    found = np.full(decoding.shape, np.nan, np.float32)
    for queries, rows in decoding:
        found[queries] = rows
    return found


@pytest.fixture(scope="module")
def flow(cpu):
    return cpu.load(MODELS / "flow-tiny")


def test_decode_in_chunks_gives_what_a_run_gives(flow):
    patches = np.random.default_rng(6).random((1, 2, 27, 96, 128), dtype=np.float32)
    wanted = flow.run(patches=patches)["logits"].reshape(-1, 2)
    latents = flow.encode(patches=patches)
    (content,) = flow.input_rows(patches=patches).values()
    found = all_rows(flow.decode(latents, content=content))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    chunks = [queries for queries, _ in flow.decode(latents, "logits", content=content, chunk=5000)]
    assert chunks == [slice(0, 5000), slice(5000, 10000), slice(10000, 12288)]
    places = np.array([[3, 4], [95, 127], [0, 0]])
    numbers = places @ [128, 1]
    for queries in [numbers, numbers.tolist(), places, places.tolist()]:
        rows = all_rows(flow.decode(latents, queries=queries, content=content[numbers]))
        np.testing.assert_allclose(rows, wanted[numbers], atol=1e-5)
    for queries, chosen in [
        (range(10, 400), slice(10, 400)),
        (slice(10, 400), slice(10, 400)),
        (range(400, 10, -3), slice(400, 10, -3)),
        (slice(-100, None), slice(-100, None)),
    ]:
        rows = all_rows(flow.decode(latents, queries=queries, content=content[chosen], chunk=64))
        np.testing.assert_allclose(rows, wanted[chosen], atol=1e-5)
    assert list(flow.decode(latents, queries=range(0), content=content[:0])) == []
    stored = pickle.loads(pickle.dumps(latents))
    np.testing.assert_allclose(all_rows(flow.decode(stored, content=content)), wanted, atol=1e-5)


def test_queries_that_cannot_be_asked(flow, shapes, whole):
    latents = flow.encode(patches=np.zeros((1, 2, 27, 96, 128), np.float32))
    for queries, text in [
        ([12288], "input `queries`: asks for 12288"),
        ([-1], "input `queries`: ask for -1"),
        ([[96, 0]], "input `queries`: has the point"),
        ([[1, 2, 3]], "input `queries`: have shape"),
        (5, "input `queries`: have shape"),
        ("all", "input `queries`"),
        ([0.5], "input `queries`: has 0.5"),
    ]:
        with pytest.raises(perceiver.InputError, match=text):
            list(flow.decode(latents, queries=queries, content=np.zeros((1, 54))))
    with pytest.raises(perceiver.InputError, match="input `content`"):
        list(flow.decode(latents, queries=[0]))
    with pytest.raises(perceiver.InputError, match="input `content`"):
        list(flow.decode(latents, queries=[0, 1], content=np.zeros((1, 54))))
    with pytest.raises(perceiver.InputError, match="input `output`"):
        shapes.decode(whole, "sound")
    with pytest.raises(perceiver.InputError, match="last_latents"):
        shapes.decode(latents)


def test_decoding_of_a_clip(cpu):
    model = cpu.load(MODELS / "multimodal-tiny")
    random = np.random.default_rng(7)
    clip = {"image": random.random((1, 8, 3, 24, 24)), "audio": random.random((1, 1024, 1))}
    wanted = model.run(clip)
    latents = model.encode(clip)
    with pytest.raises(perceiver.InputError, match="input `output`: is missing"):
        model.decode(latents)
    found = all_rows(model.decode(latents, "logits.image"))
    np.testing.assert_allclose(found, wanted["logits.image"][0], atol=1e-5)
