// What factored attentions share: bindings, the work of one workgroup, and where the keys of a split lie in the grid.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        content      [batch, keys, content] as vectors of four, or anything when content is 0
//   2 read        queries      [queries, columns] as vectors of four
//   3 read        scale        [batch, 1, keys] as f32
//   4 read        mask         [batch, 1, keys] as f32, non-zero keeps; or anything when absent
//   5 read        carry        sums so far [batch, queries, columns] as vectors of four
//   6 read        carry_stats  [batch, queries, 2] as vectors of four
//   7 read_write  y            [splits·batch, queries, columns] as f32, or as vectors of four: declared where it is used
//   8 read_write  y_stats      [splits·batch, queries, 2] as vectors of four, unless result is stored

struct Params {
    queries: u32,
    keys: u32,
    batch: u32,
    first_key: u32,
    // vectors of four of the content
    content: u32,
    columns: u32,
    first_column: u32,
    dimensions: u32,
    axis_a: u32,
    axis_b: u32,
    axis_c: u32,
    constant_column: u32,
    column_a: u32,
    column_b: u32,
    column_c: u32,
    mask_row: u32,
    split_keys: u32,
    // bit 0 masked, 1 carry, 2 store the result
    flags: u32,
    query_tiles: u32,
    // workgroups per grid row, and in all
    groups_x: u32,
    groups: u32,
}

alias content4 = vec4<f32>;
alias queries4 = vec4<f32>;
alias carry4 = vec4<f32>;
fn from_content(v: content4) -> vec4<f32> { return v; }
fn from_queries(v: queries4) -> vec4<f32> { return v; }
fn from_carry(v: carry4) -> vec4<f32> { return v; }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> content: array<content4>;
@group(0) @binding(2) var<storage, read> queries: array<queries4>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> mask: array<f32>;
@group(0) @binding(5) var<storage, read> carry: array<carry4>;
@group(0) @binding(6) var<storage, read> carry_stats: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> y_stats: array<vec4<f32>>;
// The first workgroup of the part of a dispatch that is to be computed.
@group(1) @binding(0) var<uniform> first_group: u32;

const LOWEST: f32 = -3.0e38;
const MASKED: f32 = -1.0e30;
// How far the maximum may pass the reference of the exponentials: a few millions of exp(40) times any
// content are far from the end of f32, and moving the reference means rescaling all sums.
const SLACK: f32 = 40.0;

// The work of one workgroup: a tile of queries of one item, and a part of the keys.
struct Share {
    query_tile: u32,
    item: u32,
    split: u32,
    masked: bool,
    carried: bool,
    store_result: bool,
}

fn share_of(group: u32) -> Share {
    let of_item = group / params.query_tiles;
    let split = of_item / params.batch;
    return Share(
        group % params.query_tiles,
        of_item % params.batch,
        split,
        (params.flags & 1u) != 0u,
        (params.flags & 2u) != 0u && split == 0u,
        (params.flags & 4u) != 0u,
    );
}

// The keys of a split by their positions, the lines of the fastest axis that they are in, and the
// segments of those lines.
struct Lines {
    from_position: u32,
    to_position: u32,
    // positions of a line, and the fastest axis' first column
    length: u32,
    fast_column: u32,
    first: u32,
    end: u32,
    first_segment: u32,
    end_segment: u32,
}

// Segments of `tile` positions each. Without an axis all keys are one line.
fn lines_of(split: u32, tile: u32) -> Lines {
    let from_key = min(split * params.split_keys, params.keys);
    let to_key = min(from_key + params.split_keys, params.keys);
    var lines: Lines;
    lines.from_position = params.first_key + from_key;
    lines.to_position = params.first_key + to_key;
    lines.length = max(lines.to_position, 1u);
    if (params.dimensions == 1u) {
        lines.length = params.axis_a;
        lines.fast_column = params.column_a;
    } else if (params.dimensions == 2u) {
        lines.length = params.axis_b;
        lines.fast_column = params.column_b;
    } else if (params.dimensions == 3u) {
        lines.length = params.axis_c;
        lines.fast_column = params.column_c;
    }
    lines.first = lines.from_position / lines.length;
    lines.end = (lines.to_position + lines.length - 1u) / lines.length;
    lines.end_segment = (lines.length + tile - 1u) / tile;
    if (lines.first + 1u == lines.end) {
        lines.first_segment = lines.from_position % lines.length / tile;
        lines.end_segment = (lines.to_position - lines.first * lines.length + tile - 1u) / tile;
    }
    if (from_key >= to_key) {
        lines.end_segment = 0u;
    }
    return lines;
}

// Scores of `tiled` and `coop` are exponents of two, those of states of e; masked ones and none are the same in both.
const LOG2_E: f32 = 1.4426950408889634;

fn to_power(score: f32) -> f32 {
    return select(score * LOG2_E, score, score <= MASKED);
}

fn from_power(power: f32) -> f32 {
    return select(power / LOG2_E, power, power <= MASKED);
}

// The keys of a tile of this size: positions first ..= last of it, by the key that its first position would be, which may wrap
// around below 0, and back where a position is added.
struct Tile {
    key: u32,
    first: u32,
    last: u32,
}

fn tile_of(lines: Lines, line: u32, fast: u32, size: u32) -> Tile {
    let position = line * lines.length + fast;
    let begin = max(position, lines.from_position);
    let end = min(min(position + size, (line + 1u) * lines.length), lines.to_position);
    return Tile(position - params.first_key, begin - position, end - position - 1u);
}

// Positions on the first and second slow axis of a line, 0 where there is none. A line beyond the grid has masked keys alone:
// it is taken for the last of the first axis.
fn slow_of(line: u32) -> vec2<u32> {
    if (params.dimensions == 2u) {
        return vec2<u32>(min(line, params.axis_a - 1u), 0u);
    }
    if (params.dimensions == 3u) {
        return vec2<u32>(min(line / params.axis_b, params.axis_a - 1u), line % params.axis_b);
    }
    return vec2<u32>(0u);
}

fn query_element(row: u32, column: u32) -> f32 {
    let at = row * params.columns + column;
    return queries[at / 4u][at % 4u];
}

fn carry_element(at: u32) -> f32 {
    return carry[at / 4u][at % 4u];
}
