// Four numbers stored as halves in two words, which every device can do: no shader feature is needed.
//
// Drivers are free to round towards zero when they pack, so numbers are rounded to eleven bits (to
// nearest, ties to even) before. Numbers beyond the range of halves become the largest half.

fn from_halves(v: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y));
}

fn to_halves(v: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
    let odd = (bits >> vec4<u32>(13u)) & vec4<u32>(1u);
    let rounded = bitcast<vec4<f32>>((bits + vec4<u32>(0xfffu) + odd) & vec4<u32>(0xffffe000u));
    return vec2<u32>(pack2x16float(rounded.xy), pack2x16float(rounded.zw));
}
