// finite: whether the numbers of an array are finite.
//
// Work split: one invocation per element of the result, which looks at every `groups`th vector of four, so that
// neighbouring invocations read neighbouring vectors.
//
// Bindings (rows padded with zeros to four)
//   0 uniform     Params
//   1 read        x  [batch, rows, cols] as vectors of four, by their bits: compilers may take it that f32 are finite
//   2 read_write  y  [1, 1, groups] as f32: 1 where one of them is infinite or no number, else 0
// Workgroup bytes: none. Numerics: exact.

// #import common/elementwise

struct Params {
    // vectors of four in x
    vectors: u32,
    // elements of y that there are, and with its padding
    groups: u32,
    total: u32,
    row_invocations: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn groups(@builtin(global_invocation_id) invocation: vec3<u32>) {
    let at = 64u * first_group + invocation.y * params.row_invocations + invocation.x;
    if (at >= params.total) {
        return;
    }
    let exponent = vec4<u32>(0x7f800000u);
    var odd = 0.0;
    if (at < params.groups) {
        for (var i = at; i < params.vectors; i += params.groups) {
            if (any((x[i] & exponent) == exponent)) {
                odd = 1.0;
            }
        }
    }
    y[at] = odd;
}
