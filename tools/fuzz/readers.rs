//! Everything that reads bytes of strangers, by name. `fuzz_targets` and the test `tests/suite/fuzzed.rs` share the list.
//!
//! A reader may refuse its bytes or take them; what it took must then be what the writer beside it gives back. It must
//! not panic, and take no more memory and time than the targets allow.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use perceiver::blueprint::Blueprint;
use perceiver::hub::{self, Hub, HubOptions};
use perceiver::internals::checkpoint::TensorFile;
use perceiver::internals::gpu::{Tuning, shader, unpack};
use perceiver::internals::kernels::{self, DeviceTraits, Op};
use perceiver::internals::media::y4m;
use perceiver::internals::tasks::flow_file;
use perceiver::media::wav::Sound;
use perceiver::media::{Frame, Frames, picture, wav};
use perceiver::stream::{EncoderState, Latents};
use perceiver::tasks::PerceiverImageProcessor;
use perceiver::{Description, PerceiverConfig};
use tempfile::TempDir;

use super::mesh::Mesher;
use super::mesh_file::Format;
use super::writer::torch;
use super::writers;

/// A reader of bytes.
pub type Reader = fn(&[u8]);

/// All of them.
pub const READERS: [(&str, Reader); 24] = [
    ("blueprint", blueprint),
    ("config", config),
    ("flo", flo),
    ("gif", gif),
    ("haiku", haiku),
    ("index", index),
    ("latents", latents),
    ("listing", listing),
    ("meshes", meshes),
    ("names", names),
    ("picture", picture),
    ("pickle", pickle),
    ("pipelines", pipelines),
    ("processor", processor),
    ("refs", refs),
    ("safetensors", safetensors),
    ("shader", shader),
    ("state", state),
    ("torch_legacy", torch_legacy),
    ("torch_zip", torch_zip),
    ("tuning", tuning),
    ("wav", wav),
    ("writers", writers),
    ("y4m", y4m),
];

/// What messages call the bytes.
const NAME: &str = "bytes";

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The same bytes as a file, for readers that take nothing else. One for each thread is written again and again.
fn on_disk(bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join(NAME);
        fs::write(&path, bytes).expect("a temporary file");
        read(&path);
    });
}

pub fn config(bytes: &[u8]) {
    if let Ok(description) = Description::from_json(text(bytes), NAME) {
        // Of more layers it takes longer and says nothing new.
        let few = |c: &PerceiverConfig| c.num_blocks * c.num_self_attends_per_block <= 4;
        if description.config().is_ok_and(few) {
            description.tensors().expect("tensors of a configuration that was taken");
        }
    }
}

pub fn blueprint(bytes: &[u8]) {
    if let Ok(blueprint) = Blueprint::from_json(text(bytes), NAME) {
        let again = Blueprint::from_json(&blueprint.to_json(), NAME);
        assert_eq!(again.expect("what was written"), blueprint);
        drop(blueprint.tensors());
    }
}

pub fn processor(bytes: &[u8]) {
    if let Ok(processor) = PerceiverImageProcessor::from_json(text(bytes), NAME)
        && processor.size.width.max(processor.size.height) <= 64
    {
        let frame = Frame::from_fn(5, 3, |x, y| [x as u8, y as u8, 7]).expect("a frame");
        drop(processor.process(&frame));
    }
}

/// Reads a file of tensors, all of them.
fn tensors(bytes: &[u8], among: bool) {
    let Ok(file) = TensorFile::parsed(Path::new(NAME), Box::new(bytes.to_vec()), among) else {
        return;
    };
    let mut elements = 0;
    for (name, _) in file.entries() {
        let tensor = file.read(name).expect("a tensor whose place was checked");
        elements += tensor.shape().iter().product::<usize>();
    }
    assert!(elements <= 16 * bytes.len(), "{elements} elements in {} bytes", bytes.len());
}

pub fn safetensors(bytes: &[u8]) {
    if !matches!(bytes, [b'P', b'K', ..] | [0x80, ..]) {
        tensors(bytes, false);
    }
}

pub fn torch_zip(bytes: &[u8]) {
    if bytes.starts_with(b"PK\x03\x04") {
        tensors(bytes, false);
        tensors(bytes, true);
    }
}

/// Instructions of the pickle in an archive that has four floats in storage `0`.
pub fn pickle(bytes: &[u8]) {
    let archive = torch(bytes.to_vec(), &[("0", vec![0; 16])]);
    tensors(&archive, false);
    tensors(&archive, true);
}

