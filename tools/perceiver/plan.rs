//! `perceiver plan`.

use std::sync::Arc;

use clap::Args;
use perceiver::graph::PlanReport;
use perceiver::perceiver::parameters::RandomTensors;
use perceiver::{Engine, PerceiverConfig, Result, RunOptions, Sizes};

use crate::{Outcome, models, show};

/// What a model will cost.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder (config.json is enough), or a model's name (`perceiver models` lists them)
    model: String,
    /// Items per run
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Tokens of a text [default: as many as the model takes]
    #[arg(long)]
    length: Option<usize>,
    /// Height and width of a picture, as 224x224 [default: the training's size]
    #[arg(long, value_parser = picture_size)]
    size: Option<[usize; 2]>,
    /// Decode a whole clip instead of one of 128 chunks
    #[arg(long)]
    whole: bool,
    /// The device to plan for: cpu, gpu, an adapter's number or part of its name
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Also every node
    #[arg(long)]
    nodes: bool,
    /// One JSON document instead of tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let config = PerceiverConfig::read(models::description(&options.model)?)?;
    let engine = Engine::named(&options.device)?;
    let length = options.length.unwrap_or(config.max_position_embeddings);
    let invalid = |name: &str, found: usize, expected: String| {
        Err(perceiver::Error::Input {
            name: name.to_owned(),
            what: format!("is {found}"),
            expected,
        })
    };
    if length == 0 || length > config.max_position_embeddings {
        return invalid(
            "length",
            length,
            format!("1 to {}", config.max_position_embeddings),
        );
    }
    if options.batch == 0 || options.batch > 4096 {
        return invalid("batch", options.batch, "1 to 4096".to_owned());
    }
    // The weights are never asked for.
    let nothing = Arc::new(RandomTensors::new([], 0));
    let mut sizes = Sizes {
        length,
        ..Sizes::usual(&config)
    };
    if let Some(size) = options.size {
        sizes.image = size;
        sizes.resize_positions = true;
    }
    if options.whole {
        let pixels: usize = config.output_shape.iter().product();
        sizes.points = [config.audio_patches(), pixels];
    }
    let model = engine.load_from(config, nothing)?;
    let report = model.report(options.batch, sizes, RunOptions::default())?;
    if options.json {
        show::json(&report)?;
        return Ok(true);
    }
    stages(&report)?;
    if options.nodes {
        nodes(&report)?;
    }
    show::text(&format!(
        "{} parameters in {}, kept arrays {}, shared memory {}: {} in all on {}",
        report.parameters,
        show::bytes(report.parameter_bytes),
        show::bytes(report.kept_bytes),
        show::bytes(report.slot_bytes),
        show::bytes(report.peak_bytes),
        engine.device_name()
    ))?;
    Ok(true)
}

fn picture_size(text: &str) -> Result<[usize; 2], String> {
    const SIDES: std::ops::RangeInclusive<usize> = 16..=16_384;
    let sides: Option<Vec<usize>> = text.split('x').map(|s| s.parse().ok()).collect();
    match sides.as_deref() {
        Some(&[height, width]) if SIDES.contains(&height) && SIDES.contains(&width) => {
            Ok([height, width])
        }
        _ => Err("give HEIGHTxWIDTH, sides from 16 to 16384, as 224x224".to_owned()),
    }
}

fn stages(report: &PlanReport) -> Result<()> {
    let mut rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|s| {
            vec![
                s.name.to_owned(),
                show::flops(s.flops),
                show::flops(s.flops_once),
                show::bytes(s.bytes),
                show::bytes(s.peak_bytes),
                s.dispatches.to_string(),
                s.kernels.join(" "),
            ]
        })
        .collect();
    rows.push(vec![
        "all".to_owned(),
        show::flops(report.total_flops),
        show::flops(report.stages.iter().map(|s| s.flops_once).sum()),
        show::bytes(report.stages.iter().map(|s| s.bytes).sum()),
        show::bytes(report.peak_bytes),
        report.dispatches.to_string(),
        String::new(),
    ]);
    let heading = [
        "stage",
        "operations",
        "of these at load",
        "bytes moved",
        "peak memory",
        "dispatches",
        "kernels",
    ];
    show::table(&heading, rows)
}

fn nodes(report: &PlanReport) -> Result<()> {
    let rows = report.nodes.iter().map(|n| {
        vec![
            n.stage.to_owned(),
            n.label.clone(),
            n.kernel.to_owned(),
            n.output.clone(),
            show::flops(n.flops),
            show::bytes(n.bytes),
            if n.once { "at load" } else { "" }.to_owned(),
        ]
    });
    let heading = [
        "stage",
        "node",
        "kernel",
        "result",
        "operations",
        "bytes",
        "",
    ];
    show::table(&heading, rows.collect())
}
