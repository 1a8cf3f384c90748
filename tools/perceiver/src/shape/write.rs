//! Meshes as files: glTF in one binary, Wavefront, and the Stanford polygon format.

use std::fmt::Write as _;

use serde_json::json;

use super::mesh::Mesh;

/// A file format, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Glb,
    Obj,
    Ply,
}

impl Format {
    pub(crate) fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "glb" => Some(Format::Glb),
            "obj" => Some(Format::Obj),
            "ply" => Some(Format::Ply),
            _ => None,
        }
    }

    pub(crate) fn bytes(self, mesh: &Mesh) -> Vec<u8> {
        match self {
            Format::Glb => glb(mesh),
            Format::Obj => obj(mesh).into_bytes(),
            Format::Ply => ply(mesh),
        }
    }
}

fn floats(rows: &[[f32; 3]]) -> impl Iterator<Item = u8> + '_ {
    rows.iter().flatten().flat_map(|x| x.to_le_bytes())
}

/// glTF 2.0, section 4 (binary): a header, the scene as JSON, positions, normals and indices.
fn glb(mesh: &Mesh) -> Vec<u8> {
    let mut data: Vec<u8> = floats(&mesh.positions).collect();
    data.extend(floats(&mesh.normals));
    data.extend(mesh.triangles.iter().flatten().flat_map(|i| i.to_le_bytes()));
    let (corners, indices) = (mesh.positions.len(), 3 * mesh.triangles.len());
    let rows = 12 * corners;
    let bound = |pick: fn(f32, f32) -> f32, start: f32| -> [f32; 3] {
        let fold = |axis| mesh.positions.iter().fold(start, |b, p| pick(b, p[axis]));
        [fold(0), fold(1), fold(2)]
    };
    let mut scene = json!({
        "asset": {"version": "2.0", "generator": "perceiver"},
        "scene": 0,
        "scenes": [{"nodes": []}],
    });
    // glTF has no empty accessors.
    if indices > 0 {
        scene["scenes"] = json!([{"nodes": [0]}]);
        scene["nodes"] = json!([{"mesh": 0}]);
        scene["meshes"] = json!([{"primitives": [{
            "attributes": {"POSITION": 0, "NORMAL": 1}, "indices": 2, "material": 0,
        }]}]);
        scene["materials"] = json!([{"pbrMetallicRoughness": {
            "baseColorFactor": [0.75, 0.76, 0.8, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.7,
        }}]);
        scene["buffers"] = json!([{"byteLength": data.len()}]);
        scene["bufferViews"] = json!([
            {"buffer": 0, "byteOffset": 0, "byteLength": rows, "target": 34962},
            {"buffer": 0, "byteOffset": rows, "byteLength": rows, "target": 34962},
            {"buffer": 0, "byteOffset": 2 * rows, "byteLength": 4 * indices, "target": 34963},
        ]);
        scene["accessors"] = json!([
            {"bufferView": 0, "componentType": 5126, "count": corners, "type": "VEC3",
             "min": bound(f32::min, f32::MAX), "max": bound(f32::max, f32::MIN)},
            {"bufferView": 1, "componentType": 5126, "count": corners, "type": "VEC3"},
            {"bufferView": 2, "componentType": 5125, "count": indices, "type": "SCALAR"},
        ]);
    }
    let mut text = scene.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(4), b' ');
    let mut chunks = vec![(&b"JSON"[..], text)];
    if indices > 0 {
        chunks.push((&b"BIN\0"[..], data));
    }
    let total = 12 + chunks.iter().map(|(_, c)| 8 + c.len()).sum::<usize>();
    let mut file = b"glTF".to_vec();
    file.extend(2u32.to_le_bytes());
    file.extend((total as u32).to_le_bytes());
    for (kind, chunk) in chunks {
        file.extend((chunk.len() as u32).to_le_bytes());
        file.extend(kind);
        file.extend(chunk);
    }
    file
}

fn obj(mesh: &Mesh) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for [x, y, z] in &mesh.positions {
        let _ = writeln!(text, "v {x} {y} {z}");
    }
    for [x, y, z] in &mesh.normals {
        let _ = writeln!(text, "vn {x} {y} {z}");
    }
    for corners in &mesh.triangles {
        let [a, b, c] = corners.map(|i| i + 1);
        let _ = writeln!(text, "f {a}//{a} {b}//{b} {c}//{c}");
    }
    text
}

fn ply(mesh: &Mesh) -> Vec<u8> {
    let mut file = format!(
        "ply\nformat binary_little_endian 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n\
         property float nx\nproperty float ny\nproperty float nz\nelement face {}\n\
         property list uchar uint vertex_indices\nend_header\n",
        mesh.positions.len(),
        mesh.triangles.len()
    )
    .into_bytes();
    for (position, normal) in mesh.positions.iter().zip(&mesh.normals) {
        file.extend(floats(&[*position, *normal]));
    }
    for triangle in &mesh.triangles {
        file.push(3);
        file.extend(triangle.iter().flat_map(|i| i.to_le_bytes()));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triangle() -> Mesh {
        Mesh {
            positions: vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            normals: vec![[0.0, 0.0, 1.0]; 3],
            triangles: vec![[0, 1, 2]],
        }
    }

    #[test]
    fn files_are_as_long_as_they_say() {
        for mesh in [triangle(), Mesh::default()] {
            let file = Format::Glb.bytes(&mesh);
            let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four"));
            assert_eq!((&file[..4], word(4), word(8)), (&b"glTF"[..], 2, file.len() as u32));
            let text = word(12) as usize;
            let scene: serde_json::Value =
                serde_json::from_slice(&file[20..20 + text]).expect("JSON");
            if !mesh.triangles.is_empty() {
                assert_eq!(scene["buffers"][0]["byteLength"], 84);
                assert_eq!(file.len(), 20 + text + 8 + 84);
            }
        }
        let text = String::from_utf8(Format::Obj.bytes(&triangle())).expect("text");
        assert!(text.ends_with("f 1//1 2//2 3//3\n"));
    }
}
