//! `from_texels`: rows of a model's input from an app's pictures, or from its own rows.
//!
//! Pictures come as lines of bytes, f16 or f32, as copies of textures have them. A row is a pixel: the
//! channels of its neighbourhood (one pixel, or 3×3 as optical flow reads them) in each of some pictures, side
//! by side; what lies outside a picture is zero. Bytes go through a table, so that results have the
//! same bits as those of the host, which makes the table.

pub(super) mod cases;
pub(super) mod cpu;

use crate::kernels::vocabulary::*;
use crate::kernels::{DeviceTraits, Mode};

/// Arguments of `from_texels`.
///
/// Inputs: texels `[planes, height, line]`; if `mapped`, for bytes a table `[channels, 256]`, else scales and
/// offsets `[2, channels]`. Output `[rows, planes · side² · channels]`: pixels `first` to `first + rows`,
/// counted line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FromTexels {
    /// Pictures.
    pub planes: usize,
    /// Lines of a picture.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
    /// Elements from one pixel of a line to the next.
    pub pixel: usize,
    /// Elements of a line.
    pub line: usize,
    /// Channels that are read of a pixel.
    pub channels: usize,
    /// Whether blue comes before green and red.
    pub swapped: bool,
    /// Side of the neighbourhood: 1 or 3.
    pub side: usize,
    /// First pixel.
    pub first: usize,
    /// Pixels.
    pub rows: usize,
    /// Whether there is a table, or scales and offsets.
    pub mapped: bool,
    /// Type of the texels.
    pub texels: Element,
}

impl FromTexels {
    /// Columns of the output.
    pub const fn cols(&self) -> usize {
        self.planes * self.side * self.side * self.channels
    }

    /// Where a channel lies in a pixel.
    pub(super) const fn place(&self, channel: usize) -> usize {
        if self.swapped && channel < 3 { 2 - channel } else { channel }
    }

    /// The extent of the table, or of scales and offsets.
    pub(crate) fn map_extent(&self) -> Extent {
        match self.texels {
            Element::U8 => Extent::new(1, self.channels, 256),
            Element::F16 | Element::F32 => Extent::new(1, 2, self.channels),
        }
    }
}

/// The mode of each type of texels, in the order of [`Element`].
const MODES: [Mode; 3] = [
    Mode { name: "f32", constants: &[("TYPE", 0)] },
    Mode { name: "f16", constants: &[("TYPE", 1)] },
    Mode { name: "u8", constants: &[("TYPE", 2)] },
];

/// The plain variant of a kernel for each type of texels.
pub(in crate::kernels) fn typed(plain: Variant) -> Vec<Variant> {
    MODES.iter().map(|mode| plain.with(*mode)).collect()
}

impl Kernel for FromTexels {
    const NAME: &'static str = "from_texels";
    const SHADERS: &'static [(&'static str, &'static str)] = &[shader_text!("from_texels/plain")];

    fn signature(&self) -> Signature {
        let texels = match self.texels {
            Element::U8 => Fill::Ids(256),
            Element::F16 | Element::F32 => Fill::Numbers,
        };
        let lines = Extent::new(self.planes, self.height, self.line);
        Signature {
            operands: vec![
                Operand::new("texels", Role::Texels, lines, texels),
                Operand::wide("map", self.map_extent(), Fill::Numbers).when(self.mapped),
            ],
            results: vec![Operand::result("y", Role::Wide, Extent::new(1, self.rows, self.cols()))],
        }
    }

    fn element_mut(&mut self, role: Role) -> Option<&mut Element> {
        (role == Role::Texels).then_some(&mut self.texels)
    }

    fn cost(&self) -> Cost {
        Cost::moving(4 * self.rows * self.cols() + self.rows * self.planes * self.pixel)
    }

    fn defect(&self) -> Option<&'static str> {
        let last = (self.width.max(1) - 1) * self.pixel + self.channels;
        let place = if self.swapped { 3 } else { 0 };
        match () {
            () if !matches!(self.side, 1 | 3) => Some("a neighbourhood has a side of one or three"),
            () if last > self.line || place > self.pixel => Some("a line ends before its pixels"),
            () if self.first + self.rows > self.width * self.height => {
                Some("there are more rows than pixels")
            }
            () if self.texels == Element::U8 && !self.mapped => Some("bytes have no table"),
            () => None,
        }
    }

    fn describe(&self) -> Vec<String> {
        let FromTexels { planes, height, width, channels, side, first, rows, .. } = self;
        vec![
            format!("{planes}×{height}×{width}×{channels}/{side}"),
            format!("{}", self.texels),
            when(self.swapped, "swapped"),
            when(self.mapped, "mapped"),
            when(*rows < height * width, format!("rows {first}+{rows}")),
        ]
    }

    /// One invocation per vector of four results.
    fn variants() -> Vec<Variant> {
        typed(Variant::plain("from_texels", "from_texels/plain", "vectors"))
    }

    fn candidates(&self, _: &DeviceTraits) -> Vec<Variant> {
        vec![Self::variants()[self.texels as usize]]
    }

    fn geometry(&self, _: &Variant) -> Geometry {
        let args = *self;
        let total = args.rows * vectors(args.cols());
        elementwise(total, move |row_invocations| {
            vec![
                word(args.height),
                word(args.width.max(1)),
                word(args.pixel),
                word(args.line.next_multiple_of(4)),
                word(args.channels.max(1)),
                u32::from(args.swapped),
                word(args.side),
                word(args.first),
                word(args.cols()),
                word(args.map_extent().stride()),
                u32::from(args.mapped),
                word(vectors(args.cols()).max(1)),
                word(total),
                row_invocations,
            ]
        })
    }
}
