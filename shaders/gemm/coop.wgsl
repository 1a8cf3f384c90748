// gemm on cooperative matrices of f16, with sums in f32: Y = act(X·W + b) + R.
//
// Algorithm. A workgroup of SUBGROUPS subgroups computes a tile of TILE_ROWS × TILE_COLS of Y, each subgroup a part
// of it as FRAGMENT_ROWS × FRAGMENT_COLS fragments of FRAGMENT × FRAGMENT. Slices of 4·SLICE columns of X and rows of W
// pass through workgroup memory as f16; the next slice is loaded into registers while the present one is multiplied.
// Elements of fragments cannot be touched, so they pass through workgroup memory, one per subgroup at a time, to the
// epilogue of `gemm/common`.
//
// LayerNorm on the way as in `gemm/tiled`; x less its pivot is what is rounded to f16.
//
// Bindings: see `gemm/common`; arrays of f16 are native ones here.
// Workgroup bytes: padded slices, a fragment a subgroup and scales: 18 KiB at 32×64, 35 KiB at 128×256. Rows are padded
// so that eight rows of a fragment begin in different banks. But for subgroups of 32, whose hardware transposes on its
// way, the slice of W is transposed: then rows of both operands lie side by side, as AMD's fragments have them.
// Numerics: products of f16 numbers are exact in f32, sums are f32. x in f32 is rounded to f16, numbers beyond their
// range to the largest.
//
// Needs subgroups of exactly LANES; others write nothing, which the check before first use finds. Control flow around
// cooperative operations is uniform: bounds are constants or uniforms.

// #import common/coop
// #import gemm/common

// Whether rows, columns and inner dimension are whole tiles and slices, so that no load needs a check.
const ALIGNED: u32 = 0u;
// Lanes of a subgroup.
const LANES: u32 = 32u;
// Subgroups along the rows and columns of a tile, and fragments of each.
const SUBGROUP_ROWS: u32 = 2u;
const SUBGROUP_COLS: u32 = 2u;
const FRAGMENT_ROWS: u32 = 4u;
const FRAGMENT_COLS: u32 = 4u;
// Vectors of x per row of a slice.
const SLICE: u32 = 8u;
const SUBGROUPS: u32 = SUBGROUP_ROWS * SUBGROUP_COLS;
const WORKGROUP: u32 = LANES * SUBGROUPS;
const TILE_ROWS: u32 = SUBGROUP_ROWS * FRAGMENT_ROWS * FRAGMENT;
const TILE_COLS: u32 = SUBGROUP_COLS * FRAGMENT_COLS * FRAGMENT;
// Column vectors of a tile.
const TILE_VECTORS: u32 = SUBGROUP_COLS * FRAGMENT_COLS * FRAGMENT_VECTORS;
// Loads of vectors of one invocation per slice.
const X_LOADS: u32 = TILE_ROWS * SLICE / WORKGROUP;
const WEIGHT_LOADS: u32 = 4u * SLICE * TILE_VECTORS / WORKGROUP;
// Fragments along the columns of a slice.
const STEPS: u32 = 4u * SLICE / FRAGMENT;
// Vectors from one row of a slice to the next.
const X_ROW: u32 = SLICE + 2u;
// Column vectors of the loads of W.
// #if LANES == 32
const WEIGHT_ROW: u32 = TILE_VECTORS + 2u;
const WEIGHT_ROWS: u32 = 4u * SLICE;
const WEIGHT_COLUMNS: u32 = 1u;
// #else
const WEIGHT_ROW: u32 = SLICE + 2u;
const WEIGHT_ROWS: u32 = TILE_COLS;
const WEIGHT_COLUMNS: u32 = WEIGHT_LOADS / 4u;
// #endif

// Slices of x, and from WEIGHT_AT on of W.
const WEIGHT_AT: u32 = TILE_ROWS * X_ROW;
var<workgroup> staged: array<Unit, UNITS * (WEIGHT_AT + WEIGHT_ROWS * WEIGHT_ROW)>;
// Moments of rows, then one fragment per subgroup.
var<workgroup> fragments: array<f32, SUBGROUPS * FRAGMENT * FRAGMENT>;
// Scales of normalised rows.
var<workgroup> row_scales: array<f32, TILE_ROWS>;
// Lanes that subgroups have, which the driver chooses. Small variables come last: arrays begin at multiples of 16 bytes.
var<workgroup> subgroup_lanes: u32;

