//! Shaders without a GPU: names, default texts, and the translation of every variant to the
//! languages of all back ends.

use std::collections::{BTreeMap, BTreeSet};

use perceiver::internals::gpu::shader;
use perceiver::internals::kernels::{self, Bindings, DeviceTraits, Variant};

#[path = "../../tools/perceiver/src/translation.rs"]
#[allow(dead_code, reason = "`perceiver kernels` uses the rest")]
mod translation;
use translation::{Shader, label, validate};

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

/// Some of the tiles that tuning searches, beside those with names.
fn some_tiles() -> Vec<Variant> {
    let traits = DeviceTraits { workgroup_bytes: 32_768, ..DeviceTraits::webgpu_default() };
    let mut seen = BTreeSet::new();
    let table = kernels::table().into_iter();
    let ops = table.map(|row| row.op).filter(|op| seen.insert(op.kernel()));
    ops.flat_map(|op| op.tile_candidates(&traits).into_iter().step_by(29)).collect()
}

/// As `perceiver kernels --emit` writes them and with run-time checks, for the oldest and the newest Vulkan.
#[test]
fn every_variant_translates_to_every_language() {
    let tiles = some_tiles();
    assert!(tiles.len() > 20, "{}", tiles.len());
    for variant in kernels::variants().into_iter().chain(tiles) {
        let label = label(&variant);
        let mut shader = Shader::new(variant).unwrap_or_else(|e| panic!("{e}"));
        let entry = shader
            .module
            .entry_points
            .iter()
            .find(|e| e.name == variant.entry)
            .unwrap_or_else(|| panic!("{label} has no entry point {}", variant.entry));
        let invocations: u32 = entry.workgroup_size.iter().product();
        assert_eq!(invocations, variant.invocations, "{label}");
        let least = if variant.subgroups { (1, 3) } else { (1, 0) };
        for checked in [false, true] {
            shader.checked = checked;
            for version in [least, (1, 6)] {
                shader.spirv(version).unwrap_or_else(|e| panic!("{e}"));
            }
            let hlsl = shader.hlsl().map(|t| t.unwrap_or_else(|e| panic!("{e}")));
            assert_eq!(hlsl.is_some(), variant.cooperative.is_none(), "{label}");
            let msl = shader.msl().map(|t| t.unwrap_or_else(|e| panic!("{e}")));
            assert_eq!(msl.is_some(), variant.cooperative != Some(16), "{label}");
        }
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
        let label = label(&variant);
        let Shader { module, info, .. } = Shader::new(variant).unwrap_or_else(|e| panic!("{e}"));
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

/// What software adapters get is valid too; loops of variants made for them end where compilers cannot know, and their
/// arrays of vectors in f32 are of 64-bit words.
#[test]
fn every_variant_is_valid_on_software_adapters() {
    let software =
        DeviceTraits { software: true, rewritten: true, ..DeviceTraits::webgpu_default() };
    let device = DeviceTraits { int64: true, ..software };
    for variant in kernels::variants() {
        let (text, name) = (shader::source(&variant, &device).expect("a text"), label(&variant));
        validate(&text, &name).unwrap_or_else(|e| panic!("{e}"));
        if variant.software {
            assert!(text.contains(" + zero; "), "{name}: ends of loops are known");
            assert!(
                !variant.f16.is_empty() || text.contains("vec2<u64>;"),
                "{name}: loads of 32 bits"
            );
        }
    }
}

/// Every file is valid WGSL with its imports, at its constants' own values.
#[test]
fn every_file_is_valid_as_it_stands() {
    for path in files_of_shaders() {
        let text = shader::standing(&path).expect(&path);
        validate(&text, &path).unwrap_or_else(|e| panic!("{e}"));
    }
}
