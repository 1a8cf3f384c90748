// layer_norm: Y = (X − μ)/√(σ² + eps) ⊙ g + b over the channels of each row, biased variance; or RMSNorm, μ = 0.
//
// Algorithm. One workgroup of 64 per row, in two passes (mean, then squared differences), so that nothing cancels,
// and a third that writes. Partial sums meet in workgroup memory in a fixed order.
//
// Bindings and numerics: see `layer_norm/common`. Workgroup bytes: 256.

// #import layer_norm/common

var<workgroup> partial: array<f32, 64>;

// Sum over the workgroup, the same for every invocation.
fn group_sum(value: f32, local: u32) -> f32 {
    partial[local] = value;
    workgroupBarrier();
    for (var step = 32u; step > 0u; step >>= 1u) {
        if (local < step) {
            partial[local] += partial[local + step];
        }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier();
    return total;
}

@compute @workgroup_size(64)
fn group(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = first_group + group.y * params.groups_x + group.x;
    if (row >= params.rows) {
        return;
    }
    let first = row * params.vectors;
    var sum = 0.0;
    for (var v = local; v < params.vectors; v += 64u) {
        sum += sum4(from_x(x[first + v]));
    }
    let mean = mean_of(group_sum(sum, local));
    var squares = 0.0;
    for (var v = local; v < params.vectors; v += 64u) {
        let d = (from_x(x[first + v]) - mean) * real(v);
        squares += dot(d, d);
    }
    let inverse = scale_of(group_sum(squares, local));
    for (var v = local; v < params.vectors; v += 64u) {
        y[first + v] = to_y((from_x(x[first + v]) - mean) * inverse * gain[v] + bias[v]);
    }
}
