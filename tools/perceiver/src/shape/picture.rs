//! A picture of a mesh: triangles with a depth buffer, lit from where one looks and from above.

use image::RgbImage;

use super::mesh::Mesh;

/// Pixels along a side.
const SIDE: usize = 640;
/// Directions of the picture: to the right, up, and towards the viewer; looking down from the front.
const AXES: [[f32; 3]; 3] =
    [[0.8192, 0.0, -0.5736], [-0.2424, 0.9063, -0.3462], [0.5198, 0.4226, 0.7424]];
const BEHIND: [f32; 3] = [0.96, 0.97, 0.98];

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Draws what lies within these bounds on all axes.
pub(crate) fn draw(mesh: &Mesh, [from, to]: [f32; 2]) -> RgbImage {
    let mut depth = vec![f32::MIN; SIDE * SIDE];
    let mut colours = vec![BEHIND; SIDE * SIDE];
    let centre = [(from + to) / 2.0; 3];
    // A cube's diagonal fits, whatever its direction.
    let scale = SIDE as f32 / ((to - from) * 1.75);
    let seen = |p: [f32; 3]| -> [f32; 3] {
        let p = [p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]];
        let half = SIDE as f32 / 2.0;
        [half + scale * dot(p, AXES[0]), half - scale * dot(p, AXES[1]), dot(p, AXES[2])]
    };
    let lit = |normal: [f32; 3]| {
        let facing = dot(normal, AXES[2]).max(0.0);
        let above = 0.5 + 0.5 * normal[1];
        0.18 + 0.55 * facing + 0.27 * above
    };
    for corners in &mesh.triangles {
        let [a, b, c] = corners.map(|i| seen(mesh.positions[i as usize]));
        let lights = corners.map(|i| lit(mesh.normals[i as usize]));
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
        if area == 0.0 {
            continue;
        }
        let span = |axis: usize| {
            let all = [a[axis], b[axis], c[axis]];
            let least = all.into_iter().fold(f32::MAX, f32::min).floor().max(0.0) as usize;
            let most = all.into_iter().fold(f32::MIN, f32::max).ceil().max(0.0) as usize;
            least.min(SIDE)..(most + 1).min(SIDE)
        };
        for y in span(1) {
            for x in span(0) {
                let p = [x as f32 + 0.5, y as f32 + 0.5];
                let part = |u: [f32; 3], v: [f32; 3]| {
                    ((u[0] - p[0]) * (v[1] - p[1]) - (v[0] - p[0]) * (u[1] - p[1])) / area
                };
                let parts = [part(b, c), part(c, a), part(a, b)];
                if parts.iter().any(|&part| part < 0.0) {
                    continue;
                }
                let near = dot(parts, [a[2], b[2], c[2]]);
                let at = y * SIDE + x;
                if near > depth[at] {
                    depth[at] = near;
                    let light = dot(parts, lights);
                    colours[at] = [0.55, 0.68, 0.86].map(|channel| channel * light);
                }
            }
        }
    }
    let byte = |x: f32| (x.clamp(0.0, 1.0).powf(1.0 / 1.4) * 255.0).round() as u8;
    RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
        image::Rgb(colours[y as usize * SIDE + x as usize].map(byte))
    })
}