pub fn torch_legacy(bytes: &[u8]) {
    if bytes.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9") {
        tensors(bytes, false);
    }
}

pub fn haiku(bytes: &[u8]) {
    if matches!(bytes, [0x80, 2..=5, next, ..] if *next != 0x8a) {
        tensors(bytes, false);
    }
}

pub fn latents(bytes: &[u8]) {
    if let Ok(latents) = Latents::from_bytes(bytes) {
        let again = Latents::from_bytes(&latents.to_bytes().expect("bytes"));
        assert_eq!(again.expect("what was written"), latents);
    }
}

pub fn state(bytes: &[u8]) {
    if let Ok(state) = EncoderState::from_bytes(bytes) {
        let again = EncoderState::from_bytes(&state.to_bytes().expect("bytes"));
        assert_eq!(again.expect("what was written"), state);
        drop(state.merge(&state).expect("states of one model"));
    }
}

pub fn flo(bytes: &[u8]) {
    if let Ok(field) = flow_file::decode(bytes) {
        assert_eq!(flow_file::encode(&field), bytes);
    }
}

pub fn wav(bytes: &[u8]) {
    on_disk(bytes, |path| drop(wav::read(path)));
}

pub fn y4m(bytes: &[u8]) {
    if let Ok(frames) = y4m::Reader::new(bytes, NAME) {
        let pixels = |f: perceiver::Result<Frame>| f.map_or(0, |f| f.rgb().len());
        let read: usize = frames.map(pixels).sum();
        // Three bytes for each sample of grey, which takes one.
        assert!(read <= 3 * bytes.len());
    }
}

pub fn gif(bytes: &[u8]) {
    // More frames say nothing new, and a file of a few bytes may have many.
    on_disk(bytes, |path| {
        if let Ok(frames) = Frames::open(path) {
            frames.take(8).for_each(drop);
        }
    });
}

pub fn picture(bytes: &[u8]) {
    on_disk(bytes, |path| {
        let (read, pillow) = (picture::read(path), picture::read_as_pillow(path));
        if let (Ok(one), Ok(other)) = (read, pillow) {
            assert_eq!((one.width(), one.height()), (other.width(), other.height()));
        }
    });
}

pub fn tuning(bytes: &[u8]) {
    static OPS: OnceLock<Vec<Op>> = OnceLock::new();
    let Ok(tuning) = Tuning::from_bytes(bytes) else { return };
    assert_eq!(Tuning::from_bytes(&tuning.to_bytes()).expect("what was written"), tuning);
    let ops = OPS.get_or_init(|| {
        let rows = kernels::table().into_iter().map(|row| row.op);
        rows.filter(|op| perceiver::internals::gpu::bucket(op).is_some()).step_by(50).collect()
    });
    let traits = DeviceTraits::webgpu_default();
    for choice in &tuning.choices {
        for op in ops {
            black_box(op.tile_candidate(&choice.variant, &traits));
            assert!(!tuning.candidates(op, &traits, []).is_empty() || !tuning.denied.is_empty());
        }
    }
}

pub fn pipelines(bytes: &[u8]) {
    if let Some(data) = unpack(bytes.to_vec()) {
        assert!(bytes.ends_with(&data));
    }
}

pub fn shader(bytes: &[u8]) {
    drop(shader::preprocess(NAME, text(bytes), &[("A", 3)]));
}

pub fn names(bytes: &[u8]) {
    let cache = HubOptions { offline: true, ..HubOptions::new("/nowhere") };
    drop(Hub::new(cache).map(|hub| hub.cached(text(bytes))));
}

pub fn listing(bytes: &[u8]) {
    drop(hub::listed(bytes));
}

/// What the cache of the hub has of a model when `file` of its folder has these bytes.
fn cached(bytes: &[u8], file: &str) {
    thread_local! {
        static CACHE: (TempDir, Hub) = {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let hub = Hub::new(HubOptions { offline: true, ..HubOptions::new(folder.path()) });
            let snapshot = model(folder.path()).join("snapshots").join(COMMIT);
            fs::create_dir_all(&snapshot).expect("a folder");
            fs::create_dir_all(model(folder.path()).join("refs")).expect("a folder");
            fs::write(snapshot.join("config.json"), "{}").expect("a file");
            fs::write(model(folder.path()).join("refs/main"), COMMIT).expect("a file");
            (folder, hub.expect("a hub"))
        };
    }
    CACHE.with(|(folder, hub)| {
        fs::write(model(folder.path()).join(file), bytes).expect("a temporary file");
        drop(hub.cached("a/b").expect("a name"));
    });
}

