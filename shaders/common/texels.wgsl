// What kernels share that write texels: words of one f32 (TYPE 0), two f16 (TYPE 1) or four bytes (TYPE 2).

const TYPE: u32 = 2u;

@group(0) @binding(4) var<storage, read_write> texels: array<u32>;

// Writes vector number `at`; bytes are whole numbers from 0 to 255.
fn put(at: u32, four: vec4<f32>) {
    if (TYPE == 2u) {
        let bytes = vec4<u32>(four);
        texels[at] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
    } else if (TYPE == 1u) {
        texels[2u * at] = pack2x16float(four.xy);
        texels[2u * at + 1u] = pack2x16float(four.zw);
    } else {
        texels[4u * at] = bitcast<u32>(four.x);
        texels[4u * at + 1u] = bitcast<u32>(four.y);
        texels[4u * at + 2u] = bitcast<u32>(four.z);
        texels[4u * at + 3u] = bitcast<u32>(four.w);
    }
}
