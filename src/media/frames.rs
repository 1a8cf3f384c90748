//! One way to open a sequence of frames: a folder of pictures, a YUV4MPEG2 stream, or a GIF.
//!
//! The content tells what a file is, not its name. Pictures of a folder come in the natural order of
//! their names (`frame2` before `frame10`). Invariants: all frames have the size of the first; after
//! an error there are no more frames.

use std::cmp::Ordering;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frame::Frame;
use super::{gif, picture, y4m};
use crate::error::{Error, Result};
use crate::open;

/// Endings of pictures in a folder.
const PICTURES: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// A frame with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFrame {
    /// What errors call it: a file's name, or `frame 3`.
    pub name: String,
    /// The picture.
    pub frame: Frame,
    /// How long it is shown; `None` for pictures of a folder, and streams that do not say.
    pub time: Option<Duration>,
}

/// A sequence of frames, read one by one.
pub struct Frames {
    frames: Box<dyn Iterator<Item = Result<NamedFrame>>>,
    length: Option<usize>,
    rate: Option<(u32, u32)>,
}

impl Frames {
    /// Opens a folder of PNG, JPEG or WebP pictures, a YUV4MPEG2 stream (`-` is standard input), or
    /// a GIF.
    ///
    /// # Errors
    /// [`Error::Io`] when there is nothing to read, [`Error::Media`] when it is something else or its
    /// beginning is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path == Path::new("-") {
            let name = "standard input";
            return Ok(Self::stream(y4m::Reader::new(std::io::stdin().lock(), name)?, None));
        }
        if path.is_dir() {
            return Ok(Self::files(named_pictures(path, &PICTURES)?));
        }
        let io = |e| Error::io("read", path, e);
        let mut start = Vec::new();
        let file = open::regular(path)?;
        file.take(y4m::MAGIC.len() as u64).read_to_end(&mut start).map_err(io)?;
        if start == y4m::MAGIC {
            let (reader, length) = y4m::Reader::open(path)?;
            return Ok(Self::stream(reader, length));
        }
        if start.starts_with(b"GIF8") {
            let frames = gif::Reader::open(path)?.enumerate().map(|(index, found)| {
                let (frame, time) = found?;
                Ok(NamedFrame { name: format!("frame {index}"), frame, time: Some(time) })
            });
            return Ok(Self::new(frames, None, None));
        }
        let hint = "give a folder of PNG, JPEG or WebP pictures, a YUV4MPEG2 (.y4m) file, or a GIF";
        Err(Error::media(path, "this is no sequence of frames", hint))
    }

    fn new(
        frames: impl Iterator<Item = Result<NamedFrame>> + 'static,
        length: Option<usize>,
        rate: Option<(u32, u32)>,
    ) -> Self {
        let mut size = None;
        let checked = frames.map(move |found| of_one_size(found?, &mut size));
        Frames { frames: Box::new(UntilError(Some(checked))), length, rate }
    }

    fn stream<R: std::io::BufRead + 'static>(
        reader: y4m::Reader<R>,
        length: Option<usize>,
    ) -> Self {
        let rate = reader.header().rate;
        let time = rate.map(|(count, seconds)| {
            Duration::from_secs_f64(f64::from(seconds) / f64::from(count.max(1)))
        });
        let frames = reader.enumerate().map(move |(index, frame)| {
            Ok(NamedFrame { name: format!("frame {index}"), frame: frame?, time })
        });
        Self::new(frames, length, rate)
    }

    /// Some pictures, in the order in which they are given.
    #[must_use]
    pub fn pictures(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let named = paths.into_iter().map(|path| (path.display().to_string(), path));
        Self::files(named.collect())
    }

    fn files(pictures: Vec<(String, PathBuf)>) -> Self {
        let length = pictures.len();
        let read = |(name, path)| Ok(NamedFrame { name, frame: picture::read(path)?, time: None });
        let frames = pictures.into_iter().map(read);
        Self::new(frames, Some(length), None)
    }

    /// Each frame with the next one.
    #[must_use]
    pub fn pairs(self) -> Pairs {
        Pairs {
            length: self.length.map(|n| n.saturating_sub(1)),
            rate: self.rate,
            frames: self,
            last: None,
            pairs: 0,
            ended: false,
        }
    }

    /// How many frames there are in all, where that is known before they are read.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    /// Frames a second as a fraction, where the sequence has one rate and says so.
    #[must_use]
    pub fn rate(&self) -> Option<(u32, u32)> {
        self.rate
    }
}

