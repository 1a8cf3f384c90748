//! `perceiver plan`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use perceiver::blueprint::{Blueprint, Step};
use perceiver::internals::gpu::SubmissionBudget;
use perceiver::internals::graph::PlanReport;
use perceiver::internals::perceiver::Request;
use perceiver::internals::weights::RandomTensors;
use perceiver::{Description, Engine, Precision, Result, RunOptions};

use serde_json::json;

use crate::kernel_models::described;
use crate::predict::Predictor;
use crate::{Outcome, models, show};

/// What a model will cost.
#[derive(Args)]
pub(crate) struct Options {
    /// Checkpoint folder (config.json is enough), or a model's name (`perceiver models` and `kernels` list them)
    model: PathBuf,
    /// Items per run
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Tokens of a text [default: as many as the model takes]
    #[arg(long)]
    length: Option<usize>,
    /// Height and width of a picture or of frames, as 224x224 [default: the training's size]
    #[arg(long, value_parser = picture_size)]
    size: Option<[usize; 2]>,
    /// Decode a whole clip instead of one of 128 chunks
    #[arg(long)]
    whole: bool,
    /// The device to plan for: cpu, gpu, an adapter's number or part of its name
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The longest that one submission may keep a GPU busy: a time such as 100ms, or unlimited
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    submission_budget: SubmissionBudget,
    /// The plain route: do not fold projections and positions of cross-attention
    #[arg(long)]
    no_fold: bool,
    /// How numbers are stored: f32, or f16 (on a GPU)
    #[arg(long, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    memory: models::MemoryOption,
    #[command(flatten)]
    part: models::PartOption,
    /// Also what every dispatch should take on a card that need not be there, a prediction and no measurement: 7900xtx,
    /// 6800xt, 9070xt, h200, llvmpipe
    #[arg(long, value_name = "CARD")]
    predict: Option<String>,
    /// Also every node
    #[arg(long)]
    nodes: bool,
    /// One JSON document instead of tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let description = described(&options.model, options.part.part.as_deref())?;
    let engine = Engine::named(&options.device)?;
    engine.set_submission_budget(options.submission_budget);
    let invalid = |name: &str, found: usize, expected: String| {
        Err(perceiver::Error::Input {
            name: name.to_owned(),
            what: format!("is {found}"),
            expected,
        })
    };
    if options.batch == 0 || options.batch > 4096 {
        return invalid("batch", options.batch, "1 to 4096".to_owned());
    }
    // The weights are never asked for.
    let nothing = Arc::new(RandomTensors::new([], 0));
    let mut sizes = description.usual_sizes();
    match &description {
        Description::Config(config) => {
            let most = config.max_position_embeddings;
            if let Some(length) = options.length {
                if length == 0 || length > most {
                    return invalid("length", length, format!("1 to {most}"));
                }
                sizes.length = length;
            }
            if let Some(size) = options.size {
                sizes.image = size;
                sizes.resize_positions = true;
            }
            if options.whole {
                let pixels: usize = config.output_shape.iter().product();
                sizes.points = [config.audio_patches(), pixels];
            }
        }
        _ if options.length.is_some() || options.size.is_some() || options.whole => {
            return Err(perceiver::Error::Input {
                name: "sizes".to_owned(),
                what: "are asked for, but this model is a blueprint".to_owned(),
                expected: "none: a blueprint has its own, in config.json".to_owned(),
            });
        }
        _ => {}
    }
    let blueprint = description.blueprint(&sizes);
    let formula = formula_flops(&blueprint);
    let predicted = match &options.predict {
        None => None,
        Some(card) => {
            let predictor = Predictor::new(card)?;
            let request = Request {
                batch: options.batch,
                sizes,
                window_bytes: 0,
                intermediates: false,
                folded: !options.no_fold,
            };
            let plan = predictor.plan(&blueprint, request, options.precision)?;
            let kinds = predictor.run(&plan);
            Some((predictor, kinds))
        }
    };
    let mut model = engine.load_description(description, nothing)?;
    // A prediction in f16 needs no device that has it.
    if predicted.is_none() {
        model.set_precision(options.precision)?;
    }
    let plain = {
        model.set_folded(false);
        model.report(options.batch, sizes, RunOptions::default())?
    };
    model.set_memory_budget(options.memory.memory);
    let report = if options.no_fold {
        model.report(options.batch, sizes, RunOptions::default())?
    } else {
        model.set_folded(true);
        model.report(options.batch, sizes, RunOptions::default())?
    };
    if options.json {
        let mut value = serde_json::to_value(&report).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            let route = if options.no_fold { "plain" } else { "folded" };
            map.insert("route".to_owned(), json!(route));
            map.insert(
                "plain".to_owned(),
                json!({
                    "stages": plain.stages,
                    "total_flops": plain.total_flops,
                    "dispatches": plain.dispatches,
                    "peak_bytes": plain.peak_bytes,
                }),
            );
            map.insert("formula_flops".to_owned(), json!(formula));
            if let Some((predictor, kinds)) = &predicted {
                map.insert("prediction".to_owned(), predictor.json(kinds));
            }
        }
        show::json(&value)?;
        return Ok(true);
    }
    stages(&report, &plain)?;
    if !report.windows.is_empty() {
        windows(&report)?;
    }
    if options.nodes {
        nodes(&report)?;
    }
    show::text(&format!(
        "{} parameters in {}, kept arrays {}, shared memory {}, transfers {}: {} in all on {}",
        report.parameters,
        show::bytes(report.parameter_bytes),
        show::bytes(report.kept_bytes),
        show::bytes(report.slot_bytes),
        show::bytes(report.transfer_bytes),
        show::bytes(report.peak_bytes),
        engine.device_name()
    ))?;
    if report.layers > 0 {
        show::text(&format!(
            "{} latent self-attention layers of {} dispatches each",
            report.layers, report.dispatches_per_layer
        ))?;
    }
    if formula > 0 {
        show::text(&format!(
            "the paper's [M + O + LN]·N·F, twice for multiply and add: {}; by the plain route {}, by this one {}",
            show::flops(formula * options.batch as u64),
            show::flops(plain.total_flops),
            show::flops(report.total_flops),
        ))?;
    }
    if let Some((predictor, kinds)) = &predicted {
        predictor.print(kinds)?;
    }
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

