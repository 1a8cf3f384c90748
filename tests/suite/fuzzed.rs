//! Every file that once broke a reader, and some that each takes. `tools/fuzz` finds them; the readers are the same.

use std::fs;
use std::path::Path;

use crate::common::{mesh, mesh_file, writers};
use crate::weights::writer;

#[path = "../../tools/fuzz/readers.rs"]
#[allow(unreachable_pub, reason = "the fuzz targets have the file too")]
mod readers;

#[test]
fn files_that_were_found_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz");
    let mut kinds = 0;
    for kind in fs::read_dir(&folder).expect("a folder") {
        let kind = kind.expect("an entry").path();
        let name = kind.file_name().and_then(|n| n.to_str()).expect("a name");
        let known = readers::READERS.iter().find(|(reader, _)| *reader == name);
        let (_, reader) = known.unwrap_or_else(|| panic!("`{name}` is no reader"));
        for file in fs::read_dir(&kind).expect("a folder") {
            let file = file.expect("an entry").path();
            println!("{}", file.display());
            reader(&fs::read(&file).expect("a file"));
        }
        kinds += 1;
    }
    assert!(kinds >= 20, "{kinds} kinds of files");
}
