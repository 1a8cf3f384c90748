//! The pipelines of `perceiver::tasks` without a model: against recorded results of Hugging Face's and
//! DeepMind's code, against stand-in networks, and against damaged files.

mod files;
mod flow;
mod images;
mod media;
mod pictures;
mod sound;
mod text;
mod video;
mod y4m_writer;

use std::path::PathBuf;

/// A tensor file of a recorded case.
fn recorded(case: &str, file: &str) -> perceiver::NamedTensors {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/golden")
        .join(case)
        .join(file);
    perceiver::checkpoint::read_tensors(&path).expect("a recorded case")
}

/// The message of an error.
#[track_caller]
fn message<T>(result: perceiver::Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}
