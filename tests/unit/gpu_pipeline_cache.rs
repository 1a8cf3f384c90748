//! Unit tests of `src/gpu/pipeline_cache.rs`.

use super::*;

#[test]
fn only_whole_files_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("new").join("cache");
    assert_eq!(read(&file), None);
    let data: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
    write(&file, &data).expect("written");
    assert_eq!(read(&file).as_deref(), Some(&data[..]));
    let whole = std::fs::read(&file).expect("read");
    // Cut anywhere, any byte changed, anything appended.
    for length in [0, 7, 8, 23, 24, 25, whole.len() - 1] {
        assert_eq!(unpack(whole[..length].to_vec()), None, "{length}");
    }
    for at in (0..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert_eq!(unpack(damaged), None, "{at}");
    }
    assert_eq!(unpack([whole, vec![0]].concat()), None);
}
