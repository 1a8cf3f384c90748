//! Files made to harm: each is refused with a message that names what it asks for.

use perceiver::checkpoint::read_tensors;
use perceiver::internals::checkpoint::TensorFile;

use super::writer::{Entry, Pickle, archive, torch};
use super::{folder, refusal, write};

/// What is said about an archive with this pickle and a storage `0` of 16 bytes.
#[track_caller]
fn refused(pickle: Pickle, parts: &[&str]) {
    refused_bytes(&torch(pickle.done(), &[("0", vec![0; 16])]), parts);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], parts: &[&str]) {
    let folder = folder();
    let path = write(folder.path(), "pytorch_model.bin", bytes);
    refusal(TensorFile::open(&path), &["pytorch_model.bin: "]);
    refusal(TensorFile::open(&path), parts);
}

/// A state dict of one tensor in storage `0`.
fn one(storage: (&str, &str, i64), offset: i64, shape: &[i64], strides: &[i64]) -> Pickle {
    let pickle = Pickle::new().op(b'}').text("a");
    pickle.tensor(storage, offset, shape, strides).op(b's')
}

const FOUR: (&str, &str, i64) = ("FloatStorage", "0", 4);

#[test]
fn names_that_weights_do_not_need_are_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("numpy", "load"),
        ("numpy.testing._private.utils", "runstring"),
        ("collections", "OrderedDict.__class__"),
    ] {
        let wanted = format!("asks for `{module}.{name}`, which is not allowed");
        let parts = [wanted.as_str(), "nothing was executed"];
        refused(Pickle::new().global(module, name), &parts);
        let on_stack = Pickle::new().text(module).text(name).op(0x93);
        refused(on_stack, &parts);
        // In a file of numpy arrays too.
        let folder = folder();
        let bytes = Pickle::new().global(module, name).done();
        let path = write(folder.path(), "a.pickle", &bytes);
        refusal(TensorFile::open(path), &parts);
    }
    refused(Pickle::new().global("o\u{1b}[2J", "x"), &[r"`o\u{1b}[2J.x`"]);
    refused(Pickle::new().text("os").whole(3).op(0x93), &["asks for a type without a proper name"]);
    // Through the old instructions as well.
    refused(Pickle::new().bytes(b"(ios\nsystem\n"), &["the instruction INST (0x69) at byte"]);
    refused(Pickle::new().op(0x82).op(1), &["the instruction EXT"]);
    refused(Pickle::new().op(0x8f), &["the instruction EMPTY_SET"]);
    refused(Pickle::new().bytes(b"S'a'\n"), &["the instruction STRING"]);
    refused(Pickle::new().bytes(b"Pa\n"), &["the instruction PERSID"]);
    refused(Pickle::new().op(0xee), &["the instruction 0xee"]);
}

#[test]
fn allowed_names_do_nothing_but_describe() {
    let call = |p: Pickle| p.op(b')').op(b'R');
    refused(
        call(Pickle::new().global("torch", "FloatStorage")),
        &["with 0 arguments that make no sense"],
    );
    refused(Pickle::new().text("a").op(b')').op(b'R'), &["calls a text with a tuple"]);
    refused(
        call(Pickle::new().global("torch._utils", "_rebuild_tensor_v2")),
        &["RebuildTensorV2 with 0 arguments"],
    );
    refused(
        Pickle::new().global("numpy", "dtype").text("O8").bytes(b"\x85R"),
        &["an array of numpy type `O8`, which no weights have"],
    );
    refused(
        Pickle::new().global("_codecs", "encode").text("a").text("rot13").bytes(b"\x86R"),
        &["Encode with 2 arguments that make no sense"],
    );
    refused(
        Pickle::new().text("a").op(b')').op(b'b'),
        &["gives a text a state of a tuple that makes no sense"],
    );
    refused(
        Pickle::new().op(b'(').text("module").bytes(b"tQ"),
        &["refers to something outside that is no storage"],
    );
}

