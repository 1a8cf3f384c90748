//! What an app binds to the inputs and outputs of a prepared run: its buffers and textures.
//!
//! Textures are copied to and from arrays in the commands of a run, so they need the usages for copies and
//! nothing else, and kernels see lines of texels whatever the format is. All is checked here, before
//! wgpu can refuse it in the app's own encoder.

use crate::error::{Error, Result};
use crate::gpu::{Place, Transfer};
use crate::graph::passes::texels_of;
use crate::kernels::from_texels::FromTexels;
use crate::kernels::to_texels::ToTexels;
use crate::kernels::warp::Warp;
use crate::perceiver::official::optical_flow::FLOW_SCALE;
use crate::tensor::{Element, Extent};

/// How numbers of a buffer lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BufferElement {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit IEEE floats.
    F16,
}

impl BufferElement {
    const fn element(self) -> Element {
        match self {
            BufferElement::F32 => Element::F32,
            BufferElement::F16 => Element::F16,
        }
    }
}

/// Rows of channels in an app's buffer.
#[derive(Debug, Clone)]
pub struct BufferRows {
    /// The buffer: with `COPY_SRC` for inputs, `COPY_DST` for outputs.
    pub buffer: wgpu::Buffer,
    /// Its byte that the first row begins at, a multiple of four.
    pub offset: u64,
    /// Bytes from one row to the next, a multiple of four; what lies between rows is written as zero.
    pub row_stride: u32,
    /// Type of its numbers.
    pub element: BufferElement,
}

/// A rectangle of an app's texture.
#[derive(Debug, Clone)]
pub struct TextureRegion {
    /// The texture, two-dimensional and not multisampled: with `COPY_SRC` for inputs, `COPY_DST` for outputs.
    pub texture: wgpu::Texture,
    /// Mip level.
    pub mip_level: u32,
    /// Array layer.
    pub layer: u32,
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl TextureRegion {
    /// The whole of a texture's first level and layer.
    #[must_use]
    pub fn whole(texture: &wgpu::Texture) -> Self {
        let (width, height) = (texture.width(), texture.height());
        let texture = texture.clone();
        TextureRegion { texture, mip_level: 0, layer: 0, left: 0, top: 0, width, height }
    }
}

/// What a number x of a channel becomes: `x · scale + offset`. Bytes of a texture are numbers from 0 to 1; of sRGB
/// textures they are taken as they are stored, as those of picture files are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelMap {
    /// Scale of red, green, blue, alpha.
    pub scale: [f32; 4],
    /// Offset of red, green, blue, alpha.
    pub offset: [f32; 4],
}

impl PixelMap {
    /// Numbers as they are.
    pub const IDENTITY: PixelMap = PixelMap { scale: [1.0; 4], offset: [0.0; 4] };
    /// From 0 to 1 to from -1 to 1.
    pub const SIGNED: PixelMap = PixelMap { scale: [2.0; 4], offset: [-1.0; 4] };
}

/// What an input of a prepared run reads.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GpuInput {
    /// Rows as the graph reads them: see `rows` and `channels` of [`TensorInfo`](crate::TensorInfo).
    Rows(BufferRows),
    /// A picture, of one channel, three or four, a row a pixel.
    Picture(TextureRegion, PixelMap),
    /// Two pictures of one size and format, as optical flow reads them: 3×3 neighbourhoods, numbers from -1 to 1.
    Frames(TextureRegion, TextureRegion),
}

/// What an output of a prepared run is written to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GpuOutput {
    /// Rows as the graph makes them: see `rows` and `channels` of [`TensorInfo`](crate::TensorInfo).
    Rows(BufferRows),
    /// A picture, a pixel a row. Bytes get numbers from 0 to 1.
    Picture(TextureRegion, PixelMap),
    /// Optical flow in pixels to the right and down, in a texture of two floats a texel (`Rg16Float`, `Rg32Float`).
    Flow(TextureRegion),
    /// Optical flow as colours (see [`FlowField::picture`](crate::tasks::FlowField::picture)), in a texture of bytes;
    /// vectors of `longest` pixels have full colour.
    FlowColours {
        /// Where the colours go.
        region: TextureRegion,
        /// Pixels that have full colour.
        longest: f32,
    },
    /// The second of the frames that the input is bound to ([`GpuInput::Frames`], bound before), brought back by
    /// optical flow: at each point the colour of where it has gone, between four pixels. In a texture of four channels,
    /// of the frames' size and type of numbers. Points that have left the frame are zero, alpha included.
    Warped(TextureRegion),
}

