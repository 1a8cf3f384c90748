//! `warp`: a picture of an app brought back by an optical flow.
//!
//! A row is a vector, that of a pixel: the result has at this pixel what the picture has where the vector leads,
//! between four pixels. The picture comes, and the result goes, as lines of texels of one type, as copies of
//! textures have them ([`from_texels`](super::from_texels), [`to_texels`](super::to_texels)). Pixels whose
//! point has left the picture, or whose vector is no number, are zero in all four channels; the others are opaque.
//!
//! Places are counted in whole steps, and bytes mixed in whole numbers, so that results have the same bits on every
//! device and on the host ([`FlowField::warp`](crate::tasks::FlowField::warp)).

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::DeviceTraits;
use crate::kernels::from_texels::typed;
use crate::kernels::to_texels::{lines, top};
use crate::kernels::vocabulary::*;

/// Steps of a place to a pixel. Bytes that are mixed along both sides are whole numbers of 8 + 2 · 12 bits.
pub(crate) const STEPS: u32 = 4096;
/// Steps beyond the border that count as rounding, about a thousandth of a pixel.
pub(crate) const HAIR: u32 = 4;
/// The longest side of a picture, so that places are whole numbers of 32 bits; longer vectors leave any.
pub(crate) const FARTHEST: usize = 1 << 17;
/// Channels of the result.
pub(crate) const CHANNELS: usize = 4;

/// Arguments of `warp`.
///
/// Inputs: X `[rows, cols]`, vectors to the right and down; scales `[1, 2]` that turn them into pixels; pictures
/// `[planes, height, line]`. Output `[1, lines, into_line]`, where pixel `first` is on the first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Warp {
    /// Pictures.
    pub planes: usize,
    /// The one that is brought back.
    pub plane: usize,
    /// Lines of a picture.
    pub height: usize,
    /// Pixels of a line, of the result too.
    pub width: usize,
    /// Elements from one pixel of a picture to the next; the first three are colours.
    pub pixel: usize,
    /// Elements of a line of a picture.
    pub line: usize,
    /// Whether blue comes before green and red in pictures.
    pub swapped: bool,
    /// First pixel, counted line by line.
    pub first: usize,
    /// Pixels.
    pub rows: usize,
    /// Columns of X.
    pub cols: usize,
    /// Elements of a line of the result.
    pub into_line: usize,
    /// Whether blue comes before green and red in the result.
    pub into_swapped: bool,
    /// Type of the texels.
    pub texels: Element,
}

impl Warp {
    /// Lines that the pixels lie on.
    pub const fn lines(&self) -> usize {
        lines(self.width, self.first, self.rows)
    }

    /// The line of the first pixel.
    const fn top(&self) -> usize {
        top(self.width, self.first)
    }
}

impl Kernel for Warp {
    const NAME: &'static str = "warp";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("warp/plain")];

    fn signature(&self) -> Signature {
        let texels = match self.texels {
            Element::U8 => Fill::Ids(256),
            Element::F16 | Element::F32 => Fill::Numbers,
        };
        let frames = Extent::new(self.planes, self.height, self.line);
        let lines = Extent::new(1, self.lines(), self.into_line);
        Signature {
            operands: vec![
                Operand::wide("x", Extent::new(1, self.rows, self.cols), Fill::Numbers),
                Operand::wide("scale", Extent::new(1, 1, 2), Fill::Scales),
                Operand::new("frame", Role::Texels, frames, texels),
            ],
            results: vec![Operand::result("texels", Role::Texels, lines)],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Texels).then_some(&mut self.texels)
    }

    fn cost(&self) -> Cost {
        let texels = self.rows * self.pixel + self.lines() * self.into_line;
        Cost::moving(4 * self.rows * self.cols + texels * self.texels.bytes())
    }

    fn terms(&self) -> usize {
        4
    }

    fn defect(&self) -> Option<&'static str> {
        let sides = 1..=FARTHEST;
        match () {
            () if !sides.contains(&self.width) || !sides.contains(&self.height) => {
                Some("a picture has no pixels, or more in a line than places count")
            }
            () if self.pixel < 3 || (self.width - 1) * self.pixel + 3 > self.line => {
                Some("a line ends before its pixels")
            }
            () if self.width * CHANNELS > self.into_line => Some("a line ends before its pixels"),
            () if self.plane >= self.planes => Some("there is no such picture"),
            () if self.cols < 2 => Some("vectors have two numbers"),
            () if self.first + self.rows > self.width * self.height => {
                Some("there are more rows than pixels")
            }
            () => None,
        }
    }

    fn describe(&self) -> Vec<String> {
        let Warp { planes, plane, height, width, pixel, first, rows, cols, .. } = self;
        vec![
            format!("{plane}/{planes}×{height}×{width}×{pixel}"),
            format!("{rows}+{first}×{cols}"),
            format!("{}", self.texels),
            when(self.swapped, "swapped"),
            when(self.into_swapped, "into swapped"),
        ]
    }

    /// One invocation per pixel.
    fn variants() -> Vec<Variant> {
        typed(Variant::plain("warp", "warp/plain", "pixels"))
    }

    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        vec![Self::variants()[self.texels as usize]]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.lines() * vectors(args.into_line);
        elementwise(total, move |row_invocations| {
            vec![
                word(args.width),
                word(args.height),
                word(args.first),
                word(args.rows),
                word(vectors(args.cols)),
                word(vectors(args.into_line).max(1)),
                u32::from(args.into_swapped),
                word(args.plane * args.height),
                word(args.pixel),
                word(args.line.next_multiple_of(4)),
                u32::from(args.swapped),
                word(total),
                row_invocations,
            ]
        })
    }
}
