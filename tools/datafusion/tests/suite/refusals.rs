//! What does not fit is refused by name: arguments when a query is planned, rows when it runs, states of other models.

use std::sync::Arc;

use crate::common::{case, cells, collect, context, grid, model, refusal, set, table};
use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::prelude::{SessionConfig, SessionContext};
use perceiver::blueprint::{Modality, Output, PerceiverBuilder};
use perceiver::{Engine, Model};
use perceiver_datafusion::Functions;

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_checked_when_a_query_is_planned() {
    let case = case(grid(), 204, 3);
    let ctx = context(&case.model, 2);
    ctx.register_table("t", Arc::new(table(&[&case], 2, 3))).unwrap();
    for (call, parts) in [
        ("perceiver_encode()", ["position", "missing"]),
        ("perceiver_encode(position, x, y)", ["3 numbers", "found 3 arguments"]),
        ("perceiver_encode(position, x, y, z, z)", ["3 numbers", "found 5 arguments"]),
        ("perceiver_encode(x, x, y, z)", ["the position", "Float32"]),
        ("perceiver_encode(position, x, 'b', z)", ["value 2", "Utf8"]),
        ("perceiver_encode(position, ['a'])", ["3 numbers", "found 2 arguments"]),
        (
            "perceiver_encode(position, arrow_cast([x, y], 'FixedSizeList(2, Float32)'))",
            ["the list of values", "FixedSizeList(2"],
        ),
        ("perceiver_decode(x)", ["latents (6 lists of 24 numbers)", "Float32"]),
        ("perceiver_decode([[x]], 'nothing')", ["no output 'nothing'", "'class'"]),
        ("perceiver_decode([[x]], 0, [1.0])", ["'class'", "bring no numbers along"]),
        ("perceiver_run()", ["'pixels', a list of numbers", "found 0 arguments"]),
        ("perceiver_run(x)", ["'pixels', a list of numbers", "Float32"]),
    ] {
        let sql = format!("SELECT {call} FROM t");
        let planned = match ctx.sql(&sql).await {
            Ok(frame) => frame.create_physical_plan().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let found = planned.expect_err(call).to_string();
        for part in parts {
            assert!(found.contains(part), "{call}: {found}");
        }
    }
}

/// The engine makes a plain aggregate of distinct rows where it can; elsewhere there is none.
#[tokio::test(flavor = "multi_thread")]
async fn distinct_rows_are_refused_beside_other_aggregates() {
    let case = case(grid(), 204, 3);
    let ctx = context(&case.model, 2);
    ctx.register_table("t", Arc::new(table(&[&case], 2, 3))).unwrap();
    for group in ["", "GROUP BY clip"] {
        let call = "perceiver_encode(DISTINCT position, x, y, z), sum(x)";
        let found = refusal(&ctx, &format!("SELECT {call} FROM t {group}")).await;
        assert!(found.contains("perceiver_encode: DISTINCT is not supported"), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_are_named() {
    let case = case(grid(), 204, 3);
    for partitions in [1, 2] {
        let ctx = context(&case.model, partitions);
        ctx.register_table("t", Arc::new(table(&[&case], partitions, 3))).unwrap();
        for (rows, parts) in [
            ("SELECT 0, 1, NULL, 2, 3", ["value 1 is NULL", "FILTER"]),
            ("SELECT 0, NULL, 1, 2, 3", ["the position is NULL", "FILTER"]),
            ("SELECT 0, 204, 1, 2, 3", ["'pixels'", "no position 204, but 0 to 203"]),
            ("SELECT 0, -1, 1, 2, 3", ["'pixels'", "no position -1, but 0 to 203"]),
            ("SELECT 0, 5, 'Infinity'::float, 2, 3", ["pixels", "inf"]),
            ("SELECT 0, 5, 'NaN'::float, 2, 3", ["pixels", "NaN"]),
        ] {
            for group in ["", "GROUP BY clip"] {
                let sql = format!(
                    "SELECT perceiver_encode(position, x, y, z) FROM
                        (SELECT clip, position, x, y, z FROM t UNION ALL {rows}) {group}"
                );
                let found = refusal(&ctx, &sql).await;
                for part in parts {
                    assert!(found.contains(part), "{rows} {group}: {found}");
                }
            }
        }
        for (list, part) in [
            ("NULL::float[]", "the list of values is NULL"),
            ("[x, NULL, z]", "a value in the list is NULL"),
            ("[x, y]", "a row of 'pixels' has 3 values, not 2"),
        ] {
            let sql = format!("SELECT perceiver_encode(position, {list}) FROM t");
            let found = refusal(&ctx, &sql).await;
            assert!(found.contains(part), "{list}: {found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_cannot_encode_in_pieces_say_why() {
    let twice = PerceiverBuilder::new(4, 16)
        .input(Modality::given("points", 50, 3).varies())
        .cross("first", 1)
        .cross("second", 1)
        .decoder(1, false)
        .output(Output::new("class", Modality::learned("class", 1, 16)).linear(5))
        .build()
        .unwrap();
    let ctx = context(&model(twice, 1), 1);
    let found = refusal(&ctx, "SELECT perceiver_encode(1, 2, 3)").await;
    assert!(found.contains("reads its inputs 2 times"), "{found}");
    let text = Engine::cpu().load("../../models/text-tiny").unwrap();
    let found = refusal(&context(&text, 1), "SELECT perceiver_encode(1)").await;
    assert!(found.contains("tokens of one text"), "{found}");
}

fn with_args<T>(functions: &Functions, make: impl Fn(AccumulatorArgs<'_>) -> Result<T>) -> T {
    let udaf = functions.aggregate();
    let fields: Vec<_> = ["x", "y", "z"]
        .iter()
        .map(|name| Arc::new(Field::new(*name, DataType::Float32, true)))
        .collect();
    let schema = Schema::new(fields.clone());
    let args = AccumulatorArgs {
        return_field: udaf.return_field(&fields).unwrap(),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "latents",
        is_distinct: false,
        exprs: &[],
        expr_fields: &fields,
    };
    make(args).unwrap()
}

fn accumulator(model: &Model) -> Box<dyn Accumulator> {
    let functions = Functions::new(model, &Default::default(), "perceiver").unwrap();
    let udaf = functions.aggregate().clone();
    with_args(&functions, |args| udaf.accumulator(args))
}

fn groups(model: &Model) -> Box<dyn GroupsAccumulator> {
    let functions = Functions::new(model, &Default::default(), "perceiver").unwrap();
    let udaf = functions.aggregate().clone();
    with_args(&functions, |args| udaf.create_groups_accumulator(args))
}

fn columns(rows: usize) -> Vec<ArrayRef> {
    let case = case(set(), rows, 9);
    let column = |i: usize| -> ArrayRef {
        let values = (0..rows).map(|r| case.values[3 * r + i]);
        Arc::new(datafusion::arrow::array::Float32Array::from_iter_values(values))
    };
    (0..3).map(column).collect()
}

/// States of few rows are these rows, states of many are sums: both are refused by another model, and by none if damaged.
#[test]
fn states_of_other_models_and_damaged_ones_are_refused() {
    let (own, other) = (model(set(), 7), model(set(), 8));
    for rows in [3, 2000] {
        let mut from = accumulator(&own);
        from.update_batch(&columns(rows)).unwrap();
        let state = from.state().unwrap().remove(0).to_array().unwrap();
        accumulator(&own).merge_batch(std::slice::from_ref(&state)).unwrap();
        let found =
            accumulator(&other).merge_batch(std::slice::from_ref(&state)).unwrap_err().to_string();
        assert!(
            found.contains("perceiver_encode: a state is of the model with fingerprint"),
            "{found}"
        );
        let found = groups(&other)
            .merge_batch(std::slice::from_ref(&state), &[0], 1)
            .unwrap_err()
            .to_string();
        assert!(found.contains("and not of the one here"), "{found}");

        let bytes = state.as_any().downcast_ref::<BinaryArray>().unwrap().value(0).to_vec();
        let mut refused = 0;
        for length in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let damaged: ArrayRef = Arc::new(BinaryArray::from(vec![&bytes[..length]]));
            refused += usize::from(accumulator(&own).merge_batch(&[damaged]).is_err());
        }
        assert!(refused > 0);
        let mut numbers = crate::common::Numbers(rows as u64);
        for _ in 0..500 {
            let mut bytes = bytes.clone();
            for _ in 0..3 {
                let at = numbers.word() as usize % bytes.len();
                bytes[at] ^= 1 << (numbers.word() % 8);
            }
            let damaged: ArrayRef = Arc::new(BinaryArray::from(vec![bytes.as_slice()]));
            // Whatever is read of it, nothing panics, and the accumulator can be asked.
            let mut to = accumulator(&own);
            let _ = to.merge_batch(&[damaged]).and_then(|()| to.evaluate().map(|_| ()));
        }
    }
}

/// What accumulators say that they take grows with groups up to a bound, and goes with them.
#[test]
fn what_groups_take_is_bounded_and_told() {
    let model = model(set(), 7);
    let mut to = groups(&model);
    let before = to.size();
    let rows = 4096;
    let columns = columns(rows);
    let indices: Vec<usize> = (0..rows).map(|row| row % 64).collect();
    let mut most = 0;
    for _ in 0..100 {
        to.update_batch(&columns, &indices, None, 64).unwrap();
        most = most.max(to.size());
    }
    // 64 states, and rows that are held back: 6400 of 12 bytes in each group, in a vector that may be twice as long.
    assert!(most > 64 * 6400 * 12 && most < 64 * (2 * 6400 * 12 + 8192), "{most}");
    let states = to.state(EmitTo::First(60)).unwrap();
    assert_eq!(states[0].len(), 60);
    assert!(to.size() < most / 2);
    to.evaluate(EmitTo::All).unwrap();
    assert!(to.size() < before + 64 * 256, "{} after {before}", to.size());
}

/// An accumulator of its own never tells less than before, since the engine adds up what it grows by.
#[test]
fn what_one_group_takes_does_not_go_up_and_down() {
    let mut to = accumulator(&model(set(), 7));
    let columns = columns(5000);
    let (mut last, mut grown) = (to.size(), 0);
    for _ in 0..50 {
        to.update_batch(&columns).unwrap();
        assert!(to.size() >= last);
        grown += to.size() - last;
        last = to.size();
    }
    assert!(grown < 2 * 16384 * 12 + 8192, "{grown}");
}

async fn limited(pool: Arc<dyn MemoryPool>, groups: usize) -> Result<usize> {
    let model = model(set(), 7);
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    perceiver_datafusion::register(&ctx, &model).unwrap();
    let sql = format!(
        "SELECT clip, perceiver_encode(x, x + 1, x + 2) AS latents FROM
            (SELECT value % {groups} AS clip, value / 100000.0 AS x FROM generate_series(1, 100000)) GROUP BY clip"
    );
    let found = collect(&ctx, &sql).await?;
    Ok(found.iter().map(|b| b.num_rows()).sum())
}

/// Groups that do not fit the pool go to disk, or end in the engine's error.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_pool_spills_or_refuses() {
    assert_eq!(limited(Arc::new(FairSpillPool::new(3 << 20)), 500).await.unwrap(), 500);
    let found = limited(Arc::new(GreedyMemoryPool::new(20_000)), 500).await.unwrap_err();
    assert!(found.to_string().contains("Resources exhausted"), "{found}");
}

#[test]
fn cells_of_their_own_need_a_position() {
    let ctx = context(&model(cells(), 7), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(refusal(&ctx, "SELECT perceiver_encode(1.5, 1.0, 2.0, 3.0)"));
    assert!(found.contains("the position"), "{found}");
}