/// A texture format as arrays hold its texels.
#[derive(Clone, Copy)]
struct Format {
    element: Element,
    channels: usize,
    swapped: bool,
}

impl Format {
    fn of(format: wgpu::TextureFormat) -> Option<Self> {
        use wgpu::TextureFormat as F;
        let (element, channels, swapped) = match format {
            F::R8Unorm => (Element::U8, 1, false),
            F::Rgba8Unorm | F::Rgba8UnormSrgb => (Element::U8, 4, false),
            F::Bgra8Unorm | F::Bgra8UnormSrgb => (Element::U8, 4, true),
            F::R16Float => (Element::F16, 1, false),
            F::Rg16Float => (Element::F16, 2, false),
            F::Rgba16Float => (Element::F16, 4, false),
            F::R32Float => (Element::F32, 1, false),
            F::Rg32Float => (Element::F32, 2, false),
            F::Rgba32Float => (Element::F32, 4, false),
            _ => return None,
        };
        Some(Format { element, channels, swapped })
    }

    /// Elements of a line that copies of textures take.
    fn line(self, width: u32) -> usize {
        let bytes = width as usize * self.channels * self.element.bytes();
        bytes.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as usize) / self.element.bytes()
    }
}

/// An input as a plan and a session need it.
pub(super) struct BoundInput {
    pub(super) op: FromTexels,
    /// Scales and offsets, or what each byte means, by channel.
    pub(super) map: Vec<f32>,
    pub(super) transfers: Vec<Transfer>,
}

/// An output as a plan and a session need it.
pub(super) struct BoundOutput {
    make: Box<dyn Fn(usize, Extent) -> ToTexels + Send + Sync>,
    pub(super) map: Vec<f32>,
    /// Whether colours of the wheel are needed.
    pub(super) wheel: bool,
    /// Whether the texels are those of the second frame, brought back.
    pub(super) warped: bool,
    pub(super) transfer: Transfer,
}

impl BoundInput {
    /// What a binding means for an input of so many rows and channels.
    pub(super) fn new(name: &str, rows: usize, channels: usize, input: &GpuInput) -> Result<Self> {
        let whole = FromTexels::rows_of(rows, channels);
        let (regions, map, side) = match input {
            GpuInput::Rows(rows) => {
                let (transfer, pixel, elements) = buffer(name, rows, &whole, false)?;
                let texels = rows.element.element();
                let op = FromTexels { pixel, line: elements, texels, ..whole };
                return Ok(BoundInput { op, map: Vec::new(), transfers: vec![transfer] });
            }
            GpuInput::Picture(region, map) => (vec![region], map, 1),
            GpuInput::Frames(first, second) => (vec![first, second], &PixelMap::SIGNED, 3),
        };
        let (region, planes) = (regions[0], regions.len());
        let format = region.format(name, false)?;
        let same = |other: &&TextureRegion| {
            (other.width, other.height, other.texture.format())
                == (region.width, region.height, region.texture.format())
        };
        if let Some(other) = regions.iter().find(|r| !same(r)) {
            let of =
                |r: &TextureRegion| format!("{}×{} of {:?}", r.width, r.height, r.texture.format());
            let what = format!("is {} and {}", of(region), of(other));
            return Err(Error::input(name, what, "two pictures of one size and format"));
        }
        let each = channels / (planes * side * side).max(1);
        let (width, height) = (region.width as usize, region.height as usize);
        if each * planes * side * side != channels || each == 0 || each > format.channels {
            let what = format!(
                "has rows of {channels} channels, which {planes} texture(s) of {:?} with \
                 neighbourhoods of {side}×{side} do not give",
                region.texture.format()
            );
            return Err(Error::input(name, what, "another kind of binding, or a buffer of rows"));
        }
        pixels(name, region, rows)?;
        let op = FromTexels {
            planes,
            height,
            width,
            pixel: format.channels,
            line: format.line(region.width),
            channels: each,
            swapped: format.swapped,
            side,
            mapped: true,
            texels: format.element,
            ..whole
        };
        let line = (op.line * format.element.bytes()) as u32;
        let mut transfers = Vec::new();
        for (plane, region) in (0u64..).zip(&regions) {
            let offset = plane * u64::from(line) * u64::from(region.height);
            transfers.push(region.transfer(name, line, offset, false)?);
        }
        Ok(BoundInput { op, map: input_map(map, format.element, each), transfers })
    }

