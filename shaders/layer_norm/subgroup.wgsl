// layer_norm: Y = (X − μ)/√(σ² + eps) ⊙ g + b over the channels of each row, biased variance; or RMSNorm, μ = 0.
//
// Algorithm. One subgroup per row, in two passes and a third that writes: its sums need neither workgroup memory nor
// barriers. Any subgroup size is right: a workgroup of 256 has as many subgroups as it has, and they share its eight
// rows out. The order of the sums depends on the subgroup size of the device, not on the run.
//
// Bindings and numerics: see `layer_norm/common`. Workgroup bytes: none.

// #import layer_norm/common

const ROWS: u32 = 8u;

@compute @workgroup_size(256)
fn subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first_row = (first_group + group.y * params.groups_x + group.x) * ROWS;
    let end = min(first_row + ROWS, params.rows);
    for (var row = first_row + subgroup; row < end; row += subgroups) {
        let first = row * params.vectors;
        var sum = vec4<f32>(0.0);
        for (var v = lane; v < params.vectors; v += size) {
            sum += from_x(x[first + v]);
        }
        let mean = mean_of(subgroupAdd(sum4(sum)));
        var squares = vec4<f32>(0.0);
        for (var v = lane; v < params.vectors; v += size) {
            let d = (from_x(x[first + v]) - mean) * real(v);
            squares += d * d;
        }
        let inverse = scale_of(subgroupAdd(sum4(squares)));
        for (var v = lane; v < params.vectors; v += size) {
            y[first + v] = to_y((from_x(x[first + v]) - mean) * inverse * gain[v] + bias[v]);
        }
    }
}
