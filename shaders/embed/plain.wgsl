// embed: token embedding plus learned position, Y[b, t] = table[id(b, t)] + positions[t].
//
// Work split: one invocation per vector of four channels of Y.
//
// Bindings (arrays of vectors of four unless stated, rows padded with zeros)
//   0 uniform     Params
//   1 read        ids        [batch, 1, length] of f32 holding whole numbers, rows padded to four
//   2 read        table      [vocabulary, cols]
//   3 read        positions  [length or more, cols]
//   4 read_write  y          [batch, length, cols]
// Workgroup bytes: none. Numerics: one f32 addition; ids beyond the table are clamped.

// #import common/elementwise

struct Params {
    length: u32,
    ids_row: u32,
    vocabulary: u32,
    vectors: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> positions: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn rows(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let vector = at % params.vectors;
    let row = at / params.vectors;
    let t = row % params.length;
    let item = row / params.length;
    // The smaller of two integers, whatever a number beyond the range of u32 becomes.
    let id = min(u32(max(ids[item * params.ids_row + t], 0.0)), params.vocabulary - 1u);
    y[at] = table[id * params.vectors + vector] + positions[t * params.vectors + vector];
}
