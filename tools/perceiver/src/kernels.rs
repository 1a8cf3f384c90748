//! `perceiver kernels`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use perceiver::internals::gpu::shader;
use perceiver::internals::kernels::{self, Bindings, DeviceTraits, Variant};
use perceiver::internals::output::whole_folder;
use perceiver::{Error, Precision, Result};
use serde_json::{Value, json};

use crate::kernel_models::{Dispatches, Target, dispatches};
use crate::predict::Predictor;
use crate::translation::{Shader, Version, label};
use crate::{Outcome, show, statistics};

/// What kernels there are, in which variants, and what a device makes of them.
#[derive(Args)]
pub(crate) struct Options {
    /// Kernels, or variants of them as KERNEL/VARIANT [default: all]
    #[arg(value_name = "KERNEL[/VARIANT]")]
    kernels: Vec<String>,
    /// Those variants only that this model runs: a short name of the table, or any model as elsewhere
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// The GPU whose choice of variants counts: auto, gpu, an adapter's number, or a part of its name; without a
    /// GPU the default limits of WebGPU count
    #[arg(long, default_value = "auto")]
    device: String,
    /// How the models store numbers: f32, or f16
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Write the variants to a folder as a device would get them, in this language: wgsl, spirv, msl or hlsl
    #[arg(long, num_args = 2, value_names = ["LANGUAGE", "DIR"])]
    emit: Vec<String>,
    /// Write into a folder that is not empty
    #[arg(long)]
    force: bool,
    /// Compile the variants that the device can run, and print what its Vulkan driver tells of each: registers, spills,
    /// instructions
    #[arg(long)]
    statistics: bool,
    /// What these variants should take for some products and attentions on a card that need not be there, a prediction
    /// and no measurement: 7900xtx, 6800xt, 9070xt, h200, llvmpipe
    #[arg(long, value_name = "CARD")]
    predict: Option<String>,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Wgsl,
    Spirv,
    Msl,
    Hlsl,
}

/// What an emission wrote.
struct Emitted {
    language: Language,
    folder: PathBuf,
    written: usize,
    /// Variants that the language cannot express.
    left_out: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let mut variants = selected(&options.kernels)?;
    if let Some(card) = &options.predict {
        let predictor = Predictor::new(card)?;
        let kinds = predictor.kernels(&variants);
        match options.json {
            true => show::json(&predictor.json(&kinds))?,
            false => predictor.print_kernels(&kinds)?,
        }
        return Ok(true);
    }
    let places = emissions(&options.emit, options.force)?;
    let target = Target::new(&options.device)?;
    let models = dispatches(&options.models, &target, options.precision)?;
    if !options.models.is_empty() {
        variants.retain(|v| models.iter().any(|m| m.by_label.contains_key(&label(v))));
    }
    let emitted: Result<Vec<Emitted>> =
        places.into_iter().map(|(language, folder)| emit(&variants, language, folder)).collect();
    let emitted = emitted?;
    let told = match options.statistics {
        true => Some(statistics::of(&variants, &target)?),
        false => None,
    };
    let failed = told.iter().flatten().filter(|t| t.failure.is_some()).count();
    if options.json {
        let layouts = layouts();
        let list = variants.iter().map(|variant| {
            let mut value = described(variant, &layouts, &target.traits, &models);
            let told = told.iter().flatten().find(|t| t.variant == *variant);
            if let (Some(told), Some(map)) = (told, value.as_object_mut()) {
                map.insert("statistics".to_owned(), told.json());
            }
            value
        });
        show::json(&json!({
            "device": target.name(),
            "precision": options.precision.to_string(),
            "models": models.iter().map(|m| &m.model).collect::<Vec<_>>(),
            "variants": list.collect::<Vec<_>>(),
            "emitted": emitted.iter().map(Emitted::json).collect::<Vec<_>>(),
        }))?;
        return Ok(failed == 0);
    }
    for emitted in &emitted {
        show::text(&emitted.sentence())?;
    }
    if let Some(told) = &told {
        statistics::print(told, variants.len(), target.name())?;
    } else if emitted.is_empty() {
        table(&variants, &models, !options.models.is_empty())?;
        let count = variants.len();
        let precision = options.precision;
        show::text(&format!("{count} variants; models in {precision} on {}", target.name()))?;
    }
    Ok(failed == 0)
}

