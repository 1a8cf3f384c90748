// layer_norm: Y = (X − μ)/√(σ² + eps) ⊙ g + b over the channels of each row, biased variance; or RMSNorm, μ = 0.
//
// Algorithm, for software adapters. One invocation per row, in two passes (mean, then squared differences), so that
// nothing cancels, and a third that writes; no workgroup memory.
//
// Bindings and numerics: see `layer_norm/common`. Workgroup bytes: none.

// #import layer_norm/common

const LANES: u32 = 8u;

@compute @workgroup_size(LANES)
fn lane(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = (first_group + group.y * params.groups_x + group.x) * LANES + local;
    if (row >= params.rows) {
        return;
    }
    let first = row * params.vectors;
    var sum = vec4<f32>(0.0);
    for (var v = 0u; v < params.vectors; v++) {
        sum += from_x(x[first + v]);
    }
    let mean = mean_of(sum4(sum));
    var squares = vec4<f32>(0.0);
    for (var v = 0u; v < params.vectors; v++) {
        let d = (from_x(x[first + v]) - mean) * real(v);
        squares += d * d;
    }
    let inverse = scale_of(sum4(squares));
    for (var v = 0u; v < params.vectors; v++) {
        y[first + v] = to_y((from_x(x[first + v]) - mean) * inverse * gain[v] + bias[v]);
    }
}