// Loads are shared out evenly.
const_assert TILE_ROWS * SLICE % WORKGROUP == 0u && SLICE * TILE_VECTORS % (WORKGROUP / 4u) == 0u;
// #if LANES == 32
const_assert WORKGROUP % TILE_VECTORS == 0u;
// #else
const_assert SLICE * TILE_VECTORS % WORKGROUP == 0u;
// #endif

// #if FRAGMENT == 8
fn put(at: u32, v: vec4<f16>) {
    staged[4u * at] = v.x;
    staged[4u * at + 1u] = v.y;
    staged[4u * at + 2u] = v.z;
    staged[4u * at + 3u] = v.w;
}
// #else
fn put(at: u32, v: vec4<f16>) { staged[at] = v; }
// #endif

// For workgroup memory; arrays of f16 need no conversion.
fn stage_x(v: x4) -> vec4<f16> { return to_f16(v); }
fn stage_weight(v: weight4) -> vec4<f16> { return to_f16(v); }

// Whether any load may lie beyond an end: indices are clamped then, and the last slice of x is cut. What belongs to no row
// or column is not stored.
fn clamped(at: u32, count: u32) -> u32 {
    return select(min(at, max(count, 1u) - 1u), at, ALIGNED == 1u);
}

// Zeros for what a slice has beyond the end of x. A branch for the last slice would make AMD's compiler wait in it.
fn cut(v: vec4<f16>, inside: bool) -> vec4<f16> {
    if (ALIGNED == 1u) {
        return v;
    }
    return v * select(f16(0.0), f16(1.0), inside);
}

// Puts what an invocation has loaded of a slice, of x the vector `k` of rows, into workgroup memory.
fn stage(
    local: u32,
    k: u32,
    end: u32,
    next_x: ptr<function, array<x4, X_LOADS>>,
    next_weight: ptr<function, array<weight4, WEIGHT_LOADS>>,
    pivot: ptr<function, array<f32, X_LOADS>>,
    moments: ptr<function, array<vec2<f32>, X_LOADS>>,
) {
    // #unroll
    for (var i = 0u; i < X_LOADS; i++) {
        let at = (local / SLICE + WORKGROUP / SLICE * i) * X_ROW + local % SLICE;
        // #if NORM == 1
        let v = around(from_x((*next_x)[i]), k, (*pivot)[i]);
        (*moments)[i] += vec2<f32>(sum4(v), dot(v, v));
        put(at, to_f16(v));
        // #else
        put(at, cut(stage_x((*next_x)[i]), k < end));
        // #endif
    }
    // #if LANES == 32
    // #unroll
    for (var j = 0u; j < WEIGHT_LOADS; j++) {
        let row = local / TILE_VECTORS + WORKGROUP / TILE_VECTORS * j;
        put(WEIGHT_AT + row * WEIGHT_ROW + local % TILE_VECTORS, stage_weight((*next_weight)[j]));
    }
    // #else
    // #unroll
    for (var j = 0u; j < WEIGHT_COLUMNS; j++) {
        let column = local / SLICE + WORKGROUP / SLICE * j;
        let k0 = stage_weight((*next_weight)[4u * j]);
        let k1 = stage_weight((*next_weight)[4u * j + 1u]);
        let k2 = stage_weight((*next_weight)[4u * j + 2u]);
        let k3 = stage_weight((*next_weight)[4u * j + 3u]);
        // #unroll
        for (var c = 0u; c < 4u; c++) {
            put(WEIGHT_AT + (4u * column + c) * WEIGHT_ROW + local % SLICE, vec4<f16>(k0[c], k1[c], k2[c], k3[c]));
        }
    }
    // #endif
}

