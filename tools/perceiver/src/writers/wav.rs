//! Sound files, written: WAV of integers or floats.

use std::io::BufWriter;
use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};
use perceiver::internals::output::whole_file;
use perceiver::media::wav::Sound;
use perceiver::{Error, Result};

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// 16-bit integers. What is louder than full scale is cut off.
    Integer16,
    /// 32-bit floats.
    Float32,
}

/// Writes a WAV file; there is no partial file when it fails.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written, [`Error::Limit`] when the sound is larger than a
/// WAV file can be.
pub fn write(path: impl AsRef<Path>, sound: &Sound, kind: SampleKind) -> Result<()> {
    let path = path.as_ref();
    let (bits, sample_format) = match kind {
        SampleKind::Integer16 => (16, SampleFormat::Int),
        SampleKind::Float32 => (32, SampleFormat::Float),
    };
    let bytes = sound.samples().len() as u64 * u64::from(bits / 8);
    let channels = u16::try_from(sound.channels()).ok();
    // A chunk's length is a 32-bit number, and the head of the file needs some room.
    let Some(channels) = channels.filter(|_| bytes <= u64::from(u32::MAX) - 1024) else {
        return Err(Error::Limit {
            what: "a WAV file".to_owned(),
            needed: format!("{bytes} bytes of {} channels", sound.channels()),
            limit: "4 GiB of 65535 channels".to_owned(),
            hint: "cut the sound".to_owned(),
        });
    };
    let spec =
        WavSpec { channels, sample_rate: sound.rate(), bits_per_sample: bits, sample_format };
    let failed = |e: hound::Error| {
        let e = match e {
            hound::Error::IoError(e) => e,
            other => std::io::Error::other(other),
        };
        Error::io("write", path, e)
    };
    whole_file(path, |file| {
        let mut writer = WavWriter::new(BufWriter::new(file), spec).map_err(failed)?;
        for &sample in sound.samples() {
            match kind {
                // A cast saturates.
                SampleKind::Integer16 => {
                    writer.write_sample((f64::from(sample) * 32768.0).round() as i16)
                }
                SampleKind::Float32 => writer.write_sample(sample),
            }
            .map_err(failed)?;
        }
        writer.finalize().map_err(failed)
    })
}
