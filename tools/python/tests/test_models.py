"""Engines and models: where they come from, what they say of themselves."""

import json
import pathlib

import numpy as np
import perceiver
import pytest
from conftest import MODELS, ROOT, read

CONFIG = (MODELS / "text-tiny" / "config.json").read_text()
WEIGHTS = MODELS / "text-tiny" / "model.safetensors"
IDS = np.array([[4, 80, 7, 100, 0, 1]])


def test_an_engine_says_what_it_is(cpu):
    assert (cpu.name, cpu.device, cpu.precision) == ("cpu", "cpu", "f32")
    assert repr(cpu) == 'Engine("cpu", precision="f32")'
    assert all(set(a) == {"index", "name", "backend", "kind", "driver"} for a in cpu.devices)
    assert perceiver.Engine("reference").device == "reference"


@pytest.mark.parametrize(
    "options, error, text",
    [
        (dict(device="no such card"), perceiver.NoDeviceError, "no device matches `no such card`"),
        (dict(device=1.5), perceiver.DTypeError, "input `device`"),
        (dict(device="cpu", precision="f8"), perceiver.InputError, "input `precision`: is `f8`"),
        (dict(device="cpu", memory_budget="some"), perceiver.InputError, "input `memory_budget`: is `some`"),
        (dict(device="cpu", memory_limit=-5), perceiver.InputError, "input `memory_limit`: is `-5`"),
    ],
)
def test_engines_that_cannot_be(options, error, text):
    with pytest.raises(error, match=text) as caught:
        perceiver.Engine(**options)
    assert isinstance(caught.value, perceiver.Error)


def test_f16_is_refused_on_the_cpu():
    with pytest.raises(perceiver.InputError, match="input `precision`"):
        perceiver.Engine("cpu", precision="f16").load(MODELS / "text-tiny")


def test_ways_to_load(cpu, text):
    wanted = text.run(input_ids=IDS)["logits"]
    weights = WEIGHTS.read_bytes()
    models = [
        perceiver.Model.load(str(MODELS / "text-tiny"), engine=cpu),
        perceiver.Model.load(pathlib.Path(MODELS / "text-tiny"), engine=cpu),
        perceiver.Model.load(WEIGHTS, engine=cpu),
        perceiver.Model.load(weights, config=CONFIG, engine=cpu),
        perceiver.Model.load(bytearray(weights), config=json.loads(CONFIG), engine=cpu),
        perceiver.Model.load(memoryview(weights), config=CONFIG, engine=cpu),
    ]
    for model in models:
        np.testing.assert_array_equal(model.run(input_ids=IDS)["logits"], wanted)
        assert repr(model) == "<Model PerceiverForMaskedLM on cpu>"


def test_the_hub_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(perceiver.HubError, match="nobody/nothing") as caught:
        perceiver.Model.load("nobody/nothing", engine=perceiver.Engine("cpu"))
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    "model, options, error, text",
    [
        ("no-such-folder", {}, perceiver.CheckpointError, "no-such-folder"),
        (7, {}, perceiver.DTypeError, "input `model`: is of type int"),
        (b"", dict(config=CONFIG), perceiver.CheckpointError, "bytes in memory"),
        (b"\xff" * 64, dict(config=CONFIG), perceiver.CheckpointError, "bytes in memory"),
        (b"1234", {}, perceiver.InputError, "input `config`: is missing"),
        (b"1234", dict(config={1, 2}), perceiver.DTypeError, "input `config`: is no JSON"),
        (WEIGHTS.read_bytes(), dict(config="{"), perceiver.CheckpointError, "config.json: is not JSON"),
        (WEIGHTS.read_bytes(), dict(config={**json.loads(CONFIG), "d_model": 0}), perceiver.ConfigError, "`d_model`"),
        (str(MODELS / "text-tiny"), dict(config=CONFIG), perceiver.InputError, "input `config`"),
    ],
)
def test_what_cannot_be_loaded(cpu, model, options, error, text):
    with pytest.raises(error, match=text):
        perceiver.Model.load(model, engine=cpu, **options)


