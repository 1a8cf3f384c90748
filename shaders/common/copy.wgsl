// copy: what a device's memory can move. Each invocation copies four vectors, a workgroup's worth apart.
//
// Bindings
//   0 read        x   vectors of four
//   1 read_write  y   as many
//
// Workgroup bytes: none. Numerics: none.

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = 1024u * group.x + local;
    for (var i = 0u; i < 4u; i++) {
        y[first + 256u * i] = x[first + 256u * i];
    }
}