/// The variants that the user named.
fn selected(names: &[String]) -> Result<Vec<Variant>> {
    let all = kernels::variants();
    let mut wanted = vec![names.is_empty(); all.len()];
    for name in names {
        let (kernel, variant) = name.split_once('/').map_or((&**name, None), |(k, v)| (k, Some(v)));
        let of_kernel: Vec<usize> = (0..all.len()).filter(|&i| all[i].kernel == kernel).collect();
        if of_kernel.is_empty() {
            let expected = format!("one of {:?}", kernels::NAMES);
            return Err(Error::input("kernel", format!("`{kernel}` is none"), expected));
        }
        let mut found = false;
        for &i in &of_kernel {
            if variant.is_none_or(|v| all[i].name == v || all[i].title() == v) {
                wanted[i] = true;
                found = true;
            }
        }
        if !found {
            let mut names: Vec<&str> = Vec::new();
            for name in of_kernel.iter().map(|&i| all[i].name) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let what = format!("`{}` is no variant of {kernel}", variant.unwrap_or_default());
            return Err(Error::input("kernel", what, format!("one of {names:?}")));
        }
    }
    Ok(all.into_iter().zip(wanted).filter_map(|(v, wanted)| wanted.then_some(v)).collect())
}

/// Pairs of a language and a folder that may be written to.
fn emissions(words: &[String], force: bool) -> Result<Vec<(Language, PathBuf)>> {
    let pair = |pair: &[String]| {
        let language = Language::from_str(&pair[0], true).map_err(|_| {
            let what = format!("`{}` is no language", pair[0]);
            Error::input("emit", what, "wgsl, spirv, msl or hlsl, then a folder")
        })?;
        let folder = PathBuf::from(&pair[1]);
        let full = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
        if full && !force {
            let hint = "choose another folder, or empty it";
            return Err(Error::checkpoint(folder, "is there already", hint));
        }
        Ok((language, folder))
    };
    words.chunks_exact(2).map(pair).collect()
}

fn emit(variants: &[Variant], language: Language, folder: PathBuf) -> Result<Emitted> {
    let mut left_out = Vec::new();
    whole_folder(&folder, |staging| {
        for variant in variants {
            match content(*variant, language)? {
                None => left_out.push(label(variant)),
                Some(bytes) => {
                    let path = staging.join(language.file_name(variant));
                    std::fs::write(&path, bytes).map_err(|e| Error::io("write", path, e))?;
                }
            }
        }
        Ok(())
    })?;
    Ok(Emitted { language, folder, written: variants.len() - left_out.len(), left_out })
}

/// A variant in a language; `None` where the language cannot express it.
fn content(variant: Variant, language: Language) -> Result<Option<Vec<u8>>> {
    /// SPIR-V 1.6 is what Vulkan 1.3 has.
    const NEWEST: Version = (1, 6);
    let shader = || Shader::new(variant);
    Ok(match language {
        Language::Wgsl => {
            Some(shader::source(&variant, &DeviceTraits::webgpu_default())?.into_bytes())
        }
        Language::Spirv => {
            Some(shader()?.spirv(NEWEST)?.into_iter().flat_map(u32::to_le_bytes).collect())
        }
        Language::Msl => shader()?.msl().transpose()?.map(String::into_bytes),
        Language::Hlsl => shader()?.hlsl().transpose()?.map(String::into_bytes),
    })
}

impl Language {
    /// KERNEL.TECHNIQUE_VARIANT, where the variant's name does not begin with its technique anyway, and the ending that
    /// the language's tools look for.
    fn file_name(self, variant: &Variant) -> String {
        let extension = match self {
            Language::Wgsl => "wgsl",
            Language::Spirv => "spv",
            Language::Msl => "metal",
            Language::Hlsl => "hlsl",
        };
        let technique = variant.source.rsplit('/').next().unwrap_or_default();
        let title = variant.title().replace(' ', "_").replace(['(', ','], "-").replace(')', "");
        let technique = match title.starts_with(technique) {
            true => String::new(),
            false => format!("{technique}_"),
        };
        format!("{}.{technique}{title}.{extension}", variant.kernel)
    }

