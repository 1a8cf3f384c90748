// Cooperative matrices of f16 with sums in f32: their types by the side of a fragment, and f16 for workgroup memory.

enable f16;
enable wgpu_cooperative_matrix;

// Elements of a fragment's side: 16 where drivers speak of 16×16×16, 8 on Metal; vectors of its row.
const FRAGMENT: u32 = 16u;
const FRAGMENT_VECTORS: u32 = FRAGMENT / 4u;
// What workgroup memory of f16 is made of, and how many make a vector: Metal loads matrices from scalars alone.
// #if FRAGMENT == 8
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
alias Unit = f16;
const UNITS: u32 = 4u;
// #else
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
alias Unit = vec4<f16>;
const UNITS: u32 = 1u;
// #endif

fn to_f16(v: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}
