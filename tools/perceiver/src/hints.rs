//! What the command adds to the library's errors: which of its options and subcommands help.

use perceiver::Error;

/// What to try on the command line, if there is something.
pub(crate) fn of(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoDevice { .. } => Some("`perceiver devices` lists what there is"),
        Error::Device { .. } => {
            Some("`perceiver devices` lists what there is, --device cpu takes the CPU executor")
        }
        Error::DeviceLost { .. } => Some("--device cpu takes the CPU executor"),
        Error::OutOfMemory { .. } => {
            Some("--memory bounds what a run takes, --device cpu takes the CPU executor")
        }
        Error::Limit { hint, .. } if hint.contains("raise the memory limit") => Some(
            "--memory bounds what a run takes by smaller parts, --memory-limit raises the limit",
        ),
        Error::NotFinite { .. } => Some("--allow-non-finite lets it pass"),
        Error::Limit { hint, .. } if hint.contains("plain route") => {
            Some("--no-fold takes the plain route, --device cpu the CPU executor")
        }
        Error::Limit { hint, .. } if hint.contains("another device") => {
            Some("`perceiver devices` lists what there is, --device cpu takes the CPU executor")
        }
        Error::Hub { .. } => Some("`perceiver models` lists known names"),
        Error::Checkpoint { what, .. } if what == "is there already" => {
            Some("--force overwrites it")
        }
        Error::Input { name, .. } if name == "precision" || name == "device" => {
            Some("--device gpu takes a GPU, `perceiver devices` lists them")
        }
        Error::Input { name, .. } if name == "latents" => {
            Some("`perceiver latents encode` and `perceiver run --intermediates` write such files")
        }
        _ => None,
    }
}
