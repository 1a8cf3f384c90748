//! Triangles of a surface from the layers of a grid, two at a time, so that no more of the grid is held.

use std::collections::HashMap;

use mcubes::{MarchingCubes, MeshSide};

/// Triangles that share their corners.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mesh {
    pub(crate) positions: Vec<[f32; 3]>,
    /// Of length one, away from the inside.
    pub(crate) normals: Vec<[f32; 3]>,
    pub(crate) triangles: Vec<[u32; 3]>,
}

/// How near to a point of the grid, in cells, a corner is taken to lie on it: more than two cells that share an edge differ in
/// what they make of it.
const NEAR: f32 = 4e-4;

/// Makes the mesh of a grid of so many points along a side; positive numbers are inside.
pub(crate) struct Mesher {
    points: usize,
    bounds: [f32; 2],
    before: Vec<f32>,
    /// Corners by the edge of the grid that they lie on: where it begins and its axis, 3 for a point of the grid.
    known: HashMap<[i32; 4], u32>,
    mesh: Mesh,
}

impl Mesher {
    pub(crate) fn new(points: usize, bounds: [f32; 2]) -> Self {
        Mesher { points, bounds, before: vec![], known: HashMap::new(), mesh: Mesh::default() }
    }

    /// Takes layer `z`; they come in order.
    pub(crate) fn push(&mut self, z: usize, layer: &[f32]) {
        let n = self.points;
        if z > 0 {
            let values = self.before.iter().chain(layer).map(|&x| finite(x)).collect();
            let one = (1.0, 1.0, 1.0);
            let offset = lin_alg::f32::Vec3::new(0.0, 0.0, (z - 1) as f32);
            // The size is that of two whole layers, or there would be an error.
            if let Ok(cubes) = MarchingCubes::new((n, n, 2), one, one, offset, values, 0.0) {
                let found = cubes.generate(MeshSide::InsideOnly);
                for corners in found.indices.chunks_exact(3) {
                    let corners = [0, 1, 2].map(|i| {
                        let at = found.vertices[corners[i]].posit;
                        self.corner([at.x, at.y, at.z])
                    });
                    let [a, b, c] = corners;
                    if a != b && b != c && c != a {
                        self.mesh.triangles.push(corners);
                    }
                }
                // Corners before this layer are not met again.
                self.known.retain(|key, _| key[2] >= z as i32);
            }
        }
        self.before.clear();
        self.before.extend_from_slice(layer);
    }

    /// The number of a corner at a place counted in cells.
    fn corner(&mut self, place: [f32; 3]) -> u32 {
        let off = place.map(|x| (x - x.round()).abs());
        let axis = (0..3).fold(0, |a, b| if off[b] > off[a] { b } else { a });
        let [x, y, z] = place.map(|x| x.round() as i32);
        let point = [x, y, z, 3];
        let mut edge = [x, y, z, axis as i32];
        edge[axis] = place[axis].floor() as i32;
        let near = off[axis] < NEAR;
        let known = self.known.get(&point).filter(|_| near).or_else(|| self.known.get(&edge));
        if let Some(&known) = known {
            return known;
        }
        let [from, to] = self.bounds;
        let cell = (to - from) / (self.points - 1) as f32;
        self.mesh.positions.push(place.map(|x| from + x * cell));
        let new = (self.mesh.positions.len() - 1) as u32;
        self.known.insert(edge, new);
        if near {
            self.known.insert(point, new);
        }
        new
    }

    /// The mesh, with normals that are the means of those of the triangles around.
    pub(crate) fn finish(self) -> Mesh {
        let mut mesh = self.mesh;
        let mut normals = vec![[0.0f32; 3]; mesh.positions.len()];
        for corners in &mesh.triangles {
            let normal = normal(corners.map(|i| mesh.positions[i as usize]));
            for &corner in corners {
                let sum = &mut normals[corner as usize];
                *sum = std::array::from_fn(|i| sum[i] + normal[i]);
            }
        }
        for normal in &mut normals {
            let length = normal.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            *normal = normal.map(|x| x / length);
        }
        mesh.normals = normals;
        mesh
    }
}

/// A number that corners can be found between: what is none is outside.
fn finite(x: f32) -> f32 {
    if x.is_nan() { -1.0 } else { x.clamp(-1e30, 1e30) }
}

/// The normal of a triangle, as long as twice its area.
fn normal([a, b, c]: [[f32; 3]; 3]) -> [f32; 3] {
    let side = |p: [f32; 3]| -> [f32; 3] { std::array::from_fn(|i| p[i] - a[i]) };
    let (u, v) = (side(b), side(c));
    [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
}

impl Mesh {
    /// Volume inside, positive where triangles face outwards.
    pub(crate) fn volume(&self) -> f64 {
        let of = |corners: &[u32; 3]| {
            let [a, b, c] = corners.map(|i| self.positions[i as usize].map(f64::from));
            let cross =
                [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
            a.iter().zip(cross).map(|(a, c)| a * c).sum::<f64>() / 6.0
        };
        self.triangles.iter().map(of).sum()
    }

    /// Edges that do not lie between two triangles: none of a closed surface.
    pub(crate) fn open_edges(&self) -> usize {
        let mut edges: HashMap<[u32; 2], i32> = HashMap::new();
        for &[a, b, c] in &self.triangles {
            for [from, to] in [[a, b], [b, c], [c, a]] {
                let sign = if from < to { 1 } else { -1 };
                *edges.entry([from.min(to), from.max(to)]).or_default() += sign;
            }
        }
        edges.values().filter(|&&count| count != 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(n: usize) -> Mesh {
        let mut mesher = Mesher::new(n, [-1.0, 1.0]);
        let place = |i: usize| 2.0 * i as f32 / (n - 1) as f32 - 1.0;
        for z in 0..n {
            let point = |i: usize| [place(i % n), place(i / n), place(z)];
            let value = |i: usize| 0.7 - point(i).map(|x| x * x).iter().sum::<f32>().sqrt();
            let layer: Vec<f32> = (0..n * n).map(value).collect();
            mesher.push(z, &layer);
        }
        mesher.finish()
    }

    #[test]
    fn a_ball_is_closed_and_faces_outwards() {
        for n in [9, 24, 41] {
            let mesh = ball(n);
            let exact = 4.0 / 3.0 * std::f64::consts::PI * 0.7f64.powi(3);
            assert_eq!(mesh.open_edges(), 0);
            assert!(
                (mesh.volume() / exact - 1.0).abs() < 8.0 / (n * n) as f64,
                "{}",
                mesh.volume()
            );
            for (position, normal) in mesh.positions.iter().zip(&mesh.normals) {
                let along: f32 = position.iter().zip(normal).map(|(p, n)| p * n).sum();
                assert!(along > 0.6, "{position:?} {normal:?}");
            }
        }
    }
}