    /// Bytes of the array of texels.
    pub(super) fn bytes(&self) -> u64 {
        let lines = Extent::new(self.op.planes, self.op.height, self.op.line);
        (lines.padded_len() * self.op.texels.bytes()) as u64
    }
}

impl BoundOutput {
    /// What a binding means for an output of so many rows and channels.
    pub(super) fn new(
        name: &str,
        rows: usize,
        channels: usize,
        output: &GpuOutput,
    ) -> Result<Self> {
        let (region, map, wheel) = match output {
            GpuOutput::Rows(into) => {
                let size = FromTexels::rows_of(rows, channels);
                let (transfer, stride, _) = buffer(name, into, &size, true)?;
                let texels = into.element.element();
                let make = move |_: usize, extent: Extent| {
                    let (rows, cols) = (extent.all_rows(), extent.cols);
                    ToTexels {
                        width: rows.max(1),
                        first: 0,
                        rows,
                        cols,
                        line: rows.max(1) * stride,
                        channels: stride,
                        swapped: false,
                        wheel: false,
                        texels,
                    }
                };
                let map = [vec![1.0; stride], vec![0.0; stride]].concat();
                let (make, wheel, warped) = (Box::new(make), false, false);
                return Ok(BoundOutput { make, map, wheel, warped, transfer });
            }
            GpuOutput::Picture(region, map) => (region, *map, false),
            GpuOutput::Flow(region) | GpuOutput::Warped(region) => {
                let scale = [FLOW_SCALE as f32; 4];
                (region, PixelMap { scale, offset: [0.0; 4] }, false)
            }
            GpuOutput::FlowColours { region, longest } => {
                // As `FlowField::picture` scales them.
                let scale = FLOW_SCALE / (f64::from(longest.max(0.0)) + 1e-5);
                let map = PixelMap { scale: [scale as f32; 4], offset: [0.0, 0.0, 0.0, 1.0] };
                (region, map, true)
            }
        };
        let format = region.format(name, true)?;
        let fits = match output {
            GpuOutput::FlowColours { .. } => {
                channels == 2 && format.element == Element::U8 && format.channels == 4
            }
            GpuOutput::Flow(_) => {
                channels == 2 && format.element != Element::U8 && format.channels == 2
            }
            GpuOutput::Warped(_) => channels == 2 && format.channels == 4,
            _ => matches!((channels, format.channels), (1, 1) | (3 | 4, 4) | (2, 2)),
        };
        if !fits {
            let what = format!(
                "has rows of {channels} channels, a texture of {:?} is bound",
                region.texture.format()
            );
            let expected = match output {
                GpuOutput::FlowColours { .. } => "rows of two channels, and a texture of bytes",
                GpuOutput::Flow(_) => "rows of two channels, and Rg16Float or Rg32Float",
                GpuOutput::Warped(_) => "rows of two channels, and a texture of four",
                _ => "a texture of as many channels, four for three",
            };
            return Err(Error::input(name, what, expected));
        }
        pixels(name, region, rows)?;
        let line = format.line(region.width);
        let width = region.width as usize;
        let make = move |first: usize, extent: Extent| ToTexels {
            width,
            first,
            rows: extent.all_rows(),
            cols: extent.cols,
            line,
            channels: format.channels,
            swapped: format.swapped,
            wheel,
            texels: format.element,
        };
        let mut map = map;
        // Three channels make a texel that is opaque.
        if matches!(output, GpuOutput::Picture(..)) && channels == 3 {
            map.offset[3] = 1.0;
        }
        let warped = matches!(output, GpuOutput::Warped(_));
        let map = match warped {
            true => map.scale[..2].to_vec(),
            false => [&map.scale[..format.channels], &map.offset[..format.channels]].concat(),
        };
        let bytes = (line * format.element.bytes()) as u32;
        let transfer = region.transfer(name, bytes, 0, true)?;
        Ok(BoundOutput { make: Box::new(make), map, wheel, warped, transfer })
    }

