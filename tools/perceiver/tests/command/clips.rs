//! `perceiver autoencode`.

use std::path::Path;

use perceiver::checkpoint::read_tensors;
use perceiver::media::wav::{self, Sound};
use perceiver::media::{Frame, Frames, picture};
use perceiver_cli::writers::{self, wav::SampleKind};

use super::{case, json, refusal, string, succeeded};

/// Frames and samples of the recorded case, one clip.
fn recorded(case: &str) -> (Vec<Frame>, Vec<f32>) {
    let inputs = read_tensors(format!("{case}/inputs.safetensors")).expect("recorded");
    let video = inputs["raw.video"].as_u8().expect("bytes");
    let each = 12 * 12 * 3;
    let frames = video.chunks_exact(each).take(2);
    let frames = frames.map(|f| Frame::new(12, 12, f.to_vec()).expect("a frame"));
    let samples = inputs["raw.audio"].as_i16().expect("16-bit integers");
    let samples = samples[..72].iter().map(|&s| f32::from(s) / 32768.0);
    (frames.collect(), samples.collect())
}

fn folder_of(frames: &[Frame], folder: &Path) -> String {
    let path = folder.join("frames");
    std::fs::create_dir_all(&path).expect("a folder");
    for (index, frame) in frames.iter().enumerate() {
        picture::write_png(path.join(format!("{index}.png")), frame).expect("written");
    }
    string(&path).to_owned()
}

fn write_sound(path: &Path, rate: u32, channels: usize, samples: Vec<f32>) {
    let sound = Sound::new(rate, channels, samples).expect("a sound");
    writers::wav::write(path, &sound, SampleKind::Integer16).expect("written");
}

#[test]
fn clips_come_back_as_hugging_face_decodes_them() {
    let case = case("multimodal-v1-s0");
    let (frames, samples) = recorded(&case);
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| string(&place.path().join(name)).to_owned();
    let clip = folder_of(&frames, place.path());
    write_sound(Path::new(&at("in.wav")), 48_000, 1, samples.clone());
    let (video, moving, sound, folder) =
        (at("out.y4m"), at("out.gif"), at("out.wav"), format!("{}/", at("out")));
    let model = ["autoencode", "--device", "cpu", "--model", &case];
    let input = [clip.as_str(), "--audio", &at("in.wav")];
    let out = ["-o", &folder, &video, &moving, &sound];
    let report = json(&[&model[..], &input, &out, &["--json", "--top", "3"]].concat());

    let outputs = read_tensors(format!("{case}/outputs.safetensors")).expect("recorded");
    let image = &outputs["full.image"].as_f32().expect("floats")[..2 * 12 * 12 * 3];
    let audio = &outputs["full.audio"].as_f32().expect("floats")[..72];
    let scores = &outputs["logits.label"].as_f32().expect("floats")[..19];
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round();
    for (index, wanted) in image.chunks_exact(12 * 12 * 3).enumerate() {
        let path = format!("{folder}{:06}.png", index + 1);
        let found = picture::read(path).expect("a picture");
        for (&found, &wanted) in found.rgb().iter().zip(wanted) {
            assert!((f32::from(found) - byte(wanted)).abs() <= 1.0);
        }
    }
    assert_eq!(Frames::open(&video).expect("a video").count(), 2);
    assert_eq!(Frames::open(&video).expect("a video").rate(), Some((25, 1)));
    assert_eq!(Frames::open(&moving).expect("a GIF").count(), 2);
    let found = wav::read(&sound).expect("a sound");
    assert_eq!((found.rate(), found.channels(), found.length()), (48_000, 1, 72));
    for (&found, &wanted) in found.samples().iter().zip(audio) {
        assert!((found - wanted.clamp(-1.0, 1.0)).abs() < 1e-4, "{found}, {wanted}");
    }
    let square = |x: f32| f64::from(x).powi(2);
    let given = frames.iter().flat_map(|f| f.rgb());
    let off: f64 =
        given.zip(image).map(|(&g, &v)| square(f32::from(g) / 255.0 - v.clamp(0.0, 1.0))).sum();
    let psnr = -10.0 * (off / image.len() as f64).log10();
    let number = |name: &str| report[name].as_f64().expect(name);
    assert!((number("video_psnr") - psnr).abs() < 0.01, "{report}, {psnr}");
    let signal: f64 = samples.iter().map(|&s| square(s)).sum();
    let noise: f64 = samples.iter().zip(audio).map(|(&a, &b)| square(a - b)).sum();
    let snr = 10.0 * (signal / noise).log10();
    assert!((number("audio_snr") - snr).abs() < 0.01, "{report}, {snr}");
    let best = (0..19).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).expect("a class");
    assert_eq!(report["classes"][0]["index"], best);
    assert_eq!(report["classes"].as_array().map(Vec::len), Some(3));

    // Stereo, of which the first channel counts; a video that is wider than the model; no sound.
    let stereo: Vec<f32> = samples.iter().flat_map(|&s| [s, 0.25]).collect();
    write_sound(Path::new(&at("in.wav")), 48_000, 2, stereo);
    let again = json(&[&model[..], &input, &["-o", &sound, "--json"]].concat());
    assert_eq!(again["audio_snr"], report["audio_snr"]);
    let wide = frames.iter().map(|f| {
        Frame::from_fn(20, 12, |x, y| {
            let x = x.checked_sub(4);
            x.and_then(|x| f.pixel(x, y)).unwrap_or([7; 3])
        })
    });
    writers::y4m::write(at("wide.y4m"), Some((12, 1)), wide).expect("written");
    let silent = json(&[&model[..], &[&at("wide.y4m"), "-o", &video, "--json"]].concat());
    assert!(silent["audio_snr"].is_null());
    assert_eq!(Frames::open(&video).expect("a video").rate(), Some((12, 1)));
    let said = succeeded(&[&model[..], &input, &["-o", &video]].concat());
    assert!(said.contains("2 frames of 12×12 pixels, PSNR ") && said.contains("72 samples, SNR "));
}

