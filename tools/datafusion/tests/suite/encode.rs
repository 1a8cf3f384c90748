//! Encoding is an aggregate: the latents are those of a whole run, whatever the partitions and their order.

use std::sync::Arc;

use crate::common::{Case, case, cells, collect, context, error, grid, lists, set, table};
use datafusion::prelude::SessionContext;

fn cases() -> Vec<(&'static str, Vec<Case>)> {
    let several = |blueprint: fn() -> _, rows: [usize; 3]| {
        rows.iter().zip(1..).map(|(&n, seed)| case(blueprint(), n, seed)).collect()
    };
    vec![
        ("set", several(set, [1000, 1, 300])),
        ("grid", several(grid, [204, 204, 204])),
        ("cells", several(cells, [60, 1, 150])),
    ]
}

fn close(what: &str, found: &Option<Vec<f32>>, expected: &[f32]) {
    let found = found.as_ref().unwrap_or_else(|| panic!("{what}: NULL"));
    let error = error(found, expected);
    assert!(error < 1e-5, "{what}: {error:e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn latents_are_those_of_a_whole_run_whatever_the_partitions() {
    for (name, cases) in cases() {
        for partitions in [1, 2, 7] {
            for seed in 1..4 {
                let ctx = context(&cases[0].model, partitions);
                ctx.register_table("t", Arc::new(table(&[&cases[0]], partitions, seed))).unwrap();
                let sql = format!("SELECT {} AS latents FROM t", cases[0].call());
                let found = lists(&collect(&ctx, &sql).await.unwrap(), "latents");
                assert_eq!(found.len(), 1);
                close(&format!("{name} in {partitions}"), &found[0], &cases[0].latents);
            }
        }
    }
}

/// As groups of one accumulator, as accumulators of their own beside an aggregate that has no other, and in windows.
#[tokio::test(flavor = "multi_thread")]
async fn groups_have_latents_of_their_own() {
    for (name, cases) in cases() {
        let all: Vec<&Case> = cases.iter().collect();
        for partitions in [1, 2, 7] {
            let ctx = context(&cases[0].model, partitions);
            ctx.register_table("t", Arc::new(table(&all, partitions, 5))).unwrap();
            let call = cases[0].call();
            let queries = [
                format!("SELECT clip, {call} AS latents FROM t GROUP BY clip ORDER BY clip"),
                format!(
                    "SELECT clip, {call} AS latents, string_agg(CAST(z AS TEXT), ',') FROM t GROUP BY clip ORDER BY clip"
                ),
                format!(
                    "SELECT DISTINCT ON (clip) clip, {call} OVER (PARTITION BY clip) AS latents FROM t ORDER BY clip"
                ),
            ];
            for sql in queries {
                let found = lists(&collect(&ctx, &sql).await.unwrap(), "latents");
                assert_eq!(found.len(), cases.len(), "{sql}");
                for (found, case) in found.iter().zip(&cases) {
                    close(&format!("{name} in {partitions}: {sql}"), found, &case.latents);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_may_be_columns_or_lists_of_any_numbers() {
    let case = case(grid(), 204, 3);
    let ctx = context(&case.model, 2);
    ctx.register_table("t", Arc::new(table(&[&case], 2, 3))).unwrap();
    for call in [
        "perceiver_encode(position, [x, y, z])",
        "perceiver_encode(position, arrow_cast([x, y, z], 'FixedSizeList(3, Float64)'))",
        "perceiver_encode(position, arrow_cast([x, y, z], 'LargeList(Float32)'))",
        "perceiver_encode(arrow_cast(position, 'UInt16'), CAST(x AS DOUBLE), y, CAST(z AS DOUBLE))",
    ] {
        let sql = format!("SELECT {call} AS latents FROM t");
        let found = lists(&collect(&ctx, &sql).await.unwrap(), "latents");
        close(call, &found[0], &case.latents);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_rows_out_and_no_rows_give_null() {
    let case = case(set(), 100, 3);
    let ctx = context(&case.model, 2);
    ctx.register_table("t", Arc::new(table(&[&case], 2, 3))).unwrap();
    // NULLs in rows that do not count are no error.
    let sql = "SELECT clip, perceiver_encode(x, y, z) FILTER (WHERE x IS NOT NULL) AS latents,
            perceiver_encode(x, y, z) FILTER (WHERE clip > 5) AS nothing
        FROM (SELECT clip, x, y, z FROM t UNION ALL SELECT 0, NULL, 1, 2) GROUP BY clip";
    let found = collect(&ctx, sql).await.unwrap();
    close("filter", &lists(&found, "latents")[0], &case.latents);
    assert_eq!(lists(&found, "nothing"), [None]);
    for sql in [
        "SELECT perceiver_encode(x, y, z) AS latents FROM t WHERE clip > 5",
        "SELECT perceiver_encode(x, y, z) FILTER (WHERE x IS NOT NULL) AS latents FROM (SELECT clip, x, y, z FROM t UNION ALL SELECT 0, NULL, 1, 2)",
    ] {
        let found = lists(&collect(&ctx, sql).await.unwrap(), "latents");
        match sql.contains("FILTER") {
            true => close(sql, &found[0], &case.latents),
            false => assert_eq!(found, [None]),
        }
    }
}

/// As many groups as rows, nearly: partial aggregation gives up, and rows travel as states of their own.
#[tokio::test(flavor = "multi_thread")]
async fn many_groups_of_few_rows() {
    let cases: Vec<Case> = (0..400).map(|i| case(set(), 1 + i % 3, 100 + i as u64)).collect();
    let all: Vec<&Case> = cases.iter().collect();
    for skip in [false, true] {
        let ctx: SessionContext = context(&cases[0].model, 3);
        if skip {
            let state = ctx.state_ref();
            let mut state = state.write();
            let options = &mut state.config_mut().options_mut().execution;
            options.skip_partial_aggregation_probe_rows_threshold = 10;
            options.skip_partial_aggregation_probe_ratio_threshold = 0.1;
        }
        ctx.register_table("t", Arc::new(table(&all, 3, 5))).unwrap();
        let sql =
            "SELECT clip, perceiver_encode(x, y, z) AS latents FROM t GROUP BY clip ORDER BY clip";
        let found = lists(&collect(&ctx, sql).await.unwrap(), "latents");
        assert_eq!(found.len(), cases.len());
        for (found, case) in found.iter().zip(&cases) {
            close(&format!("skip {skip}"), found, &case.latents);
        }
    }
}