/// An error when the frame has another size than the first one.
fn of_one_size(found: NamedFrame, first: &mut Option<(usize, usize)>) -> Result<NamedFrame> {
    let size = found.frame.size();
    let wanted = *first.get_or_insert(size);
    if size == wanted {
        return Ok(found);
    }
    let expected = format!("{}×{}, as the first frame has", wanted.0, wanted.1);
    Err(Error::input(found.name, format!("{}×{} pixels", size.0, size.1), expected))
}

impl Iterator for Frames {
    type Item = Result<NamedFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frames.next()
    }
}

/// Nothing follows an error, nor the end.
struct UntilError<I>(Option<I>);

impl<T, I: Iterator<Item = Result<T>>> Iterator for UntilError<I> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.0.as_mut()?.next();
        if !matches!(found, Some(Ok(_))) {
            self.0 = None;
        }
        found
    }
}

/// Each frame of a sequence with the next one. A sequence of one frame is an error.
pub struct Pairs {
    frames: Frames,
    length: Option<usize>,
    rate: Option<(u32, u32)>,
    last: Option<NamedFrame>,
    pairs: usize,
    ended: bool,
}

impl Pairs {
    /// How many pairs there are in all, where that is known before they are read.
    #[doc(hidden)]
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    /// As [`Frames::rate`].
    #[doc(hidden)]
    pub fn rate(&self) -> Option<(u32, u32)> {
        self.rate
    }

    fn read(&mut self) -> Result<Option<(NamedFrame, NamedFrame)>> {
        let first = match self.last.take() {
            Some(first) => Some(first),
            None => self.frames.next().transpose()?,
        };
        let second = self.frames.next().transpose()?;
        let (Some(first), Some(second)) = (first, second) else {
            if self.pairs > 0 {
                return Ok(None);
            }
            let what = "there are fewer than two";
            return Err(Error::input("frames", what, "a sequence of at least two frames"));
        };
        self.pairs += 1;
        self.last = Some(second.clone());
        Ok(Some((first, second)))
    }
}

impl Iterator for Pairs {
    type Item = Result<(NamedFrame, NamedFrame)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let found = self.read().transpose();
        self.ended = !matches!(found, Some(Ok(_)));
        found
    }
}

/// The pictures of a folder, GIFs among them, in the natural order of their names.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read, [`Error::Media`] when there is no picture in it.
pub fn pictures_of(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let endings = [&PICTURES[..], &["gif"]].concat();
    let named = named_pictures(folder.as_ref(), &endings)?;
    Ok(named.into_iter().map(|(_, path)| path).collect())
}

/// Files of a folder that end as pictures do, with their names.
fn named_pictures(folder: &Path, endings: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let io = |e| Error::io("read", folder, e);
    let mut pictures: Vec<(String, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if endings.contains(&ending.to_lowercase().as_str()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            pictures.push((name.into_owned(), path));
        }
    }
    if pictures.is_empty() {
        let hint = format!("pictures end in .{}", endings.join(", ."));
        return Err(Error::media(folder, "there are no pictures in this folder", hint));
    }
    pictures.sort_by(|a, b| natural(&a.0, &b.0));
    Ok(pictures)
}

/// The order of names in which numbers inside them count as numbers.
#[must_use]
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (first, second) = (number(&mut left), number(&mut right));
            first.len().cmp(&second.len()).then_with(|| first.cmp(second))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    // What has more left is later; equal numbers with more zeros are earlier, as in the alphabet.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the digits that `text` begins with, and returns them without leading zeros.
fn number<'t>(text: &mut &'t [u8]) -> &'t [u8] {
    let end = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    &digits[zeros..]
}