@compute @workgroup_size(WORKGROUP)
fn coop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let tile = first_group + group.y * params.groups_x + group.x;
    let split = tile / params.col_tiles / max(params.row_tiles, 1u);
    if (split >= params.splits) {
        return;
    }
    subgroup_lanes = lanes;
    if (workgroupUniformLoad(&subgroup_lanes) != LANES) {
        return;
    }
    let first_row = tile / params.col_tiles % params.row_tiles * TILE_ROWS;
    let first_k = split * params.split_vectors;
    let end_k = min(first_k + params.split_vectors, params.inner_vectors);
    let first_column = (tile % params.col_tiles) * TILE_VECTORS;
    // What this invocation loads of a slice.
    let x_row = local / SLICE;
    let x_vector = local % SLICE;
    // #if LANES == 32
    let weight_row = local / TILE_VECTORS;
    let weight_column = local % TILE_VECTORS;
    // #else
    // Four rows of a column, neighbours below each other, so that what they store lies side by side.
    let weight_column = local / SLICE;
    // #endif
    // Of an empty array the first element.
    let weight_step = params.col_vectors * min(params.inner_vectors, 1u);
    var columns: array<u32, WEIGHT_COLUMNS>;
    // #unroll
    for (var j = 0u; j < WEIGHT_COLUMNS; j++) {
        let column = clamped(first_column + weight_column + WORKGROUP / SLICE * j, params.col_vectors);
        columns[j] = select(0u, column, params.inner_vectors > 0u);
    }
    // Where this subgroup's fragments are read from.
    let left_row = subgroup / SUBGROUP_COLS * (FRAGMENT_ROWS * FRAGMENT);
    let right_column = subgroup % SUBGROUP_COLS * (FRAGMENT_COLS * FRAGMENT);

    var sums: array<Sums, FRAGMENT_ROWS * FRAGMENT_COLS>;
    // #unroll
    for (var f = 0u; f < FRAGMENT_ROWS * FRAGMENT_COLS; f++) {
        sums[f] = Sums();
    }
    var next_x: array<x4, X_LOADS>;
    var next_weight: array<weight4, WEIGHT_LOADS>;
    var pivot: array<f32, X_LOADS>;
    var moments: array<vec2<f32>, X_LOADS>;
    var x_rows: array<u32, X_LOADS>;
    let k = clamped(first_k + x_vector, params.inner_vectors);
    // #unroll
    for (var i = 0u; i < X_LOADS; i++) {
        x_rows[i] = clamped(first_row + x_row + WORKGROUP / SLICE * i, params.rows) * params.inner_vectors;
        next_x[i] = x[x_rows[i] + k];
        if (NORM == 1u) {
            pivot[i] = pivot_of(first_row + x_row + WORKGROUP / SLICE * i);
            moments[i] = vec2<f32>(0.0);
        }
    }
    // #unroll
    for (var j = 0u; j < WEIGHT_LOADS; j++) {
        // #if LANES == 32
        let row = 4u * first_k + weight_row + WORKGROUP / TILE_VECTORS * j;
        next_weight[j] = weight[clamped(row, 4u * params.inner_vectors) * weight_step + columns[0]];
        // #else
        next_weight[j] = weight[4u * k * weight_step + columns[j / 4u] + j % 4u * weight_step];
        // #endif
    }

    let slices = (end_k - min(first_k, end_k) + SLICE - 1u) / SLICE;
    if (slices > 0u) {
        stage(local, first_k + x_vector, end_k, &next_x, &next_weight, &pivot, &moments);
    }
    workgroupBarrier();
    for (var s = 0u; s < slices; s++) {
        // After the last slice it is loaded once more rather than checked.
        let next_k = first_k + min(s + 1u, slices - 1u) * SLICE;
        let k = clamped(next_k + x_vector, params.inner_vectors);
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            next_x[i] = x[x_rows[i] + k];
        }
        // #unroll
        for (var j = 0u; j < WEIGHT_LOADS; j++) {
            // #if LANES == 32
            let row = 4u * next_k + weight_row + WORKGROUP / TILE_VECTORS * j;
            next_weight[j] = weight[clamped(row, 4u * params.inner_vectors) * weight_step + columns[0]];
            // #else
            next_weight[j] = weight[4u * k * weight_step + columns[j / 4u] + j % 4u * weight_step];
            // #endif
        }
        // #unroll
        for (var k = 0u; k < STEPS; k++) {
            var right: array<Right, FRAGMENT_COLS>;
            // #unroll
            for (var c = 0u; c < FRAGMENT_COLS; c++) {
                // #if LANES == 32
                let right_at = UNITS * (WEIGHT_AT + k * FRAGMENT * WEIGHT_ROW + right_column / 4u + FRAGMENT_VECTORS * c);
                right[c] = coopLoadT<Right>(&staged[right_at], UNITS * WEIGHT_ROW);
                // #else
                let right_at = UNITS * (WEIGHT_AT + (right_column + FRAGMENT * c) * WEIGHT_ROW + FRAGMENT_VECTORS * k);
                right[c] = coopLoad<Right>(&staged[right_at], UNITS * WEIGHT_ROW);
                // #endif
            }
            // #unroll
            for (var r = 0u; r < FRAGMENT_ROWS; r++) {
                let left_at = UNITS * ((left_row + FRAGMENT * r) * X_ROW + FRAGMENT_VECTORS * k);
                let left = coopLoadT<Left>(&staged[left_at], UNITS * X_ROW);
                // #unroll
                for (var c = 0u; c < FRAGMENT_COLS; c++) {
                    sums[r * FRAGMENT_COLS + c] = coopMultiplyAdd(left, right[c], sums[r * FRAGMENT_COLS + c]);
                }
            }
        }
        workgroupBarrier();
        // What has been loaded goes into workgroup memory in the same turn, so that no register need be handed on.
        stage(local, first_k + (s + 1u) * SLICE + x_vector, end_k, &next_x, &next_weight, &pivot, &moments);
        workgroupBarrier();
    }

    var scale: array<f32, X_LOADS>;
    if (NORM == 1u) {
        // Moments of a row from the SLICE invocations that loaded it, X_LOADS times WORKGROUP / SLICE rows.
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            fragments[2u * local] = moments[i].x;
            fragments[2u * local + 1u] = moments[i].y;
            workgroupBarrier();
            var total = vec2<f32>(0.0);
            // #unroll
            for (var e = 0u; e < SLICE; e++) {
                let at = 2u * (local / SLICE * SLICE + e);
                total += vec2<f32>(fragments[at], fragments[at + 1u]);
            }
            scale[i] = scale_of(total);
            workgroupBarrier();
        }
        // #unroll
        for (var i = 0u; i < X_LOADS; i++) {
            if (x_vector == 0u) {
                row_scales[x_row + WORKGROUP / SLICE * i] = scale[i];
            }
        }
    }
    // Fragments one by one: each subgroup's in memory of its own, then rows of all of them.
    let part = local / LANES;
    let lane = local % LANES;
    let fragment_at = subgroup * (FRAGMENT * FRAGMENT);
    let fragment_row = FRAGMENT;
    // #unroll
    for (var r = 0u; r < FRAGMENT_ROWS; r++) {
        // #unroll
        for (var c = 0u; c < FRAGMENT_COLS; c++) {
            let tile_sums = sums[r * FRAGMENT_COLS + c];
            let pointer = &fragments[fragment_at];
            coopStoreT(tile_sums, pointer, fragment_row);
            workgroupBarrier();
            for (var v = lane; v < FRAGMENT * FRAGMENT_VECTORS; v += LANES) {
                let in_row = v / FRAGMENT_VECTORS;
                let in_vector = v % FRAGMENT_VECTORS;
                let at = part * (FRAGMENT * FRAGMENT) + 4u * v;
                var value = vec4<f32>(fragments[at], fragments[at + 1u], fragments[at + 2u], fragments[at + 3u]);
                let row = part / SUBGROUP_COLS * (FRAGMENT_ROWS * FRAGMENT) + FRAGMENT * r + in_row;
                let column = first_column + part % SUBGROUP_COLS * (FRAGMENT_COLS * FRAGMENT_VECTORS)
                    + FRAGMENT_VECTORS * c + in_vector;
                if (NORM == 1u) {
                    value *= row_scales[row];
                }
                if (first_row + row < params.rows && column < params.col_vectors) {
                    store(split * params.rows + first_row + row, column, value);
                }
            }
            workgroupBarrier();
        }
    }
}
