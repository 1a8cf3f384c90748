//! Files that torch and numpy themselves wrote (`tools/reference/weights_files.py`).

use perceiver::checkpoint::{WeightFormat, read_tensors};
use perceiver::internals::checkpoint::TensorFile;

use super::{fixture, refusal};

#[test]
fn torch_files_hold_what_safetensors_hold() {
    let expected = read_tensors(fixture("types.safetensors")).expect("read");
    assert_eq!(expected.len(), 17);
    for (name, format) in
        [("types.bin", WeightFormat::Torch), ("types-legacy.bin", WeightFormat::TorchLegacy)]
    {
        let file = TensorFile::open(fixture(name)).expect(name);
        assert_eq!(file.format(), format);
        let dtypes = |file: &TensorFile| -> Vec<_> {
            let entries = file.entries();
            entries.map(|(n, e)| (n.to_owned(), e.dtype)).collect()
        };
        let dense = TensorFile::open(fixture("types.safetensors")).expect("open");
        assert_eq!(dtypes(&file), dtypes(&dense), "{name}");
        assert_eq!(read_tensors(fixture(name)).expect(name), expected, "{name}");
    }
}

#[test]
fn pickles_of_numpy_hold_what_safetensors_hold() {
    let expected = read_tensors(fixture("haiku.safetensors")).expect("read");
    assert_eq!(expected.len(), 10);
    for protocol in 2..=5 {
        let name = format!("haiku-{protocol}.pickle");
        let file = TensorFile::open(fixture(&name)).expect(&name);
        assert_eq!(file.format(), WeightFormat::Haiku);
        assert_eq!(read_tensors(fixture(&name)).expect(&name), expected, "{name}");
    }
}

#[test]
fn what_torch_would_call_is_refused_by_name() {
    for (name, called) in [
        // `os.system` is called `posix.system` where it is defined.
        ("refused-system.bin", "`posix.system`"),
        ("refused-eval-legacy.bin", "`__builtin__.eval`"),
        ("refused-module.bin", "`torch.nn.modules.linear.Linear`"),
    ] {
        let parts = [name, called, "is not allowed", "nothing was executed"];
        refusal(TensorFile::open(fixture(name)), &parts);
    }
}