#[test]
fn lengths_are_believed_only_when_the_bytes_are_there() {
    let huge = u64::MAX.to_le_bytes();
    for code in [0x8e, 0x8d, 0x96] {
        refused(Pickle::new().op(code).bytes(&huge), &["announces 18446744073709551615 bytes, "]);
    }
    for code in [b'X', b'B', b'T'] {
        refused(Pickle::new().op(code).bytes(&[0xff; 4]), &["announces 4294967295 bytes, "]);
    }
    // LONG4 of two gigabytes, then one whose bytes are there.
    refused(
        Pickle::new().op(0x8b).bytes(&[0xff, 0xff, 0xff, 0x7f]),
        &["announces 2147483647 bytes, "],
    );
    refused(Pickle::new().op(0x8a).op(9).bytes(&[1; 9]), &["a whole number of 9 bytes"]);
    refused(Pickle::new().op(b'c').bytes(&[b'a'; 2000]), &["begins a name that does not end"]);
    refused(
        Pickle::new().op(b'j').bytes(&[0xff; 4]),
        &["recalls value 4294967295, which it never had"],
    );
    refused(Pickle::new().op(0x80).op(9), &["protocol 9; 2 to 5"]);
}

#[test]
fn stacks_marks_and_nesting() {
    for code in [b'0', b'1', b't', b'e', b'u', b's', b'R', b'b', b'Q', 0x87, b'2'] {
        refused(Pickle::new().op(code), &["takes more values than it has"]);
    }
    refused(Pickle::new().bytes(b"N)a"), &["appends to what is no list"]);
    refused(Pickle::new().bytes(b"N(NNu"), &["sets an item of what is no mapping"]);
    refused(Pickle::new().bytes(b"}(Nu"), &["has a key without a value"]);
    // A hundred thousand lists in each other, and a list that holds itself.
    let deep = Pickle::new().bytes(&[b']'; 100_000]).bytes(&[b'a'; 99_999]);
    refused(deep, &["what it holds is a list, not a mapping"]);
    let cycle = Pickle::new().bytes(b"]q\x00h\x00a");
    refused(cycle, &["what it holds is a list"]);
    let cycle = Pickle::new().bytes(b"}q\x00").text("a").bytes(b"h\x00s");
    refused(cycle, &["`a` is a mapping, not a tensor"]);
    let endless = Pickle::new().bytes(&vec![b'N'; 600_000]);
    refused(endless, &["more than 524288 instructions"]);
    // A memo with the largest index costs one place.
    let memo =
        one(FOUR, 0, &[4], &[1]).op(b'r').bytes(&[0xff; 4]).op(b'0').op(b'j').bytes(&[0xff; 4]);
    let folder = folder();
    let bytes = torch(memo.done(), &[("0", vec![0; 16])]);
    let path = write(folder.path(), "t.bin", &bytes);
    assert_eq!(read_tensors(path).expect("read").len(), 1);
}

#[test]
fn tensors_stay_in_their_storages() {
    let most = i64::MAX;
    for (offset, shape, strides) in [
        (0, &[5][..], &[1][..]),
        (1, &[4], &[1]),
        (0, &[2, 2], &[3, 1]),
        (0, &[2], &[most]),
        (most, &[1], &[1]),
        (0, &[most, most], &[1, 1]),
        (0, &[most, most, most, most], &[0, 0, 0, 0]),
        // A storage of four elements that stands for a billion.
        (0, &[1_000_000_000], &[0]),
    ] {
        refused(
            one(FOUR, offset, shape, strides),
            &["tensor `a` has shape", "the 4 elements that are there"],
        );
    }
    refused(one(FOUR, 0, &[2, 2], &[1]), &["has shape [2, 2] and strides [1]"]);
    for (shape, strides) in [(&[-1][..], &[1][..]), (&[1], &[-1])] {
        refused(one(FOUR, 0, shape, strides), &["that are no sizes"]);
    }
    refused(one(FOUR, 0, &[1; 9], &[1; 9]), &["has 9 axes, at most 8"]);
    refused(
        one(("FloatStorage", "0", 5), 0, &[4], &[1]),
        &["has a storage of 5 elements of type float32, but there are 16 bytes"],
    );
    refused(
        one(("DoubleStorage", "0", most), 0, &[1], &[1]),
        &["elements of type float64, but there are 16 bytes"],
    );
    refused(
        one(("CharStorage", "0", 4), 0, &[4], &[1]),
        &["tensor `a` has type int8; supported are float32"],
    );
    refused(one(FOUR, -1, &[1], &[1]), &["RebuildTensorV2 with 6 arguments that make no sense"]);
    // No elements need no storage.
    let folder = folder();
    let bytes = torch(one(FOUR, 9, &[0, 3], &[3, 1]).done(), &[("0", vec![0; 16])]);
    let path = write(folder.path(), "t.bin", &bytes);
    assert_eq!(read_tensors(path).expect("read")["a"].shape(), [0, 3]);
}

