// What attentions on cooperative matrices share: the shape of a tile, what passes through workgroup memory, products of
// fragments, and what the lanes of a query tell each other.
//
// A workgroup of SUBGROUP_ROWS × SUBGROUP_COLS subgroups has ROWS queries, tiles of 64 keys and CHUNKS chunks of value
// columns. Control flow around cooperative operations is uniform.

// #import common/coop

// Lanes of a subgroup; subgroups along the queries, and along keys and columns; fragments of queries of each subgroup,
// and of value columns in a chunk.
const LANES: u32 = 32u;
const SUBGROUP_ROWS: u32 = 2u;
const SUBGROUP_COLS: u32 = 2u;
const FRAGMENT_ROWS: u32 = 2u;
const FRAGMENT_COLS: u32 = 2u;
// Chunks of value columns of a workgroup; vectors of channels of a slice of queries and keys; numbers of f16 that are
// added up to an element of a query.
const CHUNKS: u32 = 1u;
const SLICE: u32 = 16u;
const PARTS: u32 = 1u;
const WORKGROUP: u32 = LANES * SUBGROUP_ROWS * SUBGROUP_COLS;
const ROWS: u32 = SUBGROUP_ROWS * FRAGMENT_ROWS * FRAGMENT;
// Column vectors of a chunk.
const COLS: u32 = SUBGROUP_COLS * FRAGMENT_COLS * FRAGMENT_VECTORS;
// Fragments of the channels of a slice; of 64 keys, and those of one subgroup.
const CHANNEL_STEPS: u32 = SLICE / FRAGMENT_VECTORS;
const STEPS: u32 = 64u / FRAGMENT;
const KEYS_EACH: u32 = STEPS / SUBGROUP_COLS;
// Lanes of a query in softmax, and vectors of scores of each.
const LANES_EACH: u32 = WORKGROUP / ROWS;
const VECTORS_EACH: u32 = 16u / LANES_EACH;
// Fragments of scores, and of the result, of a subgroup.
const PRODUCTS: u32 = FRAGMENT_ROWS * KEYS_EACH;
const RESULTS: u32 = FRAGMENT_ROWS * FRAGMENT_COLS * CHUNKS;
// Vectors of f16 from one row of channels or of keys to the next, and scores: eight rows of a fragment begin in
// different banks.
const CHANNELS_ROW: u32 = SLICE + 2u;
const ROW: u32 = 18u;
const SCORES_ROW: u32 = 68u;
// What a maximum may rise by before accumulators are rescaled, as a power of two.
const COOP_SLACK: f32 = 12.0;

// What passes through workgroup memory as f16: queries; from SLICE_AT on 64 keys, or the columns of a chunk; from
// PROBABILITIES_AT on those of all queries.
const SLICE_AT: u32 = PARTS * ROWS * CHANNELS_ROW;
const PROBABILITIES_AT = SLICE_AT + max(64u * CHANNELS_ROW, 4u * COLS * ROW);
var<workgroup> staged: array<Unit, UNITS * (PROBABILITIES_AT + ROWS * ROW)>;
// Scores, or a chunk of accumulators.
var<workgroup> scores: array<f32, ROWS * SCORES_ROW>;
// What accumulators of a query are multiplied with, and at the end carried ones.
var<workgroup> factors: array<f32, ROWS>;
var<workgroup> carried_factors: array<f32, ROWS>;
// Whether a maximum has risen by more than COOP_SLACK. Small variables come last, so that arrays begin at multiples of 16 bytes.
var<workgroup> risen: atomic<u32>;
// Lanes that subgroups have, which the driver chooses.
var<workgroup> subgroup_lanes: u32;

// Loads and fragments are shared out evenly.
const_assert ROWS * SLICE % WORKGROUP == 0u && 64u * SLICE % WORKGROUP == 0u;
const_assert STEPS % SUBGROUP_COLS == 0u && 16u % LANES_EACH == 0u && LANES_EACH <= 8u && 4u * COLS <= 64u;

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

// A vector of the columns of four keys, transposed.
fn put_values(column: u32, quad: u32, rows: array<vec4<f16>, 4>) {
    // #unroll
    for (var c = 0u; c < 4u; c++) {
        put(SLICE_AT + (4u * column + c) * ROW + quad, vec4<f16>(rows[0][c], rows[1][c], rows[2][c], rows[3][c]));
    }
}

fn score_vector(at: u32) -> vec4<f32> {
    return vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]);
}

// Of all lanes of a query.
fn maximum_of_lanes(own: f32) -> f32 {
    var most = own;
    // #unroll
    for (var i = 0u; i < 3u; i++) {
        if ((1u << i) < LANES_EACH) {
            most = max(most, subgroupShuffleXor(most, 1u << i));
        }
    }
    return most;
}

fn sum_of_lanes(own: f32) -> f32 {
    var sum = own;
    // #unroll
    for (var i = 0u; i < 3u; i++) {
        if ((1u << i) < LANES_EACH) {
            sum += subgroupShuffleXor(sum, 1u << i);
        }
    }
    return sum;
}

// Where fragments of a subgroup are: queries, keys, columns of a chunk.
struct Place {
    row: u32,
    key: u32,
    column: u32,
}

fn place_of(subgroup: u32) -> Place {
    return Place(
        subgroup / SUBGROUP_COLS * (FRAGMENT_ROWS * FRAGMENT),
        subgroup % SUBGROUP_COLS * (KEYS_EACH * FRAGMENT),
        subgroup % SUBGROUP_COLS * (FRAGMENT_COLS * FRAGMENT),
    );
}

