//! `perceiver shape`: a mesh from the latents of a shape, or from points of its surface.

mod mesh;
mod picture;
mod write;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use perceiver::checkpoint::read_tensors;
use perceiver::internals::output::{check_place, write_bytes};
use perceiver::stream::Latents;
use perceiver::tasks::{Grid, ShapeDecoder};
use perceiver::{Error, RunOptions};
use serde_json::json;

use self::mesh::Mesher;
use self::write::Format;
use crate::models::{DeviceOption, load};
use crate::{Outcome, show};

/// Makes a mesh of a shape's latents, or of points of its surface.
#[derive(Args)]
pub(crate) struct Options {
    /// A file with the tensor `last_latents` (`perceiver latents encode` writes it), or with what the model encodes: for
    /// shape-tiny `pc` and `sampled_pc`, points of a surface and some of them
    input: PathBuf,
    /// Checkpoint folder or file, or a model's name
    #[arg(long, default_value = "shape-tiny")]
    model: PathBuf,
    /// Where the mesh goes: .glb, .obj or .ply
    #[arg(short, long)]
    out: PathBuf,
    /// Also a picture of it (.png)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Cells of the grid along a side
    #[arg(long, default_value_t = 256)]
    cells: usize,
    /// Cells along a side of the blocks that are looked at first: only blocks near the surface are read point by point; 1
    /// reads every point
    #[arg(long, default_value_t = 8)]
    block: usize,
    /// The cube of space, as FROM,TO
    #[arg(long, value_delimiter = ',', num_args = 2, default_values = ["-1", "1"], allow_hyphen_values = true)]
    bounds: Vec<f32>,
    /// Inside is where the model's numbers are negative, as signed distances are
    #[arg(long)]
    negative_inside: bool,
    #[command(flatten)]
    device: DeviceOption,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let bad = |name: &str, what: String, expected: &str| {
        Err(Error::Input { name: name.to_owned(), what, expected: expected.to_owned() })
    };
    let Some(format) = Format::of(&options.out) else {
        let what = format!("is {}", options.out.display());
        return bad("--out", what, "a name that ends in .glb, .obj or .ply");
    };
    check_place(&options.out)?;
    if let Some(picture) = &options.picture {
        if picture.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
            return bad(
                "--picture",
                format!("is {}", picture.display()),
                "a name that ends in .png",
            );
        }
        check_place(picture)?;
    }
    let &[from, to] = options.bounds.as_slice() else {
        return bad("--bounds", format!("are {:?}", options.bounds), "two numbers");
    };
    let engine = options.device.engine()?;
    let model = load(&engine, &options.device, &options.model)?;
    let start = Instant::now();
    let tensors = read_tensors(&options.input)?;
    let latents = if tensors.contains_key("last_latents") {
        Latents::from_tensors(&tensors)?
    } else {
        let bar = show::Bar::new("encoding");
        let how = RunOptions::default();
        let (_, mut found) = model.encode(&tensors, how, &mut bar.progress())?;
        match found.len() {
            1 => found.remove(0),
            n => return bad("input", format!("holds {n} shapes"), "one"),
        }
    };
    let grid = Grid { cells: options.cells, bounds: [from, to], block: options.block };
    let mut shape = ShapeDecoder::new(&model, &latents)?;
    let mut mesher = Mesher::new(grid.points(), grid.bounds);
    let sign = if options.negative_inside { -1.0 } else { 1.0 };
    let bar = show::Bar::new("reading the grid");
    let mut layer = |z: usize, values: &[f32]| {
        let values: Vec<f32> = values.iter().map(|v| sign * v).collect();
        mesher.push(z, &values);
        Ok(())
    };
    shape.grid(&grid, &mut layer, &mut bar.progress())?;
    drop(bar);
    let mesh = mesher.finish();
    write_bytes(&options.out, &format.bytes(&mesh))?;
    if let Some(path) = &options.picture {
        let mut png = std::io::Cursor::new(Vec::new());
        let written = picture::draw(&mesh, grid.bounds).write_to(&mut png, image::ImageFormat::Png);
        if let Err(error) = written {
            return bad(
                "--picture",
                format!("cannot be encoded: {error}"),
                "a place for a picture",
            );
        }
        write_bytes(path, png.get_ref())?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let [corners, triangles] = [mesh.positions.len(), mesh.triangles.len()];
    if options.json {
        show::json(&json!({
            "file": show::path(&options.out),
            "picture": options.picture,
            "vertices": corners,
            "triangles": triangles,
            "volume": mesh.volume(),
            "open_edges": mesh.open_edges(),
            "seconds": seconds,
            "device": engine.device_name(),
        }))?;
        return Ok(true);
    }
    show::text(&format!(
        "{triangles} triangles, {corners} vertices, volume {:.4}, in {seconds:.1} s on {} -> {}",
        mesh.volume(),
        engine.device_name(),
        options.out.display()
    ))?;
    Ok(true)
}
