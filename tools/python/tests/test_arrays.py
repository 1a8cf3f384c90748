"""Arrays of every type and layout: converted, or refused by name, never misread."""

import array
import ctypes
import subprocess
import sys
import textwrap

import numpy as np
import perceiver
import pytest
from conftest import MODELS


@pytest.fixture(scope="module")
def expected(shapes):
    def of(values):
        return shapes.run(pixel_values=np.ascontiguousarray(values, dtype=np.float32))["logits"]

    return of


FLOATS = ["f2", "f4", "f8", ">f2", ">f4", ">f8", "g", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">u8"]


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_of_every_type(shapes, expected, dtype):
    values = (np.random.default_rng(2).random((1, 3, 32, 32)) * 2).astype(dtype)
    found = shapes.run(pixel_values=values)["logits"]
    np.testing.assert_array_equal(found, expected(values.astype(np.float32)))


INTEGERS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">i8", ">u8", "f2", "f4", "f8", ">f8"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_whole_numbers_of_every_type(text, dtype):
    ids = np.array([[4, 80, 7, 100, 0, 1]]) if dtype != "?" else np.array([[1, 0, 1]])
    found = text.run(input_ids=ids.astype(dtype))["logits"]
    np.testing.assert_array_equal(found, text.run(input_ids=ids)["logits"])


def test_mask_of_booleans(text):
    ids = np.array([[4, 80, 7, 100, 0, 0]])
    mask = ids > 0
    as_numbers = text.run(input_ids=ids, attention_mask=mask.astype(np.int64))["logits"]
    for given in [mask, mask.astype(np.float32), mask.tolist()]:
        np.testing.assert_array_equal(text.run(input_ids=ids, attention_mask=given)["logits"], as_numbers)


def layouts(x):
    """The same values, differently laid out."""
    spread = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    spread[..., ::2] = x
    backwards = np.ascontiguousarray(x[..., ::-1])
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    read_only = x.copy()
    read_only.setflags(write=False)
    record = np.zeros(x.shape, [("skip", "u1"), ("x", x.dtype)])
    record["x"] = x
    return {
        "fortran": np.asfortranarray(x),
        "steps": spread[..., ::2],
        "backwards": backwards[..., ::-1],
        "transposed": np.ascontiguousarray(x.T).T,
        "unaligned": unaligned,
        "read only": read_only,
        "field": record["x"],
        "broadcast": np.broadcast_to(x[:1], x.shape),
        "swapped": x.astype(x.dtype.newbyteorder()),
        "memoryview": memoryview(x),
        "lists": x.tolist(),
        "subclass": x.view(type("Mine", (np.ndarray,), {})),
    }


@pytest.mark.parametrize("layout", layouts(np.zeros((1, 1), np.float32)))
def test_layouts(shapes, expected, pixels, layout):
    x = pixels[:1]
    given = layouts(x)[layout]
    before = np.array(given).copy()
    np.testing.assert_array_equal(shapes.run(pixel_values=given)["logits"], expected(x))
    np.testing.assert_array_equal(np.array(given), before)


def test_buffers_of_the_standard_library(text):
    wanted = text.run(input_ids=[[5, 6, 7]])["logits"]
    shared = (ctypes.c_int32 * 3 * 1)((5, 6, 7))
    for given in [np.array(array.array("q", [5, 6, 7]))[None], memoryview(shared), shared]:
        np.testing.assert_array_equal(text.run(input_ids=given)["logits"], wanted)