// Adds the products of the queries and keys that are in the slice.
fn add_scores(place: Place, products: ptr<function, array<Sums, PRODUCTS>>) {
    // #unroll
    for (var e = 0u; e < CHANNEL_STEPS; e++) {
        var left: array<Left, PARTS * FRAGMENT_ROWS>;
        // #unroll
        for (var r = 0u; r < PARTS * FRAGMENT_ROWS; r++) {
            let left_row = r / FRAGMENT_ROWS * ROWS + place.row + r % FRAGMENT_ROWS * FRAGMENT;
            left[r] = coopLoadT<Left>(&staged[UNITS * (left_row * CHANNELS_ROW + FRAGMENT_VECTORS * e)], UNITS * CHANNELS_ROW);
        }
        // #unroll
        for (var f = 0u; f < KEYS_EACH; f++) {
            // Keys are rows, so this is their transpose.
            let right_at = UNITS * (SLICE_AT + (place.key + FRAGMENT * f) * CHANNELS_ROW + FRAGMENT_VECTORS * e);
            let right = coopLoad<Right>(&staged[right_at], UNITS * CHANNELS_ROW);
            // #unroll
            for (var r = 0u; r < PARTS * FRAGMENT_ROWS; r++) {
                let at = r % FRAGMENT_ROWS * KEYS_EACH + f;
                (*products)[at] = coopMultiplyAdd(left[r], right, (*products)[at]);
            }
        }
    }
}

fn store_scores(place: Place, products: ptr<function, array<Sums, PRODUCTS>>) {
    let scores_row = SCORES_ROW;
    // #unroll
    for (var r = 0u; r < FRAGMENT_ROWS; r++) {
        // #unroll
        for (var f = 0u; f < KEYS_EACH; f++) {
            let product = (*products)[r * KEYS_EACH + f];
            let pointer = &scores[(place.row + FRAGMENT * r) * SCORES_ROW + place.key + FRAGMENT * f];
            coopStoreT(product, pointer, scores_row);
        }
    }
}

// Fragments of what lies where the scores do.
fn load_scores(place: Place, products: ptr<function, array<Sums, PRODUCTS>>) {
    let scores_row = SCORES_ROW;
    // #unroll
    for (var r = 0u; r < FRAGMENT_ROWS; r++) {
        // #unroll
        for (var f = 0u; f < KEYS_EACH; f++) {
            let pointer = &scores[(place.row + FRAGMENT * r) * SCORES_ROW + place.key + FRAGMENT * f];
            (*products)[r * KEYS_EACH + f] = coopLoadT<Sums>(pointer, scores_row);
        }
    }
}

// Adds the products of the probabilities and of the values that are in the slice to the sums of chunk c.
fn add_context(place: Place, c: u32, sums: ptr<function, array<Sums, RESULTS>>) {
    // #unroll
    for (var e = 0u; e < STEPS; e++) {
        var left: array<Left, FRAGMENT_ROWS>;
        // #unroll
        for (var r = 0u; r < FRAGMENT_ROWS; r++) {
            let left_at = UNITS * (PROBABILITIES_AT + (place.row + FRAGMENT * r) * ROW + FRAGMENT_VECTORS * e);
            left[r] = coopLoadT<Left>(&staged[left_at], UNITS * ROW);
        }
        // #unroll
        for (var f = 0u; f < FRAGMENT_COLS; f++) {
            let right_at = UNITS * (SLICE_AT + (place.column + FRAGMENT * f) * ROW + FRAGMENT_VECTORS * e);
            let right = coopLoad<Right>(&staged[right_at], UNITS * ROW);
            // #unroll
            for (var r = 0u; r < FRAGMENT_ROWS; r++) {
                let at = (c * FRAGMENT_ROWS + r) * FRAGMENT_COLS + f;
                (*sums)[at] = coopMultiplyAdd(left[r], right, (*sums)[at]);
            }
        }
    }
}

// The sums of chunk c, into the memory of the scores.
fn store_chunk(place: Place, c: u32, sums: ptr<function, array<Sums, RESULTS>>) {
    let scores_row = SCORES_ROW;
    // #unroll
    for (var r = 0u; r < FRAGMENT_ROWS; r++) {
        // #unroll
        for (var f = 0u; f < FRAGMENT_COLS; f++) {
            let part = (*sums)[(c * FRAGMENT_ROWS + r) * FRAGMENT_COLS + f];
            let pointer = &scores[(place.row + FRAGMENT * r) * SCORES_ROW + place.column + FRAGMENT * f];
            coopStoreT(part, pointer, scores_row);
        }
    }
}

// Multiplies all sums with the factors of their queries.
fn rescale(local: u32, place: Place, sums: ptr<function, array<Sums, RESULTS>>) {
    // #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        store_chunk(place, c, sums);
        workgroupBarrier();
        for (var u = local; u < 4u * ROWS * COLS; u += WORKGROUP) {
            let row = u / (4u * COLS);
            scores[row * SCORES_ROW + u % (4u * COLS)] *= factors[row];
        }
        workgroupBarrier();
        // #unroll
        for (var r = 0u; r < FRAGMENT_ROWS; r++) {
            // #unroll
            for (var f = 0u; f < FRAGMENT_COLS; f++) {
                let part_at = (place.row + FRAGMENT * r) * SCORES_ROW + place.column + FRAGMENT * f;
                (*sums)[(c * FRAGMENT_ROWS + r) * FRAGMENT_COLS + f] = coopLoadT<Sums>(&scores[part_at], SCORES_ROW);
            }
        }
        workgroupBarrier();
    }
}
