// attention_merge: exact merge of attention states of disjoint key sets, in rising order of the parts.
//
// Algorithm. For each query and head: M = max m_p, L = Σ l_p e^(m_p − M), A = Σ a_p e^(m_p − M); the result is A / L,
// or the state (A, M, L).
//
// Work split: one invocation per vector of four columns of the result.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        acc        [parts·batch, queries, heads·pad(d_v)] as vectors of four
//   2 read        stats      [parts·batch, queries, 2·heads] as f32: maximum and sum of each head
//   3 read_write  y          [batch, queries, heads·pad(d_v)] as vectors of four
//   4 read_write  y_stats    [batch, queries, 2·heads] as f32, written when finish is 0
// Workgroup bytes: none. Numerics: f32; the order of the parts is fixed, so the bits are too. The result may be
// stored as f16 (a variant's choice), a state never.

// #import common/elementwise

struct Params {
    parts: u32,
    // batch · queries
    rows: u32,
    // vectors of four per row, per head
    vectors: u32,
    head_vectors: u32,
    stats_row: u32,
    finish: u32,
    total: u32,
    row_invocations: u32,
}

const LOWEST: f32 = -3.0e38;

alias y4 = vec4<f32>;
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> acc: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<y4>;
@group(0) @binding(4) var<storage, read_write> y_stats: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn rows(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.vectors;
    let vector = at % params.vectors;
    let head = vector / params.head_vectors;
    var maximum = LOWEST;
    for (var p = 0u; p < params.parts; p++) {
        maximum = max(maximum, stats[(p * params.rows + row) * params.stats_row + 2u * head]);
    }
    var sum = 0.0;
    var result = vec4<f32>(0.0);
    for (var p = 0u; p < params.parts; p++) {
        let part_row = p * params.rows + row;
        let s = part_row * params.stats_row + 2u * head;
        let factor = exp(stats[s] - maximum);
        sum += stats[s + 1u] * factor;
        result += acc[part_row * params.vectors + vector] * factor;
    }
    if (params.finish != 0u) {
        y[at] = to_y(result * select(0.0, 1.0 / sum, sum > 0.0));
        return;
    }
    y[at] = to_y(result);
    if (vector % params.head_vectors == 0u) {
        let s = row * params.stats_row + 2u * head;
        y_stats[s] = maximum;
        y_stats[s + 1u] = sum;
    }
    // The padding of the statistics' rows.
    if (vector == 0u) {
        for (var c = 2u * (params.vectors / params.head_vectors); c < params.stats_row; c++) {
            y_stats[row * params.stats_row + c] = 0.0;
        }
    }
}
