// Activations, and the choice: 0 none, 1 erf GELU, 2 tanh GELU, 3 ReLU, 4 SiLU, 5 tanh.
//
// erf is the rational approximation of Eigen, good to 4e-7 absolute. tanh is written with exp of a clamped argument:
// some drivers overflow in their own tanh.

fn erf4(v: vec4<f32>) -> vec4<f32> {
    let x = clamp(v, vec4<f32>(-4.0), vec4<f32>(4.0));
    let s = x * x;
    var p = vec4<f32>(-2.7261423e-10);
    p = p * s + 2.7706814e-8;
    p = p * s - 2.101024e-6;
    p = p * s - 5.6925064e-5;
    p = p * s - 7.3499063e-4;
    p = p * s - 2.9545998e-3;
    p = p * s - 1.6096033e-2;
    var q = vec4<f32>(-1.4566072e-5);
    q = q * s - 2.1337406e-4;
    q = q * s - 1.682827e-3;
    q = q * s - 7.373329e-3;
    q = q * s - 1.4264739e-2;
    return clamp(x * p / q, vec4<f32>(-1.0), vec4<f32>(1.0));
}

// x/2 (1 + erf(x/sqrt 2))
fn gelu_erf(x: vec4<f32>) -> vec4<f32> {
    return 0.5 * x * (1.0 + erf4(x * 0.70710678));
}

// x/2 (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    let u = 0.7978846 * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp(clamp(-2.0 * u, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

fn activate(v: vec4<f32>, activation: u32) -> vec4<f32> {
    var result = v;
    if (activation == 1u) {
        result = gelu_erf(v);
    } else if (activation == 2u) {
        result = gelu_tanh(v);
    } else if (activation == 3u) {
        result = max(v, vec4<f32>(0.0));
    } else if (activation == 4u) {
        result = v / (1.0 + exp(clamp(-v, vec4<f32>(-80.0), vec4<f32>(80.0))));
    } else if (activation == 5u) {
        let e = exp(max(-2.0 * abs(v), vec4<f32>(-80.0)));
        result = sign(v) * (1.0 - e) / (1.0 + e);
    }
    return result;
}
