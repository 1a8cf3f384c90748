//! The front door: its types can be shown and shared, and what people write is read.

use std::fmt::Debug;
use std::time::Duration;

use perceiver::{
    Architecture, Description, DeviceChoice, Engine, Error, MemorySize, Model, PerceiverConfig,
    Precision, RunOptions, Sizes, SubmissionBudget, Tensor, TensorReport,
};

fn shared<T: Debug + Send + Sync>() {}

#[test]
fn public_types_can_be_shown_and_shared() {
    shared::<Engine>();
    shared::<Model>();
    shared::<Description>();
    shared::<PerceiverConfig>();
    shared::<Architecture>();
    shared::<RunOptions>();
    shared::<Precision>();
    shared::<DeviceChoice>();
    shared::<MemorySize>();
    shared::<Sizes>();
    shared::<Tensor>();
    shared::<Error>();
    shared::<TensorReport>();
    shared::<perceiver::blueprint::Blueprint>();
    shared::<perceiver::blueprint::PerceiverBuilder>();
    shared::<perceiver::blueprint::InputShape>();
    shared::<perceiver::checkpoint::Checkpoint>();
    shared::<perceiver::internals::checkpoint::TensorFile>();
    shared::<perceiver::checkpoint::Converted>();
    shared::<perceiver::stream::Encoder>();
    shared::<perceiver::stream::Decoder>();
    shared::<perceiver::stream::EncoderState>();
    shared::<perceiver::stream::Latents>();
    shared::<perceiver::hub::Hub>();
    shared::<perceiver::hub::HubOptions>();
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let read = |text: &str| text.parse::<MemorySize>().map(|m| m.0).ok();
    assert_eq!(read("65536"), Some(65_536));
    assert_eq!(read(" 64 k "), Some(65_536));
    assert_eq!(read("512MiB"), Some(512 << 20));
    assert_eq!(read("0.5GiB"), Some(512 << 20));
    assert_eq!(read("2gb"), Some(2_000_000_000));
    assert_eq!(read("16777215TiB"), Some(16_777_215 << 40));
    for bad in ["", "M", "1.2.3M", "-1", "5 apples", "0", "0.1", "99999999999T", "1e3", "infG"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn what_is_printed_is_enough() {
    for bytes in [1, 1023, 1024, 1025, 123_456_789, (3 << 30) + 1] {
        let text = MemorySize(bytes).to_string();
        let read: MemorySize = text.parse().expect("its own text");
        assert!(read.0 >= bytes && read.0 as f64 <= 1.1 * bytes as f64 + 1.0, "{text}");
    }
}

#[test]
fn budgets_are_read() {
    let read = |text: &str| text.parse::<SubmissionBudget>();
    let ms = |n| SubmissionBudget::Bounded(Duration::from_millis(n));
    assert_eq!(read("100ms").ok(), Some(ms(100)));
    assert_eq!(read(" 0.5 s").ok(), Some(ms(500)));
    assert_eq!(read("Unlimited").ok(), Some(SubmissionBudget::Unlimited));
    for wrong in ["", "100", "-1s", "0ms", "nans", "infs", "2h", "99999s"] {
        let error = read(wrong).expect_err(wrong).to_string();
        assert!(error.contains("such as 100ms"), "{error}");
    }
}
