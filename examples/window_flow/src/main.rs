//! A video in a window with its optical flow drawn over it, all on the app's own device: the model reads two textures
//! and writes a third, in slices between the frames of the window.
//!
//! `cargo run --release -p window_flow -- [--frames FILE] [--seconds N]`
//!
//! FILE is a folder of pictures, a `.y4m` video or a GIF; without one a moving pattern is shown. Escape ends it; L loses
//! the device, to see that it comes back.

mod film;
mod flow;
mod screen;
#[path = "../../shared/texture.rs"]
mod texture;
mod window;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use winit::error::EventLoopError;
use winit::event_loop::EventLoop;

type Failure = Box<dyn std::error::Error>;

/// What is asked on the command line.
#[derive(Default)]
struct Options {
    frames: Option<PathBuf>,
    time: Option<Duration>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
        let mut options = Options::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--frames" => options.frames = Some(value()?.into()),
                "--seconds" => {
                    let value = value()?;
                    let seconds = value.parse().ok().filter(|s| (0.0..=1e6).contains(s));
                    let seconds: f64 = seconds.ok_or(format!("--seconds {value}: no time"))?;
                    options.time = Some(Duration::from_secs_f64(seconds));
                }
                _ => {
                    let known = "known are --frames FILE and --seconds N";
                    return Err(format!("{argument}: {known}").into());
                }
            }
        }
        Ok(options)
    }
}

fn run() -> Result<(), Failure> {
    let options = Options::read(std::env::args().skip(1))?;
    let film = film::Film::open(options.frames)?;
    // Where a library of the window system is missing its crate panics, and says which.
    let events = std::panic::catch_unwind(EventLoop::new);
    let events = events.map_err(|_| "a library that windows need is missing, see above")?;
    let events = events.map_err(no_window)?;
    let mut window = window::App::new(film, options.time, events.owned_display_handle());
    events.run_app(&mut window)?;
    println!("{}", window.outcome()?);
    Ok(())
}

/// Without the place in the source of the window system's crate, which it begins with.
fn no_window(error: EventLoopError) -> Failure {
    let text = error.to_string();
    let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
    format!("no window can be opened here: {why}").into()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("window_flow: {e}");
            ExitCode::FAILURE
        }
    }
}