    /// The op of an array of the output whose first row is this one.
    pub(super) fn op(&self, first: usize, extent: Extent) -> ToTexels {
        (self.make)(first, extent)
    }

    /// For an output that brings back the second of two frames: the input that these are bound to, and the op of an
    /// array as [`BoundOutput::op`] gives it.
    pub(super) fn warp<'a>(
        &'a self,
        name: &str,
        inputs: &[(&'a String, BoundInput)],
    ) -> Result<(&'a str, impl Fn(usize, Extent) -> Warp + 'a)> {
        let Some((input, BoundInput { op: from, .. })) = inputs.iter().find(|i| i.1.op.planes == 2)
        else {
            let what = "is bound to the second frame brought back, and no input to frames";
            return Err(Error::input(name, what, "an input that is bound to `Frames`, before it"));
        };
        let to = self.op(0, Extent::new(1, 0, 2));
        if (to.width, to.texels) != (from.width, from.texels) {
            let of = |width: usize, element: Element| format!("{width} texels a line of {element}");
            let what = format!("is bound to {}", of(to.width, to.texels));
            let expected = format!("{}, as the frames have", of(from.width, from.texels));
            return Err(Error::input(name, what, expected));
        }
        let from = *from;
        Ok((input.as_str(), move |first: usize, extent: Extent| {
            let to = self.op(first, extent);
            Warp {
                planes: from.planes,
                plane: 1,
                height: from.height,
                width: from.width,
                pixel: from.pixel,
                line: from.line,
                swapped: from.swapped,
                first: to.first,
                rows: to.rows,
                cols: to.cols,
                into_line: to.line,
                into_swapped: to.swapped,
                texels: to.texels,
            }
        }))
    }
}

impl FromTexels {
    /// All rows of a buffer.
    fn rows_of(rows: usize, channels: usize) -> Self {
        FromTexels {
            planes: 1,
            height: 1,
            width: rows,
            pixel: channels,
            line: rows * channels,
            channels,
            swapped: false,
            side: 1,
            first: 0,
            rows,
            mapped: false,
            texels: Element::F32,
        }
    }
}

impl TextureRegion {
    /// The format, if the texture can be copied and the region lies within it.
    fn format(&self, name: &str, output: bool) -> Result<Format> {
        let TextureRegion { texture: t, mip_level, layer, left, top, width, height } = self;
        let refuse = |what: String, expected: &str| Err(Error::input(name, what, expected));
        let usage =
            if output { wgpu::TextureUsages::COPY_DST } else { wgpu::TextureUsages::COPY_SRC };
        if !t.usage().contains(usage) {
            let what = format!("is bound to a texture with the usages {:?}", t.usage());
            return refuse(
                what,
                if output { "COPY_DST among them" } else { "COPY_SRC among them" },
            );
        }
        if t.dimension() != wgpu::TextureDimension::D2 || t.sample_count() != 1 {
            let what = format!(
                "is bound to a texture {:?} of {} samples",
                t.dimension(),
                t.sample_count()
            );
            return refuse(what, "D2 of one sample");
        }
        let levels = t.mip_level_count();
        if *mip_level >= levels || *layer >= t.depth_or_array_layers() {
            let what = format!("is bound to level {mip_level} of layer {layer}");
            let there = format!("one of {levels} levels of {} layers", t.depth_or_array_layers());
            return refuse(what, &there);
        }
        let sides = [t.width(), t.height()].map(|side| (side >> mip_level).max(1));
        let ends = [(*left, *width), (*top, *height)].map(|(a, b)| a.checked_add(b));
        let within = ends.iter().zip(sides).all(|(end, side)| end.is_some_and(|e| e <= side));
        if !within || *width == 0 || *height == 0 {
            let what = format!("is bound to {width}×{height} texels at ({left}, {top})");
            return refuse(what, &format!("some within {}×{}", sides[0], sides[1]));
        }
        let known = "R8Unorm, Rgba8Unorm, Bgra8Unorm (sRGB or not), or R, Rg or Rgba of 16- or 32-bit floats";
        match Format::of(t.format()) {
            Some(format) => Ok(format),
            None => refuse(format!("is bound to a texture of {:?}", t.format()), known),
        }
    }

