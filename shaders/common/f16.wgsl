// Four numbers stored as f16 in two words, which every device can do: no shader feature is needed.
//
// Drivers are free to round towards zero when they pack, so numbers are rounded to eleven bits (to nearest, ties to
// even) before. Numbers beyond the range of f16 become the largest f16.

fn from_f16(v: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y));
}

fn to_f16(v: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
    let odd = (bits >> vec4<u32>(13u)) & vec4<u32>(1u);
    let rounded = bitcast<vec4<f32>>((bits + vec4<u32>(0xfffu) + odd) & vec4<u32>(0xffffe000u));
    return vec2<u32>(pack2x16float(rounded.xy), pack2x16float(rounded.zw));
}
