//! Video and sound as files: what the command makes of results. The library only reads them. Tests of the
//! library have these writers too.

pub mod gif;
pub mod wav;
pub mod y4m;