REFUSED = {
    "complex": np.zeros((1, 3), complex),
    "object": np.array([[1, None, 2]], object),
    "text": np.array([["1", "2"]]),
    "bytes": b"\x01\x02",
    "string": "hello",
    "date": np.zeros((1, 2), "M8[s]"),
    "duration": np.zeros((1, 2), "m8[s]"),
    "record": np.zeros((1, 2), [("a", "i4"), ("b", "i4")]),
    "ragged": [[1, 2], [3]],
    "dictionary": {"a": 1},
    "nothing inside": [[None, 1]],
    "masked": np.ma.masked_array([[1, 2]], mask=[[True, False]]),
    "generator": (i for i in range(3)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_of_numbers_is_refused_by_name(text, kind):
    with pytest.raises(perceiver.DTypeError, match="input `input_ids`") as caught:
        text.run(input_ids=REFUSED[kind])
    assert isinstance(caught.value, (TypeError, ValueError, perceiver.InputError))


@pytest.mark.parametrize(
    "values, what",
    [
        ([[1.5, 2]], "has 1.5 at element 0"),
        ([[np.nan]], "has NaN at element 0"),
        ([[np.inf]], "has inf at element 0"),
        (np.array([[2**63 + 5]], np.uint64), "has 9223372036854775813 at element 0"),
        ([[-1]], "has -1 at"),
        ([[300]], "has 300 at"),
        (5, r"has shape \[\]"),
        ([5], r"has shape \[1\]"),
        (np.zeros((1, 0), int), r"has shape \[1, 0\]"),
        (np.zeros((0, 5), int), r"has shape \[0, 5\]"),
    ],
)
def test_wrong_numbers_and_shapes_are_refused_by_name(text, values, what):
    with pytest.raises(perceiver.InputError, match=f"input `input_ids`: .*{what}"):
        text.run(input_ids=values)


def test_infinities_are_refused(shapes, pixels):
    for value in [np.nan, np.inf, 1e300]:
        given = pixels.astype(np.float64)
        given[0, 0, 0, 5] = value
        with np.errstate(over="ignore"), pytest.raises(perceiver.InputError, match="`pixel_values`: has (NaN|inf) at element 5"):
            shapes.run(pixel_values=given)


def test_unknown_and_missing_names(text):
    with pytest.raises(perceiver.InputError, match="`tokens`: is unknown"):
        text.run(tokens=[[1]])
    with pytest.raises(perceiver.InputError, match="`input_ids`: is missing"):
        text.run(input_ids=None)
    with pytest.raises(perceiver.InputError, match="`input_ids`: is given twice"):
        text.run({"input_ids": [[1]]}, input_ids=[[1]])
    with pytest.raises(perceiver.DTypeError, match="`arrays`"):
        text.run([[1]])
    with pytest.raises(perceiver.DTypeError, match="has the key 3"):
        text.run({3: [[1]]})


def test_nothing_is_refused_by_name(shapes):
    with pytest.raises(perceiver.DTypeError, match="input `pixel`: is None"):
        shapes.encoder(image=(32, 32)).push("pixel", 0, None)


def test_results_own_their_memory_and_can_be_written(shapes, pixels):
    first = shapes.run(pixel_values=pixels)["logits"]
    kept = first.copy()
    shapes.run(pixel_values=pixels * 0.5)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    assert first.flags.c_contiguous and first.flags.writeable and first.dtype == np.float32


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
@pytest.mark.parametrize("dtype, copied", [("float32", False), ("float64", True)])
def test_dense_floats_are_not_copied(dtype, copied):
    text = f"""
    import resource, numpy, perceiver
    encoder = perceiver.Engine("cpu").load({str(MODELS / "shapes-tiny")!r}).encoder(image=(32, 32))
    rows = numpy.ones((50_000_000, 1), {dtype!r})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        encoder.push("pixel", 0, rows)
    except perceiver.InputError:
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True, timeout=120)
    # 50 million floats are 190 MiB.
    assert (int(done.stdout) > 150) == copied, done.stdout


class Exporter:
    """A tensor of a package that has DLPack alone."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


def test_dlpack(shapes, expected, pixels):
    found = shapes.run(pixel_values=Exporter(pixels))["logits"]
    np.testing.assert_array_equal(found, expected(pixels))
    read_only = pixels.copy()
    read_only.setflags(write=False)
    np.testing.assert_array_equal(shapes.run(pixel_values=Exporter(read_only))["logits"], expected(pixels))
    with pytest.raises(perceiver.InputError, match=r"`pixel_values`: is on another device.*\.cpu\(\)"):
        shapes.run(pixel_values=Exporter(pixels, (2, 0)))


def test_torch(shapes, text, expected, pixels):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.from_numpy(pixels)
    wanted = expected(pixels)
    for given in [x, x.double(), x.clone().requires_grad_(), x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)]:
        np.testing.assert_array_equal(shapes.run(pixel_values=given)["logits"], wanted)
    for kind in [torch.bfloat16, torch.float16]:
        small = x.to(kind)
        found = shapes.run(pixel_values=small)["logits"]
        np.testing.assert_array_equal(found, expected(small.float().numpy()))
    ids = torch.tensor([[5, 6, 7]])
    for kind in [torch.int64, torch.int32, torch.uint8]:
        mask = torch.ones(1, 3, dtype=torch.bool)
        found = text.run(input_ids=ids.to(kind), attention_mask=mask)["logits"]
        np.testing.assert_array_equal(found, text.run(input_ids=[[5, 6, 7]])["logits"])
    with pytest.raises(perceiver.InputError, match="`pixel_values`"):
        shapes.run(pixel_values=torch.empty(1, 3, 32, 32, device="meta"))
    with pytest.raises(perceiver.DTypeError, match="`pixel_values`"):
        shapes.run(pixel_values=x.to_sparse())
    with pytest.raises(perceiver.DTypeError, match="`pixel_values`"):
        shapes.run(pixel_values=x.to(torch.complex64))
    # Back without a copy.
    result = shapes.run(pixel_values=x)["logits"]
    assert torch.from_numpy(result).data_ptr() == result.ctypes.data


def test_other_numbers_of_numpy(shapes, expected, pixels):
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    small = pixels.astype(types.bfloat16)
    np.testing.assert_array_equal(shapes.run(pixel_values=small)["logits"], expected(small.astype(np.float32)))
