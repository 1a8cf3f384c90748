// waves: Y[r, c] = the coordinate X[r, axis of c], or the sine or cosine of it times the column's frequency.
//
// Algorithm. Angles are in half turns. Two parts of twelve bits of a coordinate and two of a frequency have exact products;
// whole turns are taken off each, and the rests are added as integers of which 2^31 are a turn, since compilers may put sums
// of floats in another order. Then a polynomial of degree 11.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        x      [rows, axes] as f32
//   2 read        table  [5, cols] as f32: axis, twelve bits of the frequency, twelve more, the rest, and 0 coordinate, 1
//                        sine, 2 cosine
//   3 read_write  y      [rows, cols] as f32
// Work split: one invocation per element, padding included. Workgroup bytes: none. Numerics: f32, sines to 2e-7.

// #import common/elementwise

struct Params {
    cols: u32,
    // elements from one row of y to the next, and of the table
    row: u32,
    axes: u32,
    // elements from one row of x to the next
    x_row: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const PI: f32 = 3.14159265;

// The sine of an angle within a quarter turn.
fn sine(r: f32) -> f32 {
    let s = r * r;
    var p = -2.5052108e-8;
    p = p * s + 2.7557319e-6;
    p = p * s - 1.9841270e-4;
    p = p * s + 8.3333333e-3;
    p = p * s - 1.6666667e-1;
    return r + r * s * p;
}

@compute @workgroup_size(WORKGROUP)
fn elements(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let row = at / params.row;
    let column = at % params.row;
    if (column >= params.cols) {
        y[at] = 0.0;
        return;
    }
    let axis = min(u32(max(table[column], 0.0)), params.axes - 1u);
    let value = x[row * params.x_row + axis];
    let first = table[params.row + column];
    let second = table[2u * params.row + column];
    let third = table[3u * params.row + column];
    let kind = u32(table[4u * params.row + column]);
    let high = bitcast<f32>(bitcast<u32>(value) & 0xfffff000u);
    let low = value - high;
    let part = vec4<f32>(high * first, high * second, low * first, low * second);
    let turns = vec4<i32>(2147483648.0 * (0.5 * part - round(0.5 * part)));
    let last = i32(1073741824.0 * value * third);
    let whole = ((turns.x + turns.y) + (turns.z + turns.w) + last) << 1u;
    let angle = f32(whole) / 2147483648.0;
    let nearest = round(angle);
    let within = PI * (angle - nearest);
    // Half a turn more turns the sign.
    let sign = 1.0 - 2.0 * abs(nearest);
    var result = value;
    if (kind == 1u) {
        result = sign * sine(within);
    } else if (kind != 0u) {
        result = sign * sine(0.5 * PI - abs(within));
    }
    y[at] = result;
}
