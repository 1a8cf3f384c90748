//! Uncompressed video: YUV4MPEG2 streams of 8 bits a sample, read frame by frame.
//!
//! A stream is a header line, then a line that begins with `FRAME` and the planes of each frame.
//! Invariants: sizes are checked before anything is allocated, and a frame takes no more memory than
//! the stream really has for it; an error names the frame. Colours are those of ITU-R BT.601, in
//! the limited range unless `XCOLORRANGE=FULL` says otherwise. Frames of interlaced streams are
//! taken as they are.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::frame::Frame;
use super::ycbcr::{self, Chroma, Range};
use crate::error::{Error, Result};
use crate::{memory, open};

/// What every stream begins with.
pub const MAGIC: &[u8] = b"YUV4MPEG2";
/// The longest side, in pixels.
pub const MAX_SIDE: usize = 16384;
/// The longest line.
const MAX_LINE: u64 = 1024;
/// What a line of every frame begins with.
const FRAME: &[u8] = b"FRAME";

const LAYOUTS: [(&str, Chroma); 7] = [
    ("420", Chroma::C420Jpeg),
    ("420jpeg", Chroma::C420Jpeg),
    ("420mpeg2", Chroma::C420Mpeg2),
    ("420paldv", Chroma::C420Paldv),
    ("422", Chroma::C422),
    ("444", Chroma::C444),
    ("mono", Chroma::Mono),
];

/// What a stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Frames a second, as a fraction; `None` when the stream does not say.
    pub rate: Option<(u32, u32)>,
    /// Where samples of colour lie.
    pub chroma: Chroma,
    /// Which bytes are black and white.
    pub range: Range,
}

impl Header {
    /// Reads a line without its end, or says what is wrong.
    fn parse(line: &[u8]) -> std::result::Result<Header, String> {
        let line = std::str::from_utf8(line).map_err(|_| "the header is no text".to_owned())?;
        let mut words = line.split(' ').filter(|w| !w.is_empty());
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err("it does not begin as a YUV4MPEG2 stream does".to_owned());
        }
        let (chroma, range) = (Chroma::C420Jpeg, Range::Limited);
        let mut header = Header { width: 0, height: 0, rate: None, chroma, range };
        for word in words {
            let wrong = || format!("the header has `{word}`");
            let mut letters = word.chars();
            let letter = letters.next();
            let value = letters.as_str();
            match letter {
                Some('W') => header.width = value.parse().map_err(|_| wrong())?,
                Some('H') => header.height = value.parse().map_err(|_| wrong())?,
                Some('F') => {
                    let (count, seconds) = value.split_once(':').ok_or_else(wrong)?;
                    let count = count.parse().map_err(|_| wrong())?;
                    let seconds = seconds.parse().map_err(|_| wrong())?;
                    header.rate = (count > 0 && seconds > 0).then_some((count, seconds));
                }
                Some('C') => {
                    let found = LAYOUTS.iter().find(|(name, _)| *name == value);
                    header.chroma = found.map(|(_, chroma)| *chroma).ok_or_else(|| {
                        let names = LAYOUTS.map(|(name, _)| format!("C{name}")).join(", ");
                        format!("its samples are laid out as `{word}`, of which {names} are read")
                    })?;
                }
                Some('X') => match value {
                    "COLORRANGE=FULL" => header.range = Range::Full,
                    "COLORRANGE=LIMITED" => header.range = Range::Limited,
                    other if other.starts_with("COLORRANGE") => return Err(wrong()),
                    _ => {}
                },
                // Interlacing and the shape of pixels.
                Some('I' | 'A') => {}
                _ => return Err(wrong()),
            }
        }
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&header.width) || !sides.contains(&header.height) {
            return Err(format!(
                "its frames have {}×{} pixels, where sides of 1 to {MAX_SIDE} are read",
                header.width, header.height
            ));
        }
        Ok(header)
    }
}

