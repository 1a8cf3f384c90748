//! What the fuzz targets share: the readers, and the bound of memory that holds for all of them.

use std::alloc::System;

use cap::Cap;

#[path = "../../perceiver/src/writers/mod.rs"]
mod writers;

#[path = "../../../tests/suite/weights/writer.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod writer;

#[path = "../readers.rs"]
pub mod readers;

/// Bytes that all allocations of the library together may take. What asks for more ends the process, or is an error
/// where the library is prepared for it. Machines that run targets have many times as much.
const MEMORY: usize = 256 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);
