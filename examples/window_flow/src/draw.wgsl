// Pictures drawn over the whole of a target, which is a viewport's: a video, its flow over it, and its frames as small
// as the model takes them.

struct Corner {
    @builtin(position) position: vec4f,
    @location(0) at: vec2f,
}

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var between: sampler;

// One triangle that covers all.
@vertex
fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let at = vec2f(f32((i << 1u) & 2u), f32(i & 2u));
    return Corner(vec4f(at.x * 2.0 - 1.0, 1.0 - at.y * 2.0, 0.0, 1.0), at);
}

@fragment
fn video(corner: Corner) -> @location(0) vec4f {
    return vec4f(textureSampleLevel(picture, between, corner.at, 0.0).rgb, 1.0);
}

// The more colour a vector has, the more it covers; white, no motion, and black, nothing known, cover nothing.
@fragment
fn flow(corner: Corner) -> @location(0) vec4f {
    let colour = textureSampleLevel(picture, between, corner.at, 0.0).rgb;
    let most = max(colour.r, max(colour.g, colour.b));
    let least = min(colour.r, min(colour.g, colour.b));
    return vec4f(colour, 0.8 * smoothstep(0.0, 0.6, most - least));
}

// The mean of what lies under a pixel of the target.
@fragment
fn smaller(corner: Corner) -> @location(0) vec4f {
    let pixel = fwidth(corner.at);
    var sum = vec3f(0.0);
    for (var i = 0u; i < 16u; i++) {
        let within = (vec2f(f32(i % 4u), f32(i / 4u)) + 0.5) / 4.0 - 0.5;
        sum += textureSampleLevel(picture, between, corner.at + within * pixel, 0.0).rgb;
    }
    return vec4f(sum / 16.0, 1.0);
}