def test_damaged_weights_say_what_is_wrong(cpu):
    weights = WEIGHTS.read_bytes()
    with pytest.raises(perceiver.CheckpointError):
        cpu.load(weights[: len(weights) // 2], config=CONFIG)
    other = {**json.loads(CONFIG), "num_latents": 3}
    with pytest.raises(perceiver.CheckpointError, match="do not fit the configuration"):
        cpu.load(weights, config=other)


def test_arrays_as_weights(cpu, text):
    arrays = read(MODELS / "text-tiny" / "model.safetensors")
    wanted = text.run(input_ids=IDS)["logits"]
    for change in [lambda x: x, lambda x: x.astype(">f8"), np.asfortranarray]:
        model = perceiver.Model.from_arrays(CONFIG, {n: change(x.astype("f4")) for n, x in arrays.items()}, engine=cpu)
        np.testing.assert_array_equal(model.run(input_ids=IDS)["logits"], wanted)
    missing = dict(arrays)
    lost = next(iter(missing))
    del missing[lost]
    with pytest.raises(perceiver.CheckpointError, match=f"missing: {lost}"):
        perceiver.Model.from_arrays(CONFIG, missing, engine=cpu)
    with pytest.raises(perceiver.DTypeError, match=f"input `{lost}`"):
        perceiver.Model.from_arrays(CONFIG, {**arrays, lost: "none"}, engine=cpu)


def test_blueprint_of_a_dictionary_and_arrays(cpu):
    layer = {"of": "x", "layer": {"weight": "w", "bias": "b"}, "out": 5}
    blueprint = {
        "inputs": [{"name": "x", "count": 7, "varies": True, "content": {"given": {"input": "x", "channels": 3}}}],
        "arrays": [{"name": "rows", "make": {"linear": layer}}],
        "outputs": [{"name": "y", "array": "rows"}],
    }
    random = np.random.default_rng(4)
    w, b = random.normal(size=(5, 3)), random.normal(size=5).astype(np.float16)
    config = {"model_type": "perceiver-blueprint", "version": 1, "blueprint": blueprint}
    model = perceiver.Model.from_arrays(config, {"w": w, "b": b}, engine=cpu)
    assert model.name == "Perceiver (blueprint)"
    assert [(i.name, i.shape, i.dtype) for i in model.inputs] == [("x", (None, None, 3), "float32")]
    for rows in [7, 11]:
        x = random.normal(size=(2, rows, 3))
        np.testing.assert_allclose(model.run(x=x)["y"], x @ w.T + b, atol=1e-5)
    with pytest.raises(perceiver.ConfigError, match="colour"):
        perceiver.Model.from_arrays({**config, "blueprint": {**blueprint, "colour": 1}}, {"w": w, "b": b}, engine=cpu)


def test_parts_of_a_model_of_arrays(cpu):
    model = cpu.load(MODELS / "shape-tiny")
    points = np.random.default_rng(3).uniform(-1, 1, (1, 1024, 3))
    arrays = {i.name: points[:, :256] for i in model.inputs}
    latents = model.encode(arrays)
    encoded = model.ending_at("last_latents")
    found = encoded.run({i.name: arrays[i.name] for i in encoded.inputs})["last_latents"]
    np.testing.assert_array_equal(found, latents.numpy())
    rest = model.starting_at("last_latents")
    given = {"last_latents": found, **{i.name: arrays[i.name] for i in rest.inputs if i.name in arrays}}
    np.testing.assert_allclose(rest.run(given)["output"], model.run(arrays)["output"], atol=1e-5)
    with pytest.raises(perceiver.InputError, match="has no array"):
        model.starting_at("no such array")


FAMILIES = ROOT / "tests" / "fixtures" / "families"


@pytest.mark.parametrize("family", ["flamingo-0", "hunyuan3d-0", "idefics-0", "ip_adapter-0", "poyo-0", "qwen_vl-0"])
def test_perceivers_inside_other_models(engine, family):
    """Recorded runs of the families' own code."""
    inputs = read(FAMILIES / family / "inputs.safetensors")
    wanted = read(FAMILIES / family / "outputs.safetensors")["output"]
    for path in [FAMILIES / family, FAMILIES / family / "model.safetensors"]:
        model = engine.load(path)
        assert {i.name for i in model.inputs if not i.optional} <= inputs.keys() <= {i.name for i in model.inputs}
        found = model.run(inputs)["output"]
        assert np.linalg.norm(found.ravel() - wanted.ravel()) <= 1e-5 * np.linalg.norm(wanted)
    with pytest.raises(perceiver.CheckpointError, match="no such part"):
        engine.load(FAMILIES / family, part="no such part")


def test_inputs_and_outputs_are_listed(cpu):
    for folder in sorted(MODELS.iterdir()):
        model = cpu.load(folder)
        assert model.inputs and model.outputs
        for info in [*model.inputs, *model.outputs]:
            assert info.name and info.dtype in ("float32", "int64") and isinstance(info.shape, tuple)
            assert info.name in repr(info)
    flow = cpu.load(MODELS / "flow-tiny")
    assert [(i.name, i.shape) for i in flow.inputs] == [("patches", (None, 2, 27, 96, 128))]
    assert [(o.name, o.shape) for o in flow.outputs] == [("logits", (None, 96, 128, 2))]


def test_flow_takes_frames_as_bytes(cpu):
    flow = cpu.load(MODELS / "flow-tiny")
    frames = np.random.default_rng(1).integers(0, 256, (1, 2, 96, 128, 3), dtype=np.uint8)
    scaled = np.pad(frames / 255 * 2 - 1, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [scaled[:, :, dy : dy + 96, dx : dx + 128] for dy in range(3) for dx in range(3)]
    patches = np.moveaxis(np.concatenate(shifts, axis=-1), -1, 2)
    np.testing.assert_allclose(
        flow.run(frames=frames)["logits"], flow.run(patches=patches)["logits"], rtol=1e-5, atol=1e-6
    )
    with pytest.raises(perceiver.InputError, match="u8"):
        flow.run(frames=frames.astype(np.float32))


def test_intermediates_and_warmup(engine, pixels):
    model = engine.load(MODELS / "shapes-tiny")
    model.warmup(pixel_values=pixels)
    found = model.run(pixel_values=pixels, intermediates=True)
    assert found["last_latents"].shape[0] == 2
    assert model.allocated_bytes > 0


def test_budget_of_memory(pixels, shapes):
    small = perceiver.Engine("cpu", memory_budget="8MiB").load(MODELS / "shapes-tiny")
    np.testing.assert_allclose(
        small.run(pixel_values=pixels)["logits"], shapes.run(pixel_values=pixels)["logits"], rtol=1e-4, atol=1e-4
    )
    with pytest.raises(perceiver.LimitError) as caught:
        perceiver.Engine("cpu", memory_budget=1000).load(MODELS / "shapes-tiny").run(pixel_values=pixels)
    assert isinstance(caught.value, MemoryError)


def test_outputs_that_are_not_finite(cpu):
    layer = {"of": "x", "layer": {"weight": "w"}, "out": 2}
    blueprint = {
        "inputs": [{"name": "x", "count": 1, "content": {"given": {"input": "x", "channels": 1}}}],
        "arrays": [{"name": "rows", "make": {"linear": layer}}],
        "outputs": [{"name": "y", "array": "rows"}],
    }
    config = {"model_type": "perceiver-blueprint", "version": 1, "blueprint": blueprint}
    model = perceiver.Model.from_arrays(config, {"w": np.full((2, 1), 1e30)}, engine=cpu)
    with pytest.raises(perceiver.NotFiniteError, match="output `y` has inf") as caught:
        model.run(x=[[[1e30]]])
    assert isinstance(caught.value, ArithmeticError)


def test_docstrings_are_there():
    for owner in [perceiver.Engine, perceiver.Model, perceiver.Encoder, perceiver.EncoderState, perceiver.Latents]:
        assert owner.__doc__
        for name in dir(owner):
            if not name.startswith("_"):
                assert getattr(owner, name).__doc__, f"{owner.__name__}.{name}"
    assert "[batch, length]" in perceiver.Model.run.__doc__
