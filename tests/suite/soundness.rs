//! No safe call can make an unchecked shader leave its buffers: what does not fit is an error when a plan
//! or a session is made, and indices that are data are clamped.

use std::sync::Arc;

use perceiver::internals::gpu::{Device, GpuExecutor, Parameters, ShaderChecks};
use perceiver::internals::graph::{Executor, Plan, single};
use perceiver::internals::kernels::attention::{Attention, QueryFactors};
use perceiver::internals::kernels::factored_attention::{FactoredAttention, Factors};
use perceiver::internals::kernels::gemm::Gemm;
use perceiver::internals::kernels::{self, DeviceTraits, Op, Role, Variant};
use perceiver::internals::tensor::Element;
use perceiver::{Error, NamedTensors};

use crate::common;

fn device() -> Device {
    common::device(ShaderChecks::Trusted).expect(common::INSTALL)
}

fn session(plan: Plan, variant: Option<Variant>) -> Result<GpuExecutor, Error> {
    let parameters = Parameters::new(device(), Arc::new(NamedTensors::new()));
    match variant {
        Some(v) => GpuExecutor::with_variants(plan, &parameters, &|_| Some(v)),
        None => GpuExecutor::new(plan, &parameters),
    }
}

/// The graph of a plan again with another op: all that a caller can do, since plans do not change.
fn replaced(op: &Op, by: Op) -> Result<Plan, Error> {
    let mut graph = single(op)?.graph().clone();
    graph.nodes[0].op = by;
    Plan::new(graph)
}

fn refused<T>(result: Result<T, Error>, what: &str) {
    match result {
        Err(Error::Graph { .. }) => {}
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what} was taken"),
    }
}

#[test]
fn ops_larger_than_their_arrays_are_refused() {
    for row in kernels::table() {
        let signature = row.op.signature();
        let plan = single(&row.op).expect("rows of the table are sound");
        // Every array in turn is one row short.
        for i in 0..plan.graph().values.len() {
            let mut graph = plan.graph().clone();
            let extent = &mut graph.values[i].extent;
            if extent.is_empty() {
                continue;
            }
            extent.rows -= 1;
            let short = *extent;
            for view in &mut graph.nodes[0].inputs {
                if view.value.index() == i {
                    view.extent = short;
                }
            }
            refused(Plan::new(graph), &format!("{} {}", row.op.kernel(), row.shape()));
        }
        // One array too few.
        let mut graph = plan.graph().clone();
        if graph.nodes[0].inputs.pop().is_some() {
            refused(Plan::new(graph), signature.operands[0].name);
        }
    }
    let small = Op::Gemm(Gemm::new(8, 8, 8));
    refused(replaced(&small, Op::Gemm(Gemm::new(8, 8, 800))), "an enlarged product");
}

#[test]
fn views_beyond_their_value_are_refused() {
    let mut graph = single(&Op::Gemm(Gemm::new(8, 8, 8))).expect("a plan").graph().clone();
    graph.nodes[0].inputs[0].first_row = 1;
    refused(Plan::new(graph), "a view that ends beyond its value");
}

#[test]
fn arguments_that_leave_their_rows_are_refused() {
    let attention = Attention::new(9, 9, 2, 8, 8);
    let factors = Factors { content: 3, dimensions: 2, axes: [4, 5, 1] };
    let keys = FactoredAttention::new(5, 20, factors);
    let queries = QueryFactors {
        factors,
        first_column: 0,
        columns: factors.columns(),
        first_query: 0,
        indexed: false,
    };
    let folded = Attention { factors: Some(queries), ..Attention::new(20, 9, 1, 3, 8) };
    let beyond = QueryFactors { first_query: 1, ..queries };
    let few = QueryFactors { columns: factors.columns() - 4, ..queries };
    let cases = [
        (attention.into(), Attention { k_column: 4, ..attention }.into()),
        (attention.into(), Attention { v_column: 8, ..attention }.into()),
        (attention.into(), Attention { q_row: 8, ..attention }.into()),
        (keys.into(), FactoredAttention { first_key: 1, ..keys }.into()),
        (keys.into(), FactoredAttention { first_column: 4, ..keys }.into()),
        (folded.into(), Attention { factors: Some(beyond), ..folded }.into()),
        (folded.into(), Attention { factors: Some(few), ..folded }.into()),
    ];
    for (op, by) in cases {
        let op: Op = op;
        let by: Op = by;
        refused(replaced(&op, by), &format!("{by:?}"));
    }
    let mut moved = session(single(&keys.into()).expect("a plan"), None).expect("a session");
    refused(moved.set_first_key(1), "keys moved beyond their grid");
}