    fn transfer(&self, name: &str, line: u32, offset: u64, output: bool) -> Result<Transfer> {
        self.format(name, output)?;
        let origin = wgpu::Origin3d { x: self.left, y: self.top, z: self.layer };
        let place = Place::Texture(self.texture.clone(), origin, self.mip_level);
        let size = [self.width, self.height];
        Ok(Transfer { name: texels_of(name), place, size, line, offset })
    }
}

/// An error unless a region has as many pixels as there are rows.
fn pixels(name: &str, region: &TextureRegion, rows: usize) -> Result<()> {
    if u64::from(region.width) * u64::from(region.height) == rows as u64 {
        return Ok(());
    }
    let what = format!("is bound to {}×{} texels", region.width, region.height);
    Err(Error::input(name, what, format!("{rows}, one for each row")))
}

/// The copy of a buffer's rows, the elements from one to the next, and those of all.
fn buffer(
    name: &str,
    rows: &BufferRows,
    size: &FromTexels,
    output: bool,
) -> Result<(Transfer, usize, usize)> {
    let BufferRows { buffer, offset, row_stride, element } = rows;
    let bytes = element.element().bytes();
    let stride = *row_stride as usize / bytes;
    let refuse = |what: String, expected: String| Err(Error::input(name, what, expected));
    let usage = if output { wgpu::BufferUsages::COPY_DST } else { wgpu::BufferUsages::COPY_SRC };
    if !buffer.usage().contains(usage) {
        let what = format!("is bound to a buffer with the usages {:?}", buffer.usage());
        return refuse(what, format!("{usage:?} among them"));
    }
    if !row_stride.is_multiple_of(4) || stride < size.channels {
        let what = format!("is bound to rows of {row_stride} bytes");
        let least = (size.channels * bytes).next_multiple_of(4);
        return refuse(what, format!("a multiple of four, at least {least}"));
    }
    let whole = u64::from(*row_stride) * size.rows as u64;
    let end = offset.checked_add(whole);
    if !offset.is_multiple_of(4) || end.is_none_or(|end| end > buffer.size()) {
        let what = format!("is bound to byte {offset} of a buffer of {} bytes", buffer.size());
        return refuse(what, format!("{whole} bytes from a multiple of four on"));
    }
    let (Ok(lines), Ok(elements)) = (u32::try_from(size.rows), u32::try_from(size.rows * stride))
    else {
        return refuse(format!("has {} rows", size.rows), "fewer than 2³² elements".to_owned());
    };
    let place = Place::Buffer(buffer.clone(), *offset);
    let size = [*row_stride, lines];
    let name = texels_of(name);
    Ok((Transfer { name, place, size, line: 0, offset: 0 }, stride, elements as usize))
}

/// Scales and offsets of channels; of bytes, what each means, in f64 and rounded once, as on the host.
fn input_map(map: &PixelMap, element: Element, channels: usize) -> Vec<f32> {
    let values = |c: usize| (f64::from(map.scale[c]), f64::from(map.offset[c]));
    if element != Element::U8 {
        return [&map.scale[..channels], &map.offset[..channels]].concat();
    }
    let meaning = |c: usize| {
        let (scale, offset) = values(c);
        (0..256).map(move |byte| (f64::from(byte) / 255.0 * scale + offset) as f32)
    };
    (0..channels).flat_map(meaning).collect()
}
