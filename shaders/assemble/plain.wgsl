// assemble: rows [content ; positions ; sines ; cosines ; tail] from one short table per axis.
//
// Work split: one invocation per vector of four columns of Y. Each column is looked up by itself, as segments begin
// at any column.
//
// Bindings (arrays of f32 unless stated, rows padded with zeros to four)
//   0 uniform     Params
//   1 read        content  [batch, rows, content] as vectors of four, or anything when content is 0
//   2 read        tables   [sum of axes, 1 + 2 bands], rows [position, sines, cosines], or anything
//   3 read        tail     [tail_rows, tail], shared by all items, or anything when tail is 0
//   4 read        points   [rows, 1], grid positions as whole numbers, or anything when not indexed
//   5 read_write  y        [batch, rows, cols] as vectors of four
// Workgroup bytes: none. Numerics: copies only; grid positions up to 2^24 are exact. Padding columns are written as
// zero. content and y may be stored as f16 (a variant's choice).

// #import common/elementwise

struct Params {
    rows: u32,
    first_row: u32,
    content: u32,
    content_row: u32,
    dimensions: u32,
    bands: u32,
    table_row: u32,
    vectors: u32,
    axes: vec4<u32>,
    // first table row of each axis
    offsets: vec4<u32>,
    total: u32,
    row_invocations: u32,
    tail: u32,
    tail_row: u32,
    tail_rows: u32,
    indexed: u32,
    // columns of positions, sines and cosines
    features: u32,
}

alias content4 = vec4<f32>;
alias y4 = vec4<f32>;
fn from_content(v: content4) -> vec4<f32> { return v; }
fn to_y(v: vec4<f32>) -> y4 { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> content: array<content4>;
@group(0) @binding(2) var<storage, read> tables: array<f32>;
@group(0) @binding(3) var<storage, read> tail: array<f32>;
@group(0) @binding(4) var<storage, read> points: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<y4>;

// Index of a grid position on an axis, the last axis fastest.
fn axis_index(position: u32, axis: u32) -> u32 {
    var p = position;
    if (params.dimensions == 3u) {
        if (axis == 2u) {
            return p % params.axes.z;
        }
        p = p / params.axes.z;
    }
    if (params.dimensions >= 2u) {
        if (axis == 1u) {
            return p % params.axes.y;
        }
        p = p / params.axes.y;
    }
    return p % params.axes.x;
}

fn offset(axis: u32) -> u32 {
    return select(select(params.offsets.z, params.offsets.y, axis == 1u), params.offsets.x, axis == 0u);
}

fn element(row: u32, column: u32) -> f32 {
    if (column < params.content) {
        let at = row * params.content_row + column;
        return from_content(content[at / 4u])[at % 4u];
    }
    let item_row = row % params.rows;
    let c = column - params.content;
    if (c >= params.features) {
        let t = c - params.features;
        if (t >= params.tail) {
            return 0.0;
        }
        return tail[(item_row % params.tail_rows) * params.tail_row + t];
    }
    var position = params.first_row + item_row;
    if (params.indexed == 1u) {
        position = u32(max(points[4u * item_row], 0.0));
    }
    let d = params.dimensions;
    var axis = c;
    var entry = 0u;
    if (c >= d) {
        let feature = c - d;
        // segment 0..d are sines, d..2d cosines
        let segment = feature / params.bands;
        axis = segment % d;
        entry = 1u + feature % params.bands + select(0u, params.bands, segment >= d);
    }
    return tables[(offset(axis) + axis_index(position, axis)) * params.table_row + entry];
}

@compute @workgroup_size(WORKGROUP)
fn rows(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.vectors;
    let column = 4u * (at % params.vectors);
    y[at] = to_y(vec4<f32>(
        element(row, column),
        element(row, column + 1u),
        element(row, column + 2u),
        element(row, column + 3u),
    ));
}