/// An error about a stream that is called `name`.
fn media(name: &Path, what: impl Into<String>) -> Error {
    let hint = "a whole YUV4MPEG2 (.y4m) stream with 8-bit samples is expected, as \
                `ffmpeg -i INPUT -pix_fmt yuv420p -f yuv4mpegpipe OUTPUT.y4m` writes it";
    Error::media(name, what, hint)
}

/// A line without its end; `None` at the end of the stream.
fn line(input: &mut impl BufRead, name: &Path, of: impl Fn() -> String) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| Error::io("read", name, e))?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        None => Ok(None),
        Some(_) if line.len() as u64 + 1 == MAX_LINE => {
            Err(media(name, format!("{} has no end within {MAX_LINE} bytes", of())))
        }
        Some(_) => Err(media(name, format!("{} ends too early", of()))),
    }
}

/// The header of a stream.
fn header(input: &mut impl BufRead, name: &Path) -> Result<Header> {
    let line =
        line(input, name, || "the header".to_owned())?.ok_or_else(|| media(name, "it is empty"))?;
    Header::parse(&line).map_err(|what| media(name, what))
}

/// Reads a stream, as an iterator of frames. After an error there are no more.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    name: PathBuf,
    header: Header,
    /// Frames read so far.
    frames: usize,
    ended: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file. With it comes how many frames it has, if its length tells.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Option<usize>)> {
        let path = path.as_ref();
        let io = |e| Error::io("read", path, e);
        let file = open::regular(path)?;
        let length = file.metadata().map_err(io)?.len();
        let mut input = BufReader::new(file);
        let header = header(&mut input, path)?;
        let start = std::io::Seek::stream_position(&mut input).map_err(io)?;
        // Lines of frames may be longer, in which case the length does not tell.
        let each = (header.chroma.bytes(header.width, header.height) + FRAME.len() + 1) as u64;
        let rest = length.saturating_sub(start);
        let frames = (rest % each == 0).then_some(rest / each);
        let reader = Reader { input, name: path.to_path_buf(), header, frames: 0, ended: false };
        Ok((reader, frames.and_then(|n| usize::try_from(n).ok())))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header of a stream; `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Io`] when the stream cannot be read, [`Error::Media`] when its header is none, or
    /// asks for what is not read.
    pub fn new(mut input: R, name: impl AsRef<Path>) -> Result<Self> {
        let name = name.as_ref();
        let header = header(&mut input, name)?;
        Ok(Reader { input, name: name.to_path_buf(), header, frames: 0, ended: false })
    }

    /// What the stream says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn read(&mut self) -> Result<Option<Frame>> {
        let frame = self.frames;
        let wrong = |what: String| media(&self.name, what);
        let of = || format!("the line of frame {frame}");
        let Some(line) = line(&mut self.input, &self.name, of)? else {
            return Ok(None);
        };
        let rest = line.strip_prefix(FRAME);
        if !rest.is_some_and(|rest| matches!(rest, [] | [b' ', ..])) {
            return Err(wrong(format!("frame {frame} does not begin with FRAME")));
        }
        let Header { width, height, chroma, range, .. } = self.header;
        let bytes = chroma.bytes(width, height);
        let all = (bytes + 3 * width * height) as u64;
        memory::allow(format_args!("a frame of {}", self.name.display()), all)?;
        let mut planes = Vec::new();
        let read = (&mut self.input).take(bytes as u64).read_to_end(&mut planes);
        read.map_err(|e| Error::io("read", &self.name, e))?;
        if planes.len() != bytes {
            let what = format!("frame {frame} ends after {} of {bytes} bytes", planes.len());
            return Err(wrong(what));
        }
        self.frames += 1;
        ycbcr::to_rgb(&planes, width, height, chroma, range).map(Some)
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let frame = self.read().transpose();
        self.ended = !matches!(frame, Some(Ok(_)));
        frame
    }
}