#[test]
fn clips_that_do_not_fit_are_refused() {
    let case = case("multimodal-v1-s0");
    let (frames, samples) = recorded(&case);
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| string(&place.path().join(name)).to_owned();
    let long: Vec<Frame> = frames.iter().cycle().take(5).cloned().collect();
    let clip = folder_of(&long, place.path());
    let (video, sound) = (at("out.y4m"), at("in.wav"));
    let refused = |arguments: &[&str], wanted: &str| {
        let model = ["autoencode", "--device", "cpu", "--model", &case];
        let message = refusal(&[&model[..], arguments].concat());
        assert!(message.contains(wanted), "{message}");
        assert!(!Path::new(&video).exists(), "nothing is left");
    };
    refused(
        &[&clip, "-o", &video],
        "has 5 frames; expected 2 frames, the length of the clips that the model takes; --start \
         FRAME takes them from a frame on (0 to 3)",
    );
    refused(
        &[&clip, "-o", &video, "--start", "4"],
        "has 5 frames, 1 from frame 4 on; expected 2 frames",
    );
    let short = at("short.y4m");
    writers::y4m::write(&short, None, frames[..1].iter().cloned().map(Ok)).expect("written");
    refused(&[&short, "-o", &video], "short.y4m`: has 1 frame; expected 2 frames");
    refused(
        &[&clip, "-o", &at("out.mp4")],
        "out.mp4: has no extension that says what to write; end it in .y4m or .gif",
    );
    let with = ["--audio", &sound, "-o", &video, "--start", "1"];
    write_sound(Path::new(&sound), 44_100, 1, samples.clone());
    refused(
        &[&[clip.as_str()], &with[..]].concat(),
        "in.wav: it has 44100 samples a second; the model takes 48000: convert it with `ffmpeg -i ",
    );
    write_sound(Path::new(&sound), 48_000, 1, samples.clone());
    refused(
        &[&[clip.as_str()], &with[..]].concat(),
        "in.wav: it has 72 samples, 36 from sample 36 on; the clip takes 72, 36 for each of 2 frames",
    );
    std::fs::write(&sound, "RIFF").expect("written");
    refused(&[&[clip.as_str()], &with[..]].concat(), "in.wav: it ends too early");
    let whole = std::fs::read(format!("{clip}/3.png")).expect("read");
    std::fs::write(format!("{clip}/3.png"), &whole[..whole.len() / 2]).expect("written");
    refused(&[&clip, "-o", &video, "--start", "2"], "3.png: ");
    let message = refusal(&["autoencode", "--model", "text-tiny", &clip, "-o", &video]);
    assert!(
        message.contains("PerceiverForMaskedLM cannot be used for autoencoding clips"),
        "{message}"
    );

    // From the second frame on, with the samples of the second.
    let longer: Vec<f32> = samples.iter().chain(&samples).copied().collect();
    write_sound(Path::new(&sound), 48_000, 1, longer);
    let model = ["autoencode", "--device", "cpu", "--model", &case];
    let said = succeeded(
        &[&model[..], &[&clip], &["--audio", &sound, "-o", &video, "--start", "1"]].concat(),
    );
    assert!(said.contains("2 frames of 12×12"), "{said}");
}
