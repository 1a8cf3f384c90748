"""Pipelines on what Python people hold."""

import numpy as np
import perceiver
import pytest
from conftest import MODELS


def test_fill_mask(text):
    masked = "The comp[MASK]ler checks that every re[MASK]erence is val[MASK]d."
    filled = text.fill_mask(masked)
    assert filled["text"] == "The compiler checks that every reference is valid."
    span = filled["spans"][0]
    assert span["text"] == "i" and span["bytes"][0]["byte"] == ord("i")
    assert len(span["bytes"][0]["top"]) == 5
    assert text.fill_mask([masked, masked], top=1) == [text.fill_mask(masked, top=1)] * 2
    assert text.fill_mask(np.array([masked]), most_certain_first=True)[0]["text"] == filled["text"]
    with pytest.raises(perceiver.InputError, match=r"input `texts\[1\]`: there is nothing to fill"):
        text.fill_mask([masked, "nothing"])
    for wrong in [3, None, b"bytes [MASK]", [b"bytes"], [None]]:
        with pytest.raises(perceiver.DTypeError, match="input `texts`"):
            text.fill_mask(wrong)


@pytest.fixture(scope="module")
def drawing():
    y, x = np.mgrid[:40, :50]
    inside = (x - 25) ** 2 + (y - 20) ** 2 < 150
    return np.where(inside[..., None], [200, 40, 40], [240, 240, 240]).astype(np.uint8)


def test_classify_pictures(shapes, drawing):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    wanted = shapes.classify(drawing, top=3)
    assert wanted[0]["label"] == "circle" and len(wanted) == 3
    assert wanted[0]["probability"] > wanted[1]["probability"]
    alpha = np.concatenate([drawing, np.full((40, 50, 1), 7, np.uint8)], axis=2)
    one = image.fromarray(drawing)
    for picture in [one, one.convert("RGBA"), alpha, np.asfortranarray(drawing), one.convert("P", colors=256)]:
        assert shapes.classify(picture, top=3)[0]["label"] == "circle"
    assert shapes.classify(one, top=3) == wanted
    assert shapes.classify(alpha, top=3) == wanted
    for several in [[one, drawing], (drawing, one), np.stack([drawing, drawing])]:
        assert shapes.classify(several, top=3) == [wanted, wanted]
    grey = shapes.classify(drawing[..., 1], top=3)
    assert grey == shapes.classify(np.repeat(drawing[..., 1:2], 3, axis=2), top=3)
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert shapes.classify(torch.from_numpy(drawing), top=3) == wanted


def test_pictures_that_are_none(shapes, drawing):
    for wrong in [drawing / 255, drawing.astype(np.int64), "circle.png", None]:
        with pytest.raises(perceiver.DTypeError, match="input `pictures`"):
            shapes.classify(wrong)
    for wrong in [drawing.transpose(2, 0, 1), drawing[0, 0], drawing[:0]]:
        with pytest.raises(perceiver.InputError):
            shapes.classify(wrong)
    with pytest.raises(perceiver.InputError, match=r"input `pictures\[1\]`"):
        shapes.classify([drawing, drawing / 255])


def test_a_model_of_another_kind_is_refused(shapes, text, drawing):
    with pytest.raises(perceiver.InputError, match="input `model`"):
        shapes.fill_mask("a[MASK]")
    with pytest.raises(perceiver.InputError, match="input `model`"):
        text.flow(drawing, drawing)


def test_flow(cpu):
    model = cpu.load(MODELS / "flow-tiny")
    coarse = np.random.default_rng(8).random((14, 18, 3)) * 255
    picture = np.kron(coarse, np.ones((8, 8, 1)))
    for _ in range(4):
        picture = sum(np.roll(picture, n, axis) for axis in (0, 1) for n in (-2, 0, 2)) / 6
    picture = picture.astype(np.uint8)
    first, second = picture[4:100, 4:132], picture[4:100, 2:130]
    flow = model.flow(first, second)
    assert flow.shape == (96, 128, 2) and flow.dtype == np.float32
    assert 1 < np.median(flow[..., 0]) < 3 and abs(np.median(flow[..., 1])) < 0.7
    whole = model.flow(first, second, one_pass=True)
    np.testing.assert_allclose(whole, flow, atol=1e-2)
    coloured = perceiver.flow_picture(flow)
    assert coloured.shape == (96, 128, 3) and coloured.dtype == np.uint8
    assert (perceiver.flow_picture(flow, longest=100.0) != coloured).any()
    with pytest.raises(perceiver.InputError, match="input `flow`"):
        perceiver.flow_picture(flow[..., 0])
    with pytest.raises(perceiver.InputError):
        model.flow(first, second[:50])


def test_autoencode(cpu):
    model = cpu.load(MODELS / "multimodal-tiny")
    frames = np.random.default_rng(9).integers(0, 255, (8, 30, 40, 3), dtype=np.uint8)
    clip = model.autoencode(frames, np.zeros(1024, np.int16), top=2)
    assert clip["frames"].shape == (8, 24, 24, 3) and clip["frames"].dtype == np.uint8
    assert clip["audio"].shape == (1024,) and len(clip["classes"]) == 2 and clip["audio_snr"] is None
    sound = (np.sin(np.arange(1024) / 9) * 20000).astype(np.int16)
    ways = [model.autoencode(list(frames), s) for s in [sound, sound / 32768, (sound / 32768).astype("f4")]]
    for way in ways[1:]:
        np.testing.assert_allclose(way["audio"], ways[0]["audio"], atol=1e-5)
    assert ways[0]["audio_snr"] is not None
    with pytest.raises(perceiver.InputError, match="input `frames`: there are 7"):
        model.autoencode(frames[:7])
    with pytest.raises(perceiver.InputError, match="input `audio`: has shape"):
        model.autoencode(frames, np.zeros((1024, 2)))
    with pytest.raises(perceiver.DTypeError, match="input `audio`: has elements of type int64"):
        model.autoencode(frames, np.zeros(1024, np.int64))


def test_shape(cpu):
    model = cpu.load(MODELS / "shape-tiny")
    points = np.random.default_rng(10).normal(size=(1, 2048, 3))
    points = 0.6 * points / np.linalg.norm(points, axis=2, keepdims=True)
    latents = model.encode({"pc": points, "sampled_pc": points[:, :64]})
    grid = model.shape(latents, cells=16)
    assert grid.shape == (17, 17, 17)
    assert grid[8, 8, 8] > 0 > grid[0, 0, 0]
    blocks = model.shape(latents, cells=16, block=4)
    assert ((blocks > 0) == (grid > 0)).mean() > 0.99
    with pytest.raises(perceiver.InputError, match="input `grid`"):
        model.shape(latents, cells=0)
