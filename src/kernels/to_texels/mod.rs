//! `to_texels`: lines of texels, or rows of an app's buffer, from rows of a model's output.
//!
//! A row is a pixel. Its channels are scaled and stored as bytes, f16 or f32, or two of them, a vector, become a
//! colour of the wheel of optical flow (`crate::tasks::FlowField::picture`). Lines are those that the pixels
//! lie on, each filled up to the length that copies into textures ask for; what other pixels lie there is
//! written as zero.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::from_texels::typed;
use crate::kernels::vocabulary::*;
use crate::kernels::{DeviceTraits, Mode};

/// Steps of the six parts of the wheel: red to yellow, to green, to cyan, to blue, to magenta, to red.
const STEPS: [usize; 6] = [15, 6, 4, 11, 13, 6];
/// Colours of the wheel of optical flow.
pub(crate) const HUES: usize = 55;
/// Vectors beyond this are unknown, which is Middlebury's sign for them.
const UNKNOWN: f32 = 1e9;

/// Arguments of `to_texels`.
///
/// Inputs: X `[rows, cols]`, scales and offsets `[2, channels]`, and if `wheel` the colours `[55, 3]`. Output
/// `[1, lines, line]`, where pixel `first` is on the first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ToTexels {
    /// Pixels of a line.
    pub width: usize,
    /// First pixel, counted line by line.
    pub first: usize,
    /// Pixels.
    pub rows: usize,
    /// Columns of X; channels beyond them are what their offset says.
    pub cols: usize,
    /// Elements of a line.
    pub line: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Whether blue comes before green and red.
    pub swapped: bool,
    /// Whether vectors become colours.
    pub wheel: bool,
    /// Type of the texels.
    pub texels: Element,
}

/// The wheel's 55 colours.
pub(crate) fn wheel() -> [[u8; 3]; HUES] {
    let mut colours = [[0; 3]; HUES];
    let mut slots = colours.iter_mut();
    for (part, &steps) in STEPS.iter().enumerate() {
        // Even parts raise one colour, odd parts lower the one that was full before it.
        let full = part.div_ceil(2) % 3;
        let moving = [1, 0, 2, 1, 0, 2][part];
        for (step, colour) in slots.by_ref().take(steps).enumerate() {
            let change = (255 * step / steps) as u8;
            colour[full] = 255;
            colour[moving] = if part % 2 == 0 { change } else { 255 - change };
        }
    }
    colours
}

impl ToTexels {
    /// Lines that the pixels lie on.
    pub const fn lines(&self) -> usize {
        lines(self.width, self.first, self.rows)
    }

    /// The line of the first pixel.
    pub const fn top(&self) -> usize {
        top(self.width, self.first)
    }
}

/// Lines of this width that so many pixels lie on, from the first one on.
pub(in crate::kernels) const fn lines(width: usize, first: usize, pixels: usize) -> usize {
    if pixels == 0 || width == 0 { 0 } else { (first + pixels - 1) / width - top(width, first) + 1 }
}

/// The line that a pixel lies on.
pub(in crate::kernels) const fn top(width: usize, pixel: usize) -> usize {
    match pixel.checked_div(width) {
        Some(line) => line,
        None => 0,
    }
}

/// What a variant makes of rows, for each type of texels.
const WHEEL: Mode = Mode { name: "wheel", constants: &[("TYPE", 2), ("WHEEL", 1)] };

impl Kernel for ToTexels {
    const NAME: &'static str = "to_texels";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("to_texels/plain")];

    fn signature(&self) -> Signature {
        let lines = Extent::new(1, self.lines(), self.line);
        let map = Extent::new(1, 2, self.channels);
        let wheel = Extent::new(1, HUES, 3);
        Signature {
            operands: vec![
                Operand::wide("x", Extent::new(1, self.rows, self.cols), Fill::Numbers),
                Operand::wide("map", map, Fill::Scales),
                Operand::wide("wheel", wheel, Fill::Scales).when(self.wheel),
            ],
            results: vec![Operand::result("texels", Role::Texels, lines)],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Texels).then_some(&mut self.texels)
    }

    fn cost(&self) -> Cost {
        let texels = self.lines() * self.line * self.texels.bytes();
        Cost::moving(4 * self.rows * self.cols + texels)
    }

    fn defect(&self) -> Option<&'static str> {
        match () {
            () if self.width == 0 || self.channels == 0 => Some("lines have no pixels"),
            () if self.width * self.channels > self.line => Some("a line ends before its pixels"),
            () if self.wheel && (self.cols < 2 || self.texels != Element::U8) => {
                Some("colours are bytes, of vectors of two")
            }
            () => None,
        }
    }

    fn describe(&self) -> Vec<String> {
        let ToTexels { width, first, rows, cols, channels, .. } = self;
        vec![
            format!("{rows}+{first}/{width}×{cols}→{channels}"),
            format!("{}", self.texels),
            when(self.swapped, "swapped"),
            when(self.wheel, "wheel"),
        ]
    }

    /// One invocation per four elements.
    fn variants() -> Vec<Variant> {
        let plain = Variant::plain("to_texels", "to_texels/plain", "elements");
        [typed(plain), vec![plain.with(WHEEL)]].concat()
    }

    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        let which = if self.wheel { 3 } else { self.texels as usize };
        vec![Self::variants()[which]]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.lines() * vectors(args.line);
        elementwise(total, move |row_invocations| {
            vec![
                word(args.width),
                word(args.first),
                word(args.rows),
                word(args.cols),
                word(vectors(args.cols)),
                word(vectors(args.line).max(1)),
                word(args.channels),
                word(4 * vectors(args.channels)),
                u32::from(args.swapped),
                word(total),
                row_invocations,
            ]
        })
    }
}
