"""Modules of Hugging Face's transformers give the same outputs here: all seven classes, against float64."""

import copy
import os

import numpy as np
import perceiver
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL = dict(
    num_latents=6,
    d_latents=32,
    num_blocks=2,
    num_self_attends_per_block=2,
    num_self_attention_heads=4,
    num_cross_attention_heads=2,
)
WORDS = dict(SMALL, d_model=24, vocab_size=40, max_position_embeddings=20)
LABELS = dict(num_labels=5)
ONE_HEAD = dict(SMALL, num_cross_attention_heads=1)
CLIP = dict(
    ONE_HEAD,
    num_frames=4,
    image_size=4,
    audio_samples_per_frame=32,
    samples_per_patch=8,
    output_shape=[1, 4, 16, 16],
    output_num_channels=40,
    _label_trainable_num_channels=64,
    num_labels=5,
)


def words(random):
    mask = np.ones((2, 15), np.int64)
    mask[1, 9:] = 0
    return dict(inputs=random.integers(0, 40, (2, 15)), attention_mask=mask)


def picture(side):
    return lambda random: dict(inputs=random.normal(size=(2, 3, side, side)))


CASES = {
    "MaskedLM": (WORDS, words),
    "SequenceClassification": (dict(WORDS, **LABELS), words),
    "ImageClassificationLearned": (dict(ONE_HEAD, image_size=12, **LABELS), picture(12)),
    "ImageClassificationFourier": (dict(ONE_HEAD, image_size=224, **LABELS), picture(224)),
    "ImageClassificationConvProcessing": (dict(ONE_HEAD, **LABELS), picture(64)),
    "OpticalFlow": (
        dict(ONE_HEAD, train_size=[16, 24]),
        lambda random: dict(inputs=random.normal(size=(1, 2, 27, 16, 24))),
    ),
    "MultimodalAutoencoding": (
        CLIP,
        lambda random: dict(
            inputs=dict(
                image=random.random((1, 4, 3, 16, 16)),
                audio=random.normal(size=(1, 128, 1)),
                label=np.zeros((1, 5)),
            ),
            subsampled_output_points=dict(image=np.arange(0, 900, 7), audio=np.arange(3, 15), label=None),
        ),
    ),
}


def module_of(name):
    torch.manual_seed(0)
    config = transformers.PerceiverConfig(**copy.deepcopy(CASES[name][0]))
    module = getattr(transformers, f"PerceiverFor{name}")(config).eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            # Biases and gains are of use only where they are not zeros and ones.
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return module


def tensors(value, floats=torch.float64):
    if isinstance(value, dict):
        return {name: tensors(inner, floats) for name, inner in value.items()}
    if value is None:
        return None
    tensor = torch.from_numpy(np.asarray(value))
    return tensor.to(floats) if tensor.is_floating_point() else tensor


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A module, its inputs, and what it gives in float64."""
    module = module_of(request.param)
    inputs = CASES[request.param][1](np.random.default_rng(1))
    with torch.no_grad():
        logits = copy.deepcopy(module).double()(**tensors(inputs)).logits
    outputs = logits if isinstance(logits, dict) else {"": logits}
    return module, inputs, {f"logits.{n}" if n else "logits": t.numpy() for n, t in outputs.items()}


def agree(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        assert np.linalg.norm(found[name] - value) <= 1e-5 * np.linalg.norm(value), name


def test_outputs_are_those_of_the_module(engine, case):
    module, inputs, wanted = case
    model = perceiver.from_transformers(module, engine=engine)
    assert model.name == type(module).__name__
    agree(model.run(inputs), wanted)
    # What a torch program has.
    agree(model.run(**tensors(inputs, torch.float32)), wanted)


def test_modules_in_other_precisions(cpu):
    module = module_of("MaskedLM")
    inputs = words(np.random.default_rng(2))
    for kind in [torch.float64, torch.float16, torch.bfloat16]:
        stored = copy.deepcopy(module).to(kind)
        with torch.no_grad():
            wanted = copy.deepcopy(stored).double()(**tensors(inputs)).logits.numpy()
        agree(perceiver.from_transformers(stored, engine=cpu).run(inputs), {"logits": wanted})


def test_subclasses_and_later_changes(cpu):
    class Mine(transformers.PerceiverForMaskedLM):
        pass

    torch.manual_seed(0)
    module = Mine(transformers.PerceiverConfig(**WORDS)).eval()
    inputs = words(np.random.default_rng(3))
    model = perceiver.from_transformers(module, engine=cpu)
    assert model.name == "PerceiverForMaskedLM"
    with torch.no_grad():
        wanted = {"logits": module(**tensors(inputs)).logits.double().numpy()}
        for tensor in module.state_dict().values():
            tensor.zero_()
    agree(model.run(inputs), wanted)


def test_other_modules_are_refused(cpu):
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    with pytest.raises(perceiver.Error, match="(?i)bert"):
        perceiver.from_transformers(transformers.BertModel(config), engine=cpu)
    with pytest.raises(perceiver.Error, match="PerceiverModel"):
        perceiver.from_transformers(transformers.PerceiverModel(transformers.PerceiverConfig(**WORDS)), engine=cpu)
    with pytest.raises(perceiver.DTypeError, match="input `module`"):
        perceiver.from_transformers(torch.nn.Linear(2, 2), engine=cpu)
