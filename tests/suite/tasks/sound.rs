//! Sound files.

use crate::common::writers::{self, wav::SampleKind};
use perceiver::media::wav::{self, Sound};

use super::message;

fn sound(channels: usize) -> Sound {
    let samples = (0..channels * 50).map(|i| ((i * 7919) % 65536) as f32 / 32768.0 - 1.0).collect();
    Sound::new(16000, channels, samples).unwrap()
}

#[test]
fn wav_files_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    for channels in [1, 2, 3] {
        for kind in [SampleKind::Integer16, SampleKind::Float32] {
            writers::wav::write(&path, &sound(channels), kind).unwrap();
            let found = wav::read(&path).unwrap();
            assert_eq!(found, sound(channels));
            assert_eq!((found.rate(), found.length()), (16000, 50));
            assert_eq!(found.tensor().unwrap().shape(), [50, channels]);
        }
    }
    // Louder than full scale: kept as floats, cut off as integers.
    let loud = Sound::new(8000, 1, vec![1.5, -2.0, 1.0, 0.5]).unwrap();
    writers::wav::write(&path, &loud, SampleKind::Float32).unwrap();
    assert_eq!(wav::read(&path).unwrap(), loud);
    writers::wav::write(&path, &loud, SampleKind::Integer16).unwrap();
    let most = 32767.0 / 32768.0;
    assert_eq!(wav::read(&path).unwrap().samples(), [most, -1.0, most, 0.5]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A WAV file by hand: format tag, bits, channels, data.
pub(super) fn wav_bytes(tag: u16, bits: u16, channels: u16, data: &[u8]) -> Vec<u8> {
    let each = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    for word in [tag, channels] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(8000u32.to_le_bytes());
    bytes.extend((8000 * u32::from(each)).to_le_bytes());
    for word in [each, bits] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn wav_samples_of_every_width_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let samples = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        wav::read(&path).unwrap().samples().to_vec()
    };
    // 8 bits have no sign: 128 is silence.
    assert_eq!(samples(wav_bytes(1, 8, 1, &[0, 64, 128, 192])), [-1.0, -0.5, 0.0, 0.5]);
    assert_eq!(samples(wav_bytes(1, 16, 2, &[0, 0x80, 0, 0x40])), [-1.0, 0.5]);
    assert_eq!(samples(wav_bytes(1, 24, 1, &[0, 0, 0x80, 0, 0, 0x20])), [-1.0, 0.25]);
    assert_eq!(samples(wav_bytes(1, 32, 1, &[0, 0, 0, 0x80, 0, 0, 0, 0x10])), [-1.0, 0.125]);
    assert_eq!(samples(wav_bytes(3, 32, 1, &0.75f32.to_le_bytes())), [0.75]);
}

#[test]
fn sounds_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound.wav");
    let hint = "; a whole WAV file of 8 to 32-bit integers or 32-bit floats is expected; convert \
                it with `ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav`";
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let told = message(wav::read(&path));
        let told = told.strip_prefix(&format!("{}: ", path.display()));
        let told = told.expect("the path").strip_suffix(hint);
        told.expect("the hint").to_owned()
    };
    assert_eq!(refused(b""), "it ends too early");
    assert!(
        refused(b"OggS and more of it, so that there is a head of a file")
            .starts_with("this is no WAV file that is read: ")
    );
    let whole = wav_bytes(1, 16, 1, &[1; 20]);
    assert_eq!(refused(&whole[..whole.len() - 5]), "it ends too early, after 7 of 10 samples");
    assert_eq!(refused(&whole[..30]), "it ends too early");
    let nan = wav_bytes(3, 32, 1, &f32::NAN.to_le_bytes());
    assert_eq!(refused(&nan), "input `sound`: NaN at sample 0; expected finite numbers");
    assert!(refused(&wav_bytes(2, 16, 1, &[0; 8])).starts_with("this is no WAV file that is read"));
    let missing = folder.path().join("none").join("sound.wav");
    assert!(message(wav::read(&missing)).starts_with("cannot read "));
    let told = message(writers::wav::write(&missing, &sound(1), SampleKind::Float32));
    assert!(told.starts_with("cannot create a file in "), "{told}");
    // A head that promises 2 GiB of samples.
    let mut vast = wav_bytes(1, 8, 1, &[0; 8]);
    vast[40..44].copy_from_slice(&0x7fff_0000u32.to_le_bytes());
    std::fs::write(&path, vast).unwrap();
    let told = message(wav::read(&path));
    assert!(
        told.ends_with("needs 2147418112 samples, the limit is 268435456 samples; cut the sound"),
        "{told}"
    );
    for (rate, channels, samples) in [(0, 1, 4), (8000, 0, 4), (8000, 3, 4)] {
        assert_eq!(
            message(Sound::new(rate, channels, vec![0.0; samples])),
            format!(
                "input `sound`: {samples} samples of {channels} channels at {rate} a second; \
                 expected a rate, at least one channel, and as many samples in each"
            )
        );
    }
    let wide = Sound::new(8000, 70000, vec![0.0; 70000]).unwrap();
    assert!(
        message(writers::wav::write(&path, &wide, SampleKind::Integer16))
            .starts_with("a WAV file needs")
    );
}