#[test]
fn many_tensors_of_one_storage_are_not_multiplied() {
    let mut pickle = Pickle::new().bytes(b"}(");
    for i in 0..1000 {
        let name = format!("t{i}");
        pickle = pickle.text(&name).tensor(("FloatStorage", "0", 1 << 20), 0, &[1 << 20], &[1]);
    }
    let bytes = torch(pickle.op(b'u').done(), &[("0", vec![0; 4 << 20])]);
    refused_bytes(&bytes, &["but its tensors take 4194304000 when they are read"]);
}

#[test]
fn storages_are_compared_with_names_and_never_opened() {
    for key in ["../../../etc/passwd", "/etc/passwd", "1", "0/../0", "C:\\x"] {
        let named = format!("refers to `m/data/{}`", key.escape_debug());
        refused(
            one(("FloatStorage", key, 4), 0, &[4], &[1]),
            &[&named, "which is not in the archive"],
        );
    }
    refused(
        one(("FloatStorage", &"9".repeat(600), 4), 0, &[4], &[1]),
        &["a storage without a proper name"],
    );
}

#[test]
fn archives_that_torch_never_makes() {
    let pickle = one(FOUR, 0, &[4], &[1]).done();
    let good = [Entry::new("m/data.pkl", pickle.clone()), Entry::new("m/data/0", vec![0; 16])];
    let with = |more: Entry| archive(&[good[0].clone(), good[1].clone(), more], false);
    refused_bytes(&with(Entry::new("m/data/0", vec![1; 16])), &["two entries of one name"]);
    refused_bytes(&with(Entry::new("n/data.pkl", pickle.clone())), &["with 2 pickles of tensors"]);
    refused_bytes(&archive(&good[1..], false), &["with 0 pickles of tensors"]);
    for name in ["data.pkl", "/data.pkl", "a/../data.pkl"] {
        let entries = [Entry::new(name, pickle.clone()), good[1].clone()];
        refused_bytes(&archive(&entries, false), &["with 0 pickles of tensors"]);
    }
    refused_bytes(&with(Entry::new("m/byteorder", "middle")), &["the byte order `middle`"]);
    // A bomb: four gigabytes are stated, sixteen bytes are there.
    for (method, stated) in [(8, None), (8, Some(u32::MAX - 1)), (0, Some(1 << 31)), (93, None)] {
        let mut bomb = good[1].clone();
        (bomb.method, bomb.stated) = (method, stated);
        refused_bytes(
            &archive(&[good[0].clone(), bomb], false),
            &["the entry `m/data/0`, which is compressed, as torch.save never does"],
        );
    }
    let whole = archive(&good, false);
    for length in [4, 30, whole.len() / 2, whole.len() - 1] {
        refused_bytes(&whole[..length], &["or is truncated"]);
    }
    // Two entries in the directory for the same bytes.
    let mut overlap = whole.clone();
    let directory = overlap.windows(4).rposition(|w| w == b"PK\x01\x02").expect("a directory");
    overlap[directory + 42..directory + 46].fill(0);
    refused_bytes(&overlap, &["entries that overlap"]);
}

#[test]
fn both_byte_orders_and_large_archives() {
    let pickle = one(FOUR, 1, &[3], &[1]).done();
    let folder = folder();
    for (order, zip64) in [(None, true), (Some("little"), false), (Some("big"), true)] {
        let storage: Vec<u8> = [0f32, 1.0, -2.0, 3.5]
            .iter()
            .flat_map(|x| match order {
                Some("big") => x.to_be_bytes(),
                _ => x.to_le_bytes(),
            })
            .collect();
        let mut entries = vec![
            Entry::new("any name/data.pkl", pickle.clone()),
            Entry::new("any name/data/0", storage),
        ];
        entries.extend(order.map(|o| Entry::new("any name/byteorder", o)));
        let path = write(folder.path(), "t.bin", &archive(&entries, zip64));
        let read = read_tensors(path).expect("read");
        assert_eq!(read["a"].as_f32(), Some(&[1.0, -2.0, 3.5][..]));
    }
}

#[test]
fn state_dicts_hold_tensors() {
    refused(
        Pickle::new().op(b'}').text("epoch").whole(3).op(b's'),
        &[
            "`epoch` is a whole number, not a tensor; give a state dict: torch.save(model.state_dict()",
        ],
    );
    refused(
        Pickle::new().op(b'}').whole(1).whole(3).op(b's'),
        &["what it holds has a whole number as a key, not a name"],
    );
    let twice = one(FOUR, 0, &[4], &[1]).text("a").tensor(FOUR, 0, &[4], &[1]);
    refused(twice.op(b's'), &["has tensor `a` twice"]);
    refused(Pickle::new().op(b'N'), &["what it holds is None, not"]);
}

