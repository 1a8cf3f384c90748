// Dot products onto a sum, as four multiply-adds: `sum + dot(a, b)` is a multiplication, three multiply-adds and an
// addition.

fn add_dot(a: vec4<f32>, b: vec4<f32>, sum: f32) -> f32 {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

// Those of four rows with one.
fn add_dots(a0: vec4<f32>, a1: vec4<f32>, a2: vec4<f32>, a3: vec4<f32>, b: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(add_dot(a0, b, sums.x), add_dot(a1, b, sums.y), add_dot(a2, b, sums.z), add_dot(a3, b, sums.w));
}
