//! The `perceiver` command: runs models, checks kernels, reports plans.
//!
//! Results go to standard output, bars and messages to standard error. With `--json` every result is
//! one JSON document. Exit code 0: done; 1: failed, or a check found something wrong; 2: the command
//! line makes no sense; 130: interrupted, with nothing half written left behind.

mod autoencode;
mod bench;
mod catalogue;
mod check;
mod classes;
mod classify_image;
mod classify_text;
mod convert;
mod demo;
mod devices;
mod fill_mask;
mod flow;
mod flow_output;
mod hints;
mod kernel_models;
mod kernels;
mod known;
mod latents;
mod models;
mod plan;
mod predict;
mod profile;
mod published;
mod run;
mod runner;
mod scaling;
mod scaling_plot;
mod shape;
mod show;
mod statistics;
mod texts;
mod translation;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use perceiver::internals::output::discard_unfinished;
use perceiver::{MemorySize, set_memory_limit};

/// What shells expect of a command that was interrupted.
const INTERRUPTED: i32 = 130;

/// What a command ends with: true when all is well, false when a check found something wrong.
type Outcome = perceiver::Result<bool>;

#[derive(Parser)]
#[command(
    name = "perceiver",
    version,
    about = "Runs Perceiver IO models on any GPU, or on the CPU"
)]
struct Arguments {
    /// The most memory that one file, one input or one run may take [default: half of the machine's]
    #[arg(long, global = true, value_name = "SIZE")]
    memory_limit: Option<MemorySize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generates a pair of frames, computes their flow, fills a masked sentence: the shipped models
    /// at work
    Demo(demo::Options),
    /// Lists adapters, and says which one automatic choice takes and why
    Devices(devices::Options),
    /// Lists models that can be given by name, and which of them are on this machine
    Models(catalogue::Options),
    /// Fills masked bytes of texts: a [MASK] for each hidden byte, or [MASK:7] for seven, in texts of any
    /// length
    FillMask(fill_mask::Options),
    /// Says which class texts belong to, each no longer than the model takes
    ClassifyText(classify_text::Options),
    /// Says what is on pictures
    ClassifyImage(classify_image::Options),
    /// Takes a clip of video and sound through the latents and back, and says what it shows
    Autoencode(autoencode::Options),
    /// Computes the optical flow between two pictures, or within a video
    Flow(flow::Options),
    /// Encodes inputs once, decodes any queries later
    Latents(latents::Options),
    /// Makes a mesh of a shape: .glb, .obj or .ply, and a picture
    Shape(shape::Options),
    /// Runs any supported checkpoint on the tensors of a file
    Run(run::Options),
    /// Writes a model of any format that is read as safetensors
    Convert(convert::Options),
    /// Says what a model will cost, without running anything
    Plan(plan::Options),
    /// Checks every kernel against its float64 reference
    Check(check::Options),
    /// Lists kernels with their variants, what they need and which models run them; writes them in the languages
    /// of the back ends, and says what a Vulkan driver makes of them
    Kernels(kernels::Options),
    /// Times whole models
    Bench(bench::Options),
    /// Finds the fastest variants of the kernels on a model's shapes, and keeps them for later runs
    Tune(tune::Options),
    /// Says where the time of a run goes, kernel by kernel, beside what the device can do at best
    Profile(profile::Options),
    /// Measures how cost grows with inputs, latents and outputs: a table and a plot
    Scaling(scaling::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Some(limit) = arguments.memory_limit {
        set_memory_limit(limit);
    }
    // What is half written is not left behind. Where no handler can be set, the system's own ends the command.
    let handled = ctrlc::set_handler(|| {
        discard_unfinished();
        std::process::exit(INTERRUPTED);
    });
    if let Err(error) = handled {
        tracing::debug!(%error, "signals are not handled");
    }
    let outcome = match arguments.command {
        Command::Demo(options) => demo::run(&options),
        Command::Devices(options) => devices::run(&options),
        Command::Models(options) => catalogue::run(&options),
        Command::FillMask(options) => fill_mask::run(&options),
        Command::ClassifyText(options) => classify_text::run(&options),
        Command::ClassifyImage(options) => classify_image::run(&options),
        Command::Autoencode(options) => autoencode::run(&options),
        Command::Flow(options) => flow::run(&options),
        Command::Latents(options) => latents::run(&options),
        Command::Shape(options) => shape::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Convert(options) => convert::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Kernels(options) => kernels::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Tune(options) => tune::run(&options),
        Command::Profile(options) => profile::run(&options),
        Command::Scaling(options) => scaling::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            show::error(&error);
            ExitCode::FAILURE
        }
    }
}
