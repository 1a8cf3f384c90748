// What all products share: arguments, the LayerNorm on the way, the epilogue. Whoever imports it
// declares the arrays x, bias, residual and y, and how x and y are unpacked and packed.

// #import common/gelu

struct Params {
    rows: u32,
    // vectors of four per row of x
    inner_vectors: u32,
    // vectors of four per row of weight and y
    col_vectors: u32,
    residual_rows: u32,
    // 0 none, 1 erf GELU, 2 tanh GELU
    activation: u32,
    has_bias: u32,
    // workgroups per grid row: the tile index is y * groups_x + x
    groups_x: u32,
    col_tiles: u32,
    // columns of x without padding
    inner: u32,
    // vectors of four of the inner dimension that each split has, and tiles of rows of each
    split_vectors: u32,
    row_tiles: u32,
    splits: u32,
}

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Mean of a row's first channels.
fn pivot_of(row: u32) -> f32 {
    let first = min(row, params.rows - 1u) * params.inner_vectors;
    var sum = vec4<f32>(0.0);
    for (var k = 0u; k < min(4u, params.inner_vectors); k++) {
        sum += from_x(x[first + k]);
    }
    return sum4(sum) / f32(clamp(params.inner, 1u, 16u));
}

// A vector of a row around the pivot, zero in padding.
fn around(v: vec4<f32>, k: u32, pivot: f32) -> vec4<f32> {
    let column = 4u * k + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(0.0), v - pivot, column < vec4<u32>(params.inner));
}

// Scale of a row from sum and sum of squares around its pivot.
fn scale_of(sums: vec2<f32>) -> f32 {
    let count = f32(max(params.inner, 1u));
    let mean = sums.x / count;
    return 1.0 / sqrt(max(sums.y / count - mean * mean, 0.0) + 1e-5);
}

fn store(row: u32, column: u32, sum: vec4<f32>) {
    var v = sum;
    if (params.has_bias != 0u) {
        v += bias[column];
    }
    if (params.activation == 1u) {
        v = gelu_erf(v);
    } else if (params.activation == 2u) {
        v = gelu_tanh(v);
    }
    if (params.residual_rows != 0u) {
        v += residual[(row % params.residual_rows) * params.col_vectors + column];
    }
    y[row * params.col_vectors + column] = to_y(v);
}
