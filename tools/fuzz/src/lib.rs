//! What the fuzz targets share: the readers, and the bound of memory that holds for all of them.

use std::alloc::System;

use cap::Cap;
use perceiver::{MemorySize, set_memory_limit};

#[path = "../../perceiver/src/writers/mod.rs"]
mod writers;

/// How the command makes and writes meshes.
#[path = "../../perceiver/src/shape/mesh.rs"]
#[allow(dead_code, reason = "the command uses the rest")]
mod mesh;
#[path = "../../perceiver/src/shape/write.rs"]
#[allow(dead_code, reason = "the command uses the rest")]
mod mesh_file;

#[path = "../../../tests/suite/weights/writer.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod writer;

#[path = "../readers.rs"]
pub mod readers;

/// What the library is told that it may take at once.
const LIMIT: MemorySize = MemorySize(16 << 20);

/// Bytes that all allocations of the library together may take. What asks for more ends the process, or is an error
/// where the library is prepared for it. Machines that run targets have many times as much.
const MEMORY: usize = 256 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);

/// Before the first execution.
pub fn begin() {
    set_memory_limit(LIMIT);
}

/// The target of a reader.
#[macro_export]
macro_rules! target {
    ($reader:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::begin(),
            |bytes: &[u8]| $crate::readers::$reader(bytes)
        );
    };
}
