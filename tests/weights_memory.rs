//! Memory that reading a weight file takes, measured: never more than a small multiple of its length,
//! whatever it promises. One test alone in its program, since the allocator counts all threads.

#[path = "suite/weights/writer.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod writer;

use std::fs;
use std::path::Path;

use peak_alloc::PeakAlloc;
use perceiver::checkpoint::read_tensors;
use proptest::test_runner::{Config, TestRunner};
use writer::{Entry, Pickle, archive, torch};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// For messages, threads and what a file of a few bytes takes.
const SLACK: usize = 256 << 10;
/// Values of instructions take some dozens of bytes each; tensors that share a storage count up to 16
/// times, their floats twice.
const MULTIPLE: usize = 64;

/// Peak bytes while a file is read, whatever comes of it.
fn peak(path: &Path) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    drop(read_tensors(path));
    ALLOCATOR.peak_usage().saturating_sub(before)
}

fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("recorded files")
        .map(|e| fs::read(e.expect("an entry").path()).expect("read"))
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    files
}

/// Files that ask for as much as they can.
fn greedy() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for code in *b"N(})]K" {
        let mut pickle = Pickle::new();
        let codes: &[u8] = match code {
            b'K' => &[b'K', 1],
            _ => &[code],
        };
        pickle = pickle.bytes(&codes.repeat(1_000_000));
        files.push(pickle.0.clone());
        files.push(torch(pickle.0, &[]));
    }
    // Each value remembered and put twice.
    files.push(Pickle::new().bytes(&b"N\x942".repeat(300_000)).0);
    files.push(Pickle::new().bytes(&b"N2\x85".repeat(300_000)).0);
    for code in [0x8e, 0x8d, 0x96] {
        files.push(Pickle::new().op(code).bytes(&(1u64 << 40).to_le_bytes()).0);
    }
    // A terabyte of elements, in shapes, strides and storages.
    for (len, shape, strides) in [
        (1 << 40, vec![1 << 40], vec![1]),
        (4, vec![1 << 40], vec![0]),
        (4, vec![1 << 20, 1 << 20], vec![0, 0]),
    ] {
        let pickle = Pickle::new().op(b'}').text("a");
        let pickle = pickle.tensor(("FloatStorage", "0", len), 0, &shape, &strides);
        files.push(torch(pickle.op(b's').done(), &[("0", vec![0; 16])]));
    }
    // Many names for one storage, just below and above what is allowed.
    for count in [15, 17, 5000] {
        let mut pickle = Pickle::new().bytes(b"}(");
        for i in 0..count {
            pickle = pickle.text(&format!("{i}"));
            pickle = pickle.tensor(("FloatStorage", "0", 1 << 16), 0, &[1 << 16], &[1]);
        }
        let storage = vec![0; 4 << 16];
        files.push(torch(pickle.op(b'u').done(), &[("0", storage)]));
    }
    // Modules that are all the same large one.
    let mut pickle = Pickle::new().bytes(b"}(").text("a").bytes(b"}(");
    for i in 0..20_000 {
        pickle = pickle.text(&format!("{i}")).op(b'N');
    }
    pickle = pickle.bytes(b"uq\x00");
    for i in 0..20_000 {
        pickle = pickle.text(&format!("m{i}")).bytes(b"h\x00");
    }
    files.push(pickle.op(b'u').done());
    // An archive that states what is not there.
    let mut entry = Entry::new("m/data/0", vec![0; 16]);
    entry.stated = Some(u32::MAX - 1);
    for method in [0, 8] {
        entry.method = method;
        files.push(archive(std::slice::from_ref(&entry), false));
    }
    let many: Vec<Entry> = (0..20_000).map(|i| Entry::new(&format!("m/data/{i}"), [])).collect();
    files.push(archive(&many, true));
    files
}

#[test]
fn memory_follows_the_length_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.bin");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        let (peak, most) = (peak(&path), SLACK + MULTIPLE * bytes.len());
        assert!(peak <= most, "{peak} for a file of {} bytes", bytes.len());
        peak as f64 / bytes.len() as f64
    };
    // Threads and tables that are made once.
    check(&fixtures()[0]);
    let mut worst = 0f64;
    for file in greedy() {
        worst = worst.max(check(&file));
    }
    println!("at most {worst:.1} bytes for each of a file");
    let files = fixtures();
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let index = proptest::prelude::any::<proptest::sample::Index>();
    let change = (index, proptest::prelude::any::<u8>());
    let changes = proptest::collection::vec(change, 1..5);
    let chosen = (proptest::sample::select(files), changes);
    TestRunner::new(config)
        .run(&chosen, |(mut bytes, changes)| {
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            check(&bytes);
            Ok(())
        })
        .expect("no file takes more");
}
