//! Shaders without a GPU: names, default texts, and the translation of every variant to the
//! languages of all back ends.

use std::collections::{BTreeMap, BTreeSet};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use perceiver::internals::gpu::shader;
use perceiver::internals::kernels::{self, Bindings, DeviceTraits};

fn validate(text: &str, label: &str) -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(text)));
    // Only shaders that say so may use more than WebGPU's core.
    let capabilities = if text.contains("\nenable wgpu_cooperative_matrix;") {
        Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP
    } else if text.contains("@builtin(subgroup_size)") || text.contains("subgroupBroadcast(") {
        // naga has no `enable subgroups` yet.
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16_IN_FLOAT32
    } else {
        // pack2x16float is in the core; naga has a flag for browsers that lack it.
        Capabilities::SHADER_FLOAT16_IN_FLOAT32
    };
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{label}: {e:?}"));
    (module, info)
}

/// Every kernel has its two folders and rows in the table, and every folder is a kernel's.
#[test]
fn every_kernel_has_its_rooms() {
    let wanted: BTreeSet<&str> = kernels::NAMES.iter().copied().collect();
    let rows: BTreeSet<_> = kernels::table().iter().map(|r| r.op.kernel()).collect();
    assert_eq!(rows, wanted);
    let variants: BTreeSet<_> = kernels::variants().iter().map(|v| v.kernel).collect();
    assert_eq!(variants, wanted);
    for (parent, others) in [("src/kernels", vec![]), ("shaders", vec!["common"])] {
        let parent = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(parent);
        let folders: BTreeSet<String> = std::fs::read_dir(parent)
            .expect("the folder is there")
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.is_dir())
            .filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()))
            .collect();
        let expected = wanted.iter().copied().chain(others);
        assert_eq!(folders, expected.map(str::to_owned).collect());
    }
}

/// Paths of all shaders under `shaders/`, without extension.
fn files_of_shaders() -> BTreeSet<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let list = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        entries.filter_map(|e| Some(e.ok()?.path())).collect()
    };
    let files = list(&root).into_iter().flat_map(|room| list(&room));
    files
        .map(|f| {
            let path = f.strip_prefix(&root).expect("a path below").with_extension("");
            path.to_str().expect("a name").replace('\\', "/")
        })
        .collect()
}

#[test]
fn every_variant_translates_to_every_language() {
    for variant in kernels::variants() {
        let label = format!("{}/{}", variant.kernel, variant.title());
        validate(&shader::source(&variant, true).expect(&label), &label);
        let text = shader::source(&variant, false).expect(&label);
        let (module, info) = validate(&text, &label);
        let entry = module
            .entry_points
            .iter()
            .find(|e| e.name == variant.entry)
            .unwrap_or_else(|| panic!("{label} has no entry point {}", variant.entry));
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert_eq!(invocations, variant.invocations, "{label}");
        let options = spv::Options {
            lang_version: if variant.subgroups { (1, 3) } else { (1, 0) },
            ..spv::Options::default()
        };
        spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("{label}: {e}"));
        // naga writes no cooperative matrices as HLSL, and DX12 lists none.
        if variant.cooperative.is_none() {
            let mut text = String::new();
            hlsl::Writer::new(
                &mut text,
                &hlsl::Options {
                    shader_model: if variant.subgroups {
                        hlsl::ShaderModel::V6_0
                    } else {
                        hlsl::ShaderModel::V5_1
                    },
                    ..hlsl::Options::default()
                },
                &hlsl::PipelineOptions::default(),
            )
            .write(&module, &info, None)
            .unwrap_or_else(|e| panic!("{label}: {e}"));
        }
        // Metal has matrices of 8×8 alone.
        if variant.cooperative == Some(16) {
            continue;
        }
        let options = msl::Options {
            fake_missing_bindings: true,
            lang_version: if variant.subgroups { (2, 3) } else { (1, 0) },
            ..msl::Options::default()
        };
        msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|e| panic!("{label}: {e}"));
    }
}

/// What a variant declares of workgroup memory and bindings is what its shader has.
#[test]
fn declared_resources_are_those_of_the_shader() {
    let mut declared: BTreeMap<&str, Bindings> = BTreeMap::new();
    for row in kernels::table() {
        let bindings = row.op.signature().bindings();
        let before = declared.insert(row.op.kernel(), bindings);
        let same = before.is_none_or(|b| b == bindings);
        assert!(same, "{}: one layout serves all ops of a kernel", row.shape());
    }
    for variant in kernels::variants() {
        let label = format!("{}/{}", variant.kernel, variant.title());
        let text = shader::source(&variant, false).expect(&label);
        let (module, info) = validate(&text, &label);
        let (at, _) = module
            .entry_points
            .iter()
            .enumerate()
            .find(|(_, e)| e.name == variant.entry)
            .expect(&label);
        let used = info.get_entry_point(at);
        let mut workgroup = 0;
        let mut storage = 0;
        let mut cuttable = false;
        for (handle, variable) in module.global_variables.iter() {
            match variable.space {
                naga::AddressSpace::WorkGroup if !used[handle].is_empty() => {
                    workgroup += module.types[variable.ty].inner.size(module.to_ctx());
                }
                naga::AddressSpace::Storage { .. } => storage += 1,
                naga::AddressSpace::Uniform => {
                    let first = variable.name.as_deref() == Some("first_group");
                    let binding = naga::ResourceBinding { group: 1, binding: 0 };
                    let bound = variable.binding == Some(binding);
                    cuttable |= first && bound && !used[handle].is_empty();
                }
                _ => {}
            }
        }
        assert_eq!(workgroup, variant.workgroup_bytes, "{label}");
        assert!(
            cuttable,
            "{label}: its workgroups must be counted from `first_group`, so that a dispatch can be cut"
        );
        let declared = declared[variant.kernel];
        assert_eq!(storage, declared.reads + declared.writes, "{label}");
        assert!(storage <= 8, "{label}: WebGPU guarantees eight storage buffers");
    }
}

/// The default limits of WebGPU are enough for every row of the table.
#[test]
fn every_row_has_a_variant_within_the_default_limits() {
    let device = DeviceTraits::webgpu_default();
    for row in kernels::table() {
        let variants = row.op.candidates(&device);
        assert!(!variants.is_empty(), "{} {}", row.op.kernel(), row.shape());
        row.op.launch(variants[0], &device).expect("workgroups");
    }
}

/// Every file is valid WGSL with its imports, at its constants' own values.
#[test]
fn every_file_is_valid_as_it_stands() {
    for path in files_of_shaders() {
        let text = shader::standing(&path).expect(&path);
        validate(&text, &path);
    }
}