    fn name(self) -> &'static str {
        match self {
            Language::Wgsl => "WGSL",
            Language::Spirv => "SPIR-V",
            Language::Msl => "MSL",
            Language::Hlsl => "HLSL",
        }
    }
}

impl Emitted {
    fn sentence(&self) -> String {
        let left_out = match self.left_out.len() {
            0 => String::new(),
            n => format!("; {n} left out, which the language cannot express"),
        };
        let (language, folder) = (self.language.name(), self.folder.display());
        format!("{} variants in {language} written to {folder}{left_out}", self.written)
    }

    fn json(&self) -> Value {
        json!({
            "language": self.language.name(),
            "folder": show::path(&self.folder),
            "written": self.written,
            "left_out": self.left_out,
        })
    }
}

/// Storage buffers of each kernel; one layout serves all its ops.
fn layouts() -> BTreeMap<&'static str, Bindings> {
    let rows = kernels::table().into_iter();
    rows.map(|row| (row.op.kernel(), row.op.signature().bindings())).collect()
}

/// What a variant needs beyond the least that WebGPU guarantees.
fn needs(variant: &Variant) -> Vec<String> {
    let least = DeviceTraits::webgpu_default();
    let mut needs = Vec::new();
    match variant.cooperative {
        Some(side) => {
            needs.push(format!("cooperative matrices of f16, {side}×{side}"));
            needs.push(format!("subgroups of {}", variant.size("LANES")));
        }
        None if variant.subgroups => needs.push("subgroups".to_owned()),
        None => {}
    }
    if variant.invocations > least.invocations {
        needs.push(format!("{} invocations a workgroup", variant.invocations));
    }
    if variant.workgroup_bytes > least.workgroup_bytes {
        let bytes = show::bytes(u64::from(variant.workgroup_bytes));
        needs.push(format!("{bytes} of workgroup memory"));
    }
    needs
}

fn described(
    variant: &Variant,
    layouts: &BTreeMap<&'static str, Bindings>,
    traits: &DeviceTraits,
    models: &[Dispatches],
) -> Value {
    let label = label(variant);
    let layout = layouts.get(variant.kernel);
    let by_model: BTreeMap<&str, u64> =
        models.iter().filter_map(|m| Some((&*m.model, *m.by_label.get(&label)?))).collect();
    json!({
        "kernel": variant.kernel,
        "variant": variant.title(),
        "shader": variant.source,
        "entry": variant.entry,
        "constants": variant.all_constants().collect::<BTreeMap<_, _>>(),
        "f16": variant.f16,
        "invocations": variant.invocations,
        "workgroup_bytes": variant.workgroup_bytes,
        "subgroups": variant.subgroups,
        "cooperative": variant.cooperative,
        "software": variant.software,
        "storage_buffers": layout.map(|b| json!({ "read": b.reads, "written": b.writes })),
        "needs": needs(variant),
        "fits_device": traits.allows(variant),
        "models": by_model,
    })
}

fn table(variants: &[Variant], models: &[Dispatches], counted: bool) -> Result<()> {
    let rows = variants.iter().map(|variant| {
        let label = label(variant);
        let constants = variant.all_constants().map(|(name, value)| format!("{name}={value}"));
        let running = models.iter().filter_map(|m| {
            let count = m.by_label.get(&label)?;
            Some(if counted { format!("{} {count}", m.model) } else { m.model.clone() })
        });
        let mut needs = needs(variant);
        if variant.software {
            needs.push("for software adapters".to_owned());
        }
        vec![
            variant.kernel.to_owned(),
            variant.title(),
            Path::new(variant.source)
                .file_name()
                .map_or_else(String::new, |n| n.display().to_string()),
            constants.collect::<Vec<_>>().join(" "),
            variant.invocations.to_string(),
            show::bytes(u64::from(variant.workgroup_bytes)),
            needs.join(", "),
            running.collect::<Vec<_>>().join(if counted { ", " } else { " " }),
        ]
    });
    let running = if counted { "dispatches" } else { "models" };
    let heading =
        ["kernel", "variant", "shader", "constants", "workgroup", "its memory", "needs", running];
    show::table(&heading, rows.collect())
}