fn stages(report: &PlanReport, plain: &PlanReport) -> Result<()> {
    let beside = |name: &str| plain.stages.iter().find(|s| s.name == name);
    let mut rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|s| {
            let plain = beside(s.name);
            vec![
                s.name.to_owned(),
                show::flops(s.flops),
                plain.map_or_else(String::new, |p| show::flops(p.flops)),
                show::flops(s.flops_once),
                show::bytes(s.bytes),
                plain.map_or_else(String::new, |p| show::bytes(p.bytes)),
                show::bytes(s.peak_bytes),
                plain.map_or_else(String::new, |p| show::bytes(p.peak_bytes)),
                s.dispatches.to_string(),
                submissions(s.submissions),
                s.kernels.join(" "),
            ]
        })
        .collect();
    let sum = |r: &PlanReport| r.stages.iter().map(|s| s.bytes).sum();
    rows.push(vec![
        "all".to_owned(),
        show::flops(report.total_flops),
        show::flops(plain.total_flops),
        show::flops(report.stages.iter().map(|s| s.flops_once).sum()),
        show::bytes(sum(report)),
        show::bytes(sum(plain)),
        show::bytes(report.peak_bytes),
        show::bytes(plain.peak_bytes),
        report.dispatches.to_string(),
        submissions(report.submissions),
        String::new(),
    ]);
    let heading = [
        "stage",
        "operations",
        "plain",
        "of these at load",
        "bytes moved",
        "plain",
        "peak memory",
        "plain",
        "dispatches",
        "submissions",
        "kernels",
    ];
    show::table(&heading, rows)
}

/// How inputs and queries are divided.
fn windows(report: &PlanReport) -> Result<()> {
    let rows = report.windows.iter().map(|w| {
        vec![
            w.stage.to_owned(),
            w.name.clone(),
            w.rows.to_string(),
            w.window_rows.to_string(),
            w.windows.to_string(),
        ]
    });
    let heading = ["stage", "array", "rows", "rows of a window", "windows"];
    show::table(&heading, rows.collect())
}

/// A number of submissions; the CPU has none.
fn submissions(n: u64) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

fn nodes(report: &PlanReport) -> Result<()> {
    let rows = report.nodes.iter().map(|n| {
        vec![
            n.stage.to_owned(),
            n.label.clone(),
            n.kernel.to_owned(),
            format!("{} {}", n.output, n.element),
            show::flops(n.flops),
            show::bytes(n.bytes),
            if n.once { "at load" } else { "" }.to_owned(),
        ]
    });
    let heading = ["stage", "node", "kernel", "result", "operations", "bytes", ""];
    show::table(&heading, rows.collect())
}

/// The paper's cost [M + O + LN]·N·F (section 3.1) of one item with F the latent channels, two
/// operations each.
fn formula_flops(blueprint: &Blueprint) -> u64 {
    let [inputs, outputs] = blueprint.elements().map(|n| n as u64);
    let (n, f) = (blueprint.latents.rows as u64, blueprint.latents.channels as u64);
    let (mut crosses, mut layers) = (0, 0);
    for step in &blueprint.steps {
        match step {
            Step::Tower { layers: all, times } => layers += (all.len() * times) as u64,
            _ => crosses += 1,
        }
    }
    2 * (crosses * inputs + outputs + layers * n) * n * f
}