const COMMIT: &str = "0123456789012345678901234567890123456789";

fn model(cache: &Path) -> PathBuf {
    cache.join("models--a--b")
}

pub fn refs(bytes: &[u8]) {
    cached(bytes, "refs/main");
}

pub fn index(bytes: &[u8]) {
    cached(bytes, &format!("snapshots/{COMMIT}/model.safetensors.index.json"));
}

/// Writers, which make of any sound and any frames what the readers take.
pub fn writers(bytes: &[u8]) {
    let [kind, width, rest @ ..] = bytes else { return };
    let (width, kind) = (usize::from(*width % 16) + 1, *kind);
    on_disk(&[], |path| match kind % 3 {
        0 => {
            let (words, _) = rest.as_chunks::<4>();
            let samples = words.iter().map(|w| f32::from_le_bytes(*w));
            let finite: Vec<f32> = samples.filter(|s| s.is_finite()).collect();
            let whole = finite[..finite.len() / width * width].to_vec();
            let Ok(sound) = Sound::new(u32::from(kind) + 1, width, whole) else { return };
            let exact = kind % 2 == 0;
            let kind = match exact {
                true => writers::wav::SampleKind::Float32,
                false => writers::wav::SampleKind::Integer16,
            };
            writers::wav::write(path, &sound, kind).expect("written");
            let read = wav::read(path).expect("what was written");
            assert_eq!(read.samples().len(), sound.samples().len());
            assert!(!exact || read == sound);
        }
        kind => {
            let frame = |rgb: &[u8]| Frame::new(width, rgb.len() / width / 3, rgb.to_vec());
            let frames = rest.chunks_exact(3 * width * (width + 1)).take(8).map(frame);
            let count = if kind == 1 {
                writers::y4m::write(path, Some((25, 1)), frames)
            } else {
                let timed = frames.map(|f| Ok((f?, Duration::from_millis(40))));
                writers::gif::write(path, timed)
            };
            if let Ok(count) = count {
                let read = Frames::open(path).expect("what was written");
                let frames = read.map(|f| f.expect("a frame").frame);
                let same = frames.filter(|f| (f.width(), f.height()) == (width, width + 1));
                assert_eq!(same.count(), count);
            }
        }
    });
}

/// Meshes of any numbers on a grid, and the files that are made of them: each as long as it says, of numbers that are finite.
pub fn meshes(bytes: &[u8]) {
    let [points, rest @ ..] = bytes else { return };
    let points = usize::from(*points % 5) + 2;
    let (words, _) = rest.as_chunks::<4>();
    let numbers: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
    let mut mesher = Mesher::new(points, [-1.0, 1.0]);
    for (z, layer) in numbers.chunks_exact(points * points).take(points).enumerate() {
        mesher.push(z, layer);
    }
    let mesh = mesher.finish();
    let corners = mesh.positions.len();
    assert!(mesh.positions.iter().flatten().all(|x| x.abs() <= 1.0), "{:?}", mesh.positions);
    assert!(mesh.normals.iter().flatten().all(|x| x.abs() <= 1.001), "{:?}", mesh.normals);
    assert!(mesh.triangles.iter().flatten().all(|&i| (i as usize) < corners));
    let file = Format::Glb.bytes(&mesh);
    let word =
        |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("a word")) as usize;
    assert_eq!((&file[..4], word(8), file.len() % 4), (&b"glTF"[..], file.len(), 0));
    let text = word(12);
    let scene: serde_json::Value = serde_json::from_slice(&file[20..20 + text]).expect("JSON");
    if !mesh.triangles.is_empty() {
        let length = 24 * corners + 12 * mesh.triangles.len();
        assert_eq!((word(20 + text), file.len()), (length, 28 + text + length));
        assert_eq!(scene["buffers"][0]["byteLength"], length);
        for bound in ["min", "max"] {
            let bound = scene["accessors"][0][bound].as_array().expect("three numbers");
            assert!(bound.len() == 3 && bound.iter().all(serde_json::Value::is_number), "{scene}");
        }
    }
    let text = Format::Obj.bytes(&mesh);
    assert!(text.is_ascii() && !text.windows(3).any(|w| w == b"NaN" || w == b"inf"));
    let ply = Format::Ply.bytes(&mesh);
    assert!(ply.len() > 24 * corners + 13 * mesh.triangles.len());
}