#[test]
fn variants_run_where_their_conditions_hold() {
    let device = device();
    let half = |rows, inner, cols| {
        let [x, weight] = [Element::F16; 2];
        Op::Gemm(Gemm { x, weight, ..Gemm::new(rows, inner, cols) })
    };
    let (aligned, odd) = (half(128, 64, 256), half(127, 63, 127));
    let able = DeviceTraits {
        cooperative: Some(16),
        subgroups: Some([32, 32]),
        workgroup_bytes: 1 << 16,
        ..DeviceTraits::webgpu_default()
    };
    let variants = aligned.candidates(&able);
    let fast = variants.iter().find(|v| v.mode.name == "aligned");
    let fast = *fast.expect("whole tiles have a variant of their own");
    aligned.launch(fast, &able).expect("whole tiles");
    refused(odd.launch(fast, &able).map(|_| ()), "an aligned variant on odd sizes");
    let session_of = |op: &Op, v| session(single(op).expect("a plan"), Some(v));
    let other = kernels::variants().into_iter().find(|v| v.kernel == "embed");
    let other = other.expect("a variant of another kernel");
    refused(session_of(&odd, other).map(|_| ()), "a variant of another kernel");
    let mut lesser = *device.traits();
    lesser.workgroup_bytes = 1024;
    let tiled = kernels::variants().into_iter();
    let large = tiled.filter(|v| v.kernel == "gemm" && v.workgroup_bytes > 1024);
    for variant in large {
        refused(odd.launch(variant, &lesser).map(|_| ()), "a variant beyond the limits");
    }
}

/// A variant that the crate does not have is compiled with run-time checks: here one whose workgroups
/// mostly lie beyond the end of the result.
#[test]
fn foreign_variants_are_checked() {
    let op = Op::Gemm(Gemm::new(5, 9, 7));
    let own = op.candidates(device().traits())[0];
    assert!(own.is_own());
    let foreign = Variant { name: "foreign", ..own };
    assert!(!foreign.is_own());
    let mut session = session(single(&op).expect("a plan"), Some(foreign)).expect("a session");
    session.write("operand 0", &[1.0; 45]).expect("x");
    session.write("operand 1", &[1.0; 84]).expect("weight");
    session.run(&mut |_, _| {}).expect("run");
    assert_eq!(session.read("result 0").expect("y").as_f32(), Some(&[9.0; 35][..]));
}

/// Token ids beyond their table read its last row, points beyond their grid wrap; both stay within, whatever
/// number they are.
#[test]
fn indices_that_are_data_stay_within_their_tables() {
    for row in kernels::table() {
        let signature = row.op.signature();
        let mut present = signature.present_operands().enumerate();
        let index = present.find_map(|(at, o)| match o.fill {
            // What a byte holds is an index of its table by its type.
            _ if o.role == Role::Texels => None,
            kernels::Fill::Ids(n) if n > 0 && !o.extent.is_empty() => Some((at, n, o.extent.len())),
            _ => None,
        });
        let Some((at, n, _)) = index.filter(|(.., elements)| *elements < 10_000) else {
            continue;
        };
        if row.op.candidates(device().traits()).is_empty() {
            continue;
        }
        let mut executor = session(single(&row.op).expect("a plan"), None).expect("a session");
        let operands = kernels::random_operands(&row.op, 7);
        let mut run = |id: f32| -> Vec<f32> {
            for (i, data) in operands.iter().enumerate() {
                let ids = vec![id; data.len()];
                let data = if i == at { &ids } else { data };
                executor.write(&format!("operand {i}"), data).expect("write");
            }
            executor.run(&mut |_, _| {}).expect("run");
            let result = executor.read("result 0").expect("read");
            result.as_f32().expect("f32").to_vec()
        };
        let label = format!("{} {}", row.op.kernel(), row.shape());
        let equivalent = if row.op.kernel() == "embed" { n - 1 } else { 0 };
        let within = run(equivalent as f32);
        assert_eq!(run(n as f32), within, "{label}");
        for id in [1e9, 4e9, f32::MAX, f32::INFINITY, f32::NAN, -5.0] {
            assert!(run(id).iter().all(|x| x.is_finite()), "{label} at {id}");
        }
    }
}

/// Vectors lead anywhere, whatever numbers they are: nothing is read there, and the texel is empty.
#[test]
fn vectors_of_any_number_stay_within_their_picture() {
    let warps = kernels::table().into_iter().filter(|r| r.op.kernel() == "warp");
    for row in warps.filter(|r| r.op.cost().bytes < 10_000) {
        let mut executor = session(single(&row.op).expect("a plan"), None).expect("a session");
        let operands = kernels::random_operands(&row.op, 7);
        for (i, data) in operands.iter().enumerate().skip(1) {
            executor.write(&format!("operand {i}"), data).expect("write");
        }
        for x in [1e9, -131_073.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NAN] {
            executor.write("operand 0", &vec![x; operands[0].len()]).expect("vectors");
            executor.run(&mut |_, _| {}).expect("run");
            let result = executor.read("result 0").expect("read");
            let texels = result.as_f32().expect("f32");
            assert!(texels.iter().all(|&t| t == 0.0), "{} at {x}", row.shape());
        }
    }
}

/// What planning counts on, which knows no variants.
#[test]
fn uniforms_are_as_large_whichever_variant_reads_them() {
    let plain = DeviceTraits::webgpu_default();
    let software = DeviceTraits { software: true, subgroups: Some([8, 8]), ..plain };
    for traits in [plain, software] {
        for row in kernels::table() {
            let variants = row.op.candidates(&traits).into_iter();
            let launches = variants.map(|v| row.op.launch(v, &traits).expect("a launch"));
            let sizes: Vec<usize> = launches.map(|launch| launch.params.len()).collect();
            assert!(sizes.windows(2).all(|two| two[0] == two[1]), "{}", row.shape());
        }
    }
}
