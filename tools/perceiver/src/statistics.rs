//! What a Vulkan driver tells of compiled variants, for `perceiver kernels --statistics`.

#[cfg(any(target_os = "linux", windows))]
mod vulkan;

use indicatif::ProgressBar;
use perceiver::internals::kernels::Variant;
use perceiver::{Error, Result};
use serde_json::{Value, json};

use crate::kernel_models::Target;
use crate::show;
use crate::translation::label;

/// What the driver tells of one variant.
pub(crate) struct Told {
    pub(crate) variant: Variant,
    executables: Vec<Executable>,
    /// Why it did not compile, if it did not.
    pub(crate) failure: Option<String>,
}

/// One program that the driver made; most drivers make one of a compute shader.
struct Executable {
    name: String,
    subgroup_size: u32,
    /// Names and values in the driver's order.
    statistics: Vec<(String, Value)>,
}

/// Compiles those variants that the device can run.
///
/// # Errors
/// [`Error::Device`] where there is no Vulkan or no such extension.
pub(crate) fn of(variants: &[Variant], target: &Target) -> Result<Vec<Told>> {
    let Some(adapter) = &target.adapter else {
        return Err(Error::input("device", "is no GPU", "one whose driver has statistics"));
    };
    #[cfg(any(target_os = "linux", windows))]
    let compiler = vulkan::Compiler::new(adapter)?;
    #[cfg(not(any(target_os = "linux", windows)))]
    let compiler = Nowhere::new(adapter)?;
    let fitting: Vec<Variant> =
        variants.iter().copied().filter(|v| target.traits.allows(v)).collect();
    let bar = ProgressBar::new(fitting.len() as u64);
    let told = bar.wrap_iter(fitting.into_iter()).map(|variant| {
        Ok(match compiler.compile(variant)? {
            Ok(executables) => Told { variant, executables, failure: None },
            Err(why) => Told { variant, executables: Vec::new(), failure: Some(why) },
        })
    });
    let told = told.collect();
    bar.finish_and_clear();
    told
}

/// The place of the compiler where wgpu has no Vulkan.
#[cfg(not(any(target_os = "linux", windows)))]
struct Nowhere;

#[cfg(not(any(target_os = "linux", windows)))]
impl Nowhere {
    fn new(adapter: &perceiver::internals::gpu::Adapter) -> Result<Self> {
        Err(unavailable(&adapter.name, "has no Vulkan driver on this system".to_owned()))
    }

    fn compile(&self, _: Variant) -> Result<Result<Vec<Executable>, String>> {
        Ok(Err("there is no Vulkan".to_owned()))
    }
}

fn unavailable(device: &str, what: String) -> Error {
    let hint = "statistics need Vulkan 1.2 with VK_KHR_pipeline_executable_properties; \
                --emit writes what other tools read";
    Error::Device { device: device.to_owned(), what, hint: hint.to_owned(), source: None }
}

impl Told {
    /// All that the driver told, or why the variant does not compile.
    pub(crate) fn json(&self) -> Value {
        let executables = self.executables.iter().map(|e| {
            let statistics: serde_json::Map<_, _> = e.statistics.iter().cloned().collect();
            json!({ "name": e.name, "subgroup_size": e.subgroup_size, "statistics": statistics })
        });
        match &self.failure {
            Some(why) => json!({ "failure": why }),
            None => json!({ "executables": executables.collect::<Vec<_>>() }),
        }
    }
}

/// A table of all statistics but those that are hashes; drivers have columns of their own.
pub(crate) fn print(told: &[Told], asked: usize, device: &str) -> Result<()> {
    let mut columns: Vec<&str> = Vec::new();
    for executable in told.iter().flat_map(|t| &t.executables) {
        for (name, _) in &executable.statistics {
            if !columns.contains(&&**name) && !name.to_lowercase().contains("hash") {
                columns.push(name);
            }
        }
    }
    let several = told.iter().any(|t| t.executables.len() > 1);
    let row = |told: &Told, executable: &Executable| {
        let mut row = vec![label(&told.variant), executable.subgroup_size.to_string()];
        if several {
            row[0].push_str(&format!(" ({})", executable.name));
        }
        let value = |column: &&str| {
            let found = executable.statistics.iter().find(|(name, _)| name == column);
            found.map_or_else(String::new, |(_, value)| match value.as_f64() {
                Some(v) if value.is_f64() => format!("{v:.2}"),
                _ => value.to_string(),
            })
        };
        row.extend(columns.iter().map(value));
        row
    };
    let rows = told.iter().flat_map(|t| t.executables.iter().map(move |e| row(t, e)));
    let heading = [&["variant", "subgroup"], &*columns].concat();
    show::table(&heading, rows.collect())?;
    for t in told {
        if let Some(why) = &t.failure {
            show::text(&format!("{} does not compile: {why}", label(&t.variant)))?;
        }
    }
    let left_out = match asked - told.len() {
        0 => String::new(),
        n => format!("; {n} others need what it lacks"),
    };
    show::text(&format!("{} variants compiled for {device}{left_out}", told.len()))
}
