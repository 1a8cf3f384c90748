//! Valid files with bytes changed, cut off or put in: an error, or tensors that fit the file. Never a
//! panic; `tests/weights_memory.rs` measures that never much memory is taken.

use std::fs;

use perceiver::checkpoint::read_tensors;
use proptest::prelude::*;

use super::writer::Pickle;
use super::{fixture, folder, write};

const FILES: [&str; 6] = [
    "types.bin",
    "types-legacy.bin",
    "haiku-2.pickle",
    "haiku-3.pickle",
    "haiku-4.pickle",
    "haiku-5.pickle",
];

fn read(bytes: &[u8]) -> Result<(), TestCaseError> {
    let folder = folder();
    let path = write(folder.path(), "t.bin", bytes);
    if let Ok(tensors) = read_tensors(path) {
        let elements = |t: &perceiver::Tensor| t.shape().iter().product::<usize>();
        let total: usize = tensors.values().map(elements).sum();
        prop_assert!(total <= 16 * bytes.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_never_panic(
        file in prop::sample::select(&FILES[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        insert in prop::collection::vec(any::<u8>(), 0..6),
        truncate: bool,
    ) {
        let mut bytes = fs::read(fixture(file)).expect("read");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let cut = cut.index(bytes.len());
        if truncate {
            bytes.truncate(cut);
        } else {
            bytes.splice(cut..cut, insert);
        }
        read(&bytes)?;
    }

    /// Instructions in any order, with and without a good beginning.
    #[test]
    fn random_instructions_never_panic(
        codes in prop::collection::vec(prop::sample::select(
            &b"(.012N\x88\x89KMJ\x8aG\x8cXCc\x93)\x85\x86\x87t]lae}dsu\x94qrhjQR\x81b"[..]
        ), 0..60),
        operands in prop::collection::vec(0u8..5, 0..60),
        inside: bool,
    ) {
        let mut pickle = Pickle::new();
        if inside {
            pickle = pickle.op(b'}').text("a").tensor(("FloatStorage", "0", 4), 0, &[4], &[1]);
        }
        for (code, operand) in codes.iter().zip(operands.iter().chain(std::iter::repeat(&0))) {
            pickle = pickle.op(*code).op(*operand);
        }
        let bytes = pickle.done();
        read(&super::writer::torch(bytes.clone(), &[("0", vec![0; 16])]))?;
        read(&bytes)?;
    }
}