#[test]
fn files_before_torch_1_6() {
    let fixture = std::fs::read(super::fixture("types-legacy.bin")).expect("read");
    let folder = folder();
    let check = |bytes: &[u8], parts: &[&str]| {
        let path = write(folder.path(), "old.bin", bytes);
        refusal(TensorFile::open(path), parts);
    };
    check(&fixture[..fixture.len() - 1], &["is truncated: a storage at byte", "old.bin"]);
    check(&fixture[..15], &["of its pickle announces 1 bytes, 0 are"]);
    let mut other = fixture.clone();
    other[18] = 0;
    check(&other, &["of another protocol than 1001"]);
    let magic = &fixture[..15];
    let parts = [magic, b"\x80\x02M\xe9\x03.", b"\x80\x02}.", b"\x80\x02}."];
    let start = parts.concat();
    check(&[&start[..], b"\x80\x02}."].concat(), &["has no list of storages"]);
    let keys = Pickle::new().op(b']').text("7").op(b'a').done();
    check(&[&start[..], &keys].concat(), &["has a storage that no tensor uses"]);
    let one = one(FOUR, 0, &[4], &[1]).done();
    let start = [magic, b"\x80\x02M\xe9\x03.", b"\x80\x02}.", &one].concat();
    check(&[&start[..], b"\x80\x02]."].concat(), &["has a tensor whose storage is not there"]);
    let keys = Pickle::new().op(b']').text("0").op(b'a').done();
    let huge = i64::MAX.to_le_bytes();
    check(&[&start[..], &keys, &huge].concat(), &["is truncated: a storage at byte"]);
}

#[test]
fn pickles_of_arrays() {
    let folder = folder();
    let check = |pickle: Pickle, parts: &[&str]| {
        let path = write(folder.path(), "a.pickle", &pickle.done());
        refusal(TensorFile::open(path), parts);
    };
    let scalar = |pickle: Pickle, code: &str, data: &[u8]| {
        pickle
            .global("numpy.core.multiarray", "scalar")
            .global("numpy", "dtype")
            .text(code)
            .bytes(b"\x85RC")
            .op(data.len() as u8)
            .bytes(data)
            .bytes(b"\x86R")
    };
    let modules = || Pickle::new().op(b'}').text("m").op(b'}').text("w");
    check(
        scalar(modules(), "f4", &[0; 3]).bytes(b"ss"),
        &["array `m/w` of shape [] and type F32 has 3 bytes"],
    );
    check(scalar(modules(), "c8", &[0; 8]).bytes(b"ss"), &["array `m/w` has type complex64"]);
    check(
        modules().whole(3).bytes(b"ss"),
        &["`m/w` is a whole number, not an array with its elements"],
    );
    check(
        Pickle::new().op(b'}').text("m").whole(3).op(b's'),
        &["module `m` is a whole number, not a mapping of names to arrays"],
    );
    // An array whose elements never come.
    let reconstruct = |p: Pickle| {
        p.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray").bytes(b"\x85R")
    };
    check(
        reconstruct(modules()).bytes(b"ss"),
        &["`m/w` is a numpy array, not an array with its elements"],
    );
    // A buffer whose shape overflows, and one in protocol 2 with a character that is no byte.
    let buffer = |shape: &[i64]| {
        modules()
            .global("numpy.core.numeric", "_frombuffer")
            .bytes(b"(C\x04\0\0\0\0")
            .global("numpy", "dtype")
            .text("f4")
            .bytes(b"\x85R")
            .sizes(shape)
            .text("C")
            .bytes(b"tRss")
    };
    check(
        buffer(&[i64::MAX, i64::MAX]),
        &["array `m/w` of shape [9223372036854775807, 9223372036854775807]"],
    );
    check(buffer(&[1; 9]), &["has 9 axes"]);
    let encoded = modules()
        .global("numpy.core.multiarray", "scalar")
        .global("numpy", "dtype")
        .text("f4")
        .bytes(b"\x85R")
        .global("_codecs", "encode")
        .text("abc€")
        .text("latin1")
        .bytes(b"\x86R\x86Rss");
    check(encoded, &["array `m/w` of shape [] and type F32 has 6 bytes"]);
    let twice = scalar(modules(), "f4", &[0; 4]).op(b's').text("w");
    let twice = scalar(twice, "f4", &[0; 4]).bytes(b"ss");
    check(twice, &["has array `m/w` twice"]);
}
