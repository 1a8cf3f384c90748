//! Fills masked bytes of texts with a masked language model.
//!
//! One `[MASK]` stands for one byte; `[MASK:7]` is short for seven of them. The guess at a position is
//! the most probable of the 256 bytes: special tokens are no answer (Hugging Face's example takes
//! the maximum over all 262 ids and drops special tokens when it decodes). Probabilities are over
//! the 256 bytes, computed in `f64`; equal ones are ordered by byte.
//!
//! A text longer than the model's positions is filled in windows that lie around its masks, with what
//! stands before and behind them. Each mask is filled in one of them.
//!
//! ```no_run
//! # fn example(model: &perceiver::Model) -> perceiver::Result<()> {
//! use perceiver::tasks::{FillMask, FillOptions};
//! let texts = ["Perceiver IO is a [MASK:4] model"];
//! let filled = FillMask::new(model)?.fill(&texts, &FillOptions::default(), &mut |_, _| ())?;
//! println!("{}", filled[0].text);
//! # Ok(()) }
//! ```

use serde::Serialize;

use super::{Network, Run, text, text_windows};
use crate::error::{Error, Result};
use crate::graph::{Waiting, blocking};
use crate::model::{Model, RunOptions};
use crate::perceiver::Architecture;

/// Windows that run together.
const BATCH: usize = 16;
/// The most masks of a text.
const MOST_MASKS: usize = 1 << 20;

/// In which order masked bytes are filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Filling {
    /// All from one run, as Hugging Face's example does: quick, but the bytes of a span do not know
    /// of each other.
    #[default]
    AtOnce,
    /// One byte a run, each time the most certain one of every window, which the next run then
    /// sees. As many runs as the window with the most masks has masks.
    MostCertainFirst,
}

/// How to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillOptions {
    /// How many candidates to report for each byte, at most 256.
    pub top: usize,
    /// In which order to fill.
    pub filling: Filling,
}

impl Default for FillOptions {
    fn default() -> Self {
        FillOptions { top: 5, filling: Filling::AtOnce }
    }
}

/// A text with its masks filled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Filled {
    /// The whole text; bytes that are not UTF-8 are shown as U+FFFD.
    pub text: String,
    /// The runs of masks, in order.
    pub spans: Vec<Span>,
}

/// Neighbouring masked bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Index of the first token, where `[CLS]` is token 0.
    pub start: usize,
    /// The filled bytes; those that are not UTF-8 are shown as U+FFFD.
    pub text: String,
    /// The prediction for every byte.
    pub bytes: Vec<BytePrediction>,
}

/// The prediction for one masked byte.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BytePrediction {
    /// Index of the token, where `[CLS]` is token 0.
    pub position: usize,
    /// The byte filled in.
    pub byte: u8,
    /// Its probability among the 256 bytes.
    pub probability: f64,
    /// The most probable bytes, best first.
    pub top: Vec<Candidate>,
}

/// A byte and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The byte.
    pub byte: u8,
    /// The byte as [`text::byte_name`] shows it.
    pub name: String,
    /// Its probability among the 256 bytes.
    pub probability: f64,
}

/// The pipeline: a masked language model that fills texts.
#[derive(Debug, Clone)]
pub struct FillMask {
    model: Model,
    positions: usize,
}

impl FillMask {
    /// The pipeline with a model.
    ///
    /// # Errors
    /// [`Error::Input`] when the model is of another architecture, [`Error::Config`] when its
    /// vocabulary is not that of the byte tokenizer.
    pub fn new(model: &Model) -> Result<Self> {
        super::expect_architecture(model, Architecture::MaskedLm, "filling masks")?;
        let config = model.config()?;
        text::expect_vocabulary(config, "filling masks")?;
        Ok(FillMask { model: model.clone(), positions: config.max_position_embeddings })
    }

    /// Fills the masks of all texts, up to sixteen of which (or of their windows) run together.
    ///
    /// `progress` hears (done, total) in floating-point operations of all runs.
    ///
    /// # Errors
    /// [`Error::Input`] when a text has no mask, or more beside each other than the model has
    /// positions, or when the model's answer is not finite; whatever [`Model::run`] reports.
    pub fn fill(
        &self,
        texts: &[&str],
        options: &FillOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Filled>> {
        let progress = |done, total| progress(done, total);
        let network = Network::Model(&self.model, Waiting::Block);
        blocking(fill_by(texts, self.positions, options, progress, network))
    }

    /// As [`FillMask::fill`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`FillMask::fill`] and [`Model::run_async`].
    pub async fn fill_async(&self, texts: &[&str], options: &FillOptions) -> Result<Vec<Filled>> {
        let network = Network::Model(&self.model, Waiting::Await);
        fill_by(texts, self.positions, options, |_, _| {}, network).await
    }
}

/// [`FillMask::fill`] with anything that answers as a model of `positions` positions would.
///
/// # Errors
/// As [`FillMask::fill`].
pub fn fill_with<'r>(
    texts: &[&str],
    positions: usize,
    options: &FillOptions,
    progress: &mut dyn FnMut(u64, u64),
    run: &'r mut Run<'r>,
) -> Result<Vec<Filled>> {
    let progress = |done, total| progress(done, total);
    blocking(fill_by(texts, positions, options, progress, Network::Other(run)))
}

async fn fill_by(
    texts: &[&str],
    positions: usize,
    options: &FillOptions,
    mut progress: impl FnMut(u64, u64),
    mut network: Network<'_>,
) -> Result<Vec<Filled>> {
    let mut rows = Vec::with_capacity(texts.len());
    let mut predictions: Vec<Vec<Option<BytePrediction>>> = Vec::with_capacity(texts.len());
    let mut windows = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let row = text::encode(expand_masks(text, index, positions)?);
        if !row.contains(&text::MASK) {
            let what = "there is nothing to fill";
            let expected = "a [MASK] for each hidden byte, or [MASK:7] for seven of them";
            return Err(Error::input(format!("texts[{index}]"), what, expected));
        }
        windows.extend(text_windows::windows(index, &row, positions)?);
        predictions.push(vec![None; row.len()]);
        rows.push(row);
    }
    let masks = windows.iter().map(|w| w.masks(&rows[w.text]).count());
    let most = masks.max().unwrap_or(0);
    let rounds = match options.filling {
        Filling::AtOnce => most.min(1),
        Filling::MostCertainFirst => most,
    };
    let all = windows.len();
    for round in 0..rounds {
        // What a window finds is written down when all have run, so that no result depends on how
        // many run together.
        let mut found = Vec::new();
        for (turn, batch) in windows.chunks(BATCH).enumerate() {
            let parts: Vec<Vec<i64>> = batch.iter().map(|w| w.row(&rows[w.text])).collect();
            let inputs = text::batch(&parts, positions)?;
            let before = round * all + turn * BATCH;
            let part = super::among(&mut progress, [before, batch.len(), rounds * all]);
            let outputs = network.run(inputs, RunOptions::default(), part).await?;
            let shape = [batch.len(), positions, text::VOCABULARY];
            let logits = super::output_f32(&outputs, "logits", &shape)?;
            let logits = logits.chunks_exact(positions * text::VOCABULARY);
            for (window, logits) in batch.iter().zip(logits) {
                let mut guesses = Vec::new();
                for token in window.masks(&rows[window.text]) {
                    guesses.push(predict(logits, window.place(token), token, options.top)?);
                }
                if options.filling == Filling::MostCertainFirst {
                    guesses = guesses.into_iter().reduce(surer).into_iter().collect();
                }
                found.extend(guesses.into_iter().map(|guess| (window.text, guess)));
            }
        }
        for (text, guess) in found {
            let position = guess.position;
            rows[text][position] = text::FIRST_BYTE + i64::from(guess.byte);
            predictions[text][position] = Some(guess);
        }
    }
    let filled = rows.iter().zip(predictions).map(|(row, found)| {
        let inner = row.get(1..row.len().saturating_sub(1)).unwrap_or_default();
        Ok(Filled { text: text::decode(inner, text::Specials::Keep)?, spans: spans(found) })
    });
    filled.collect()
}

/// Writes `[MASK:n]` out as n times `[MASK]`; any other spelling is text.
fn expand_masks(text: &str, index: usize, positions: usize) -> Result<String> {
    const OPEN: &str = "[MASK:";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut masks = 0usize;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        rest = after;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = after.split_at(digits);
        match tail.strip_prefix(']') {
            Some(tail) if digits > 0 => {
                rest = tail;
                let count = number.parse().unwrap_or(usize::MAX);
                masks = masks.saturating_add(count);
                // What can never be right need not be written out to know it.
                let room = positions.saturating_sub(2);
                if count == 0 || count > room || masks > MOST_MASKS {
                    return Err(Error::input(
                        format!("texts[{index}]"),
                        format!("[MASK:{number}]"),
                        format!(
                            "numbers of hidden bytes from 1, at most {room} beside each other and \
                             {MOST_MASKS} in all"
                        ),
                    ));
                }
                out.push_str(&"[MASK]".repeat(count));
            }
            _ => out.push_str(OPEN),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The prediction for a token of a text that stands at `place` in a window, whose logits begin at
/// `logits[0]`.
fn predict(logits: &[f32], place: usize, position: usize, top: usize) -> Result<BytePrediction> {
    let first = place * text::VOCABULARY + text::SPECIAL.len();
    let logits = logits.get(first..first + 256).unwrap_or_default();
    super::finite("logits", logits, |_| format!("at position {position}"))?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> =
        logits.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).collect();
    let sum: f64 = shares.iter().sum();
    // By logit, not by probability: probabilities far from the best round to equal numbers. The
    // sort is stable, so equal ones stay in the order of bytes.
    let mut order: Vec<(u8, (f32, f64))> =
        (0..=u8::MAX).zip(logits.iter().copied().zip(shares.iter().map(|s| s / sum))).collect();
    order.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let (byte, probability) = order.first().map_or((0, 0.0), |&(b, (_, p))| (b, p));
    let top = order.iter().take(top).map(|&(byte, (_, probability))| {
        let name = text::byte_name(byte);
        Candidate { byte, name, probability }
    });
    Ok(BytePrediction { position, byte, probability, top: top.collect() })
}

/// The guess with the higher probability; of equal ones the first.
fn surer(best: BytePrediction, next: BytePrediction) -> BytePrediction {
    if next.probability > best.probability { next } else { best }
}

/// Groups predictions, given by position, to spans.
fn spans(found: Vec<Option<BytePrediction>>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for prediction in found.into_iter().flatten() {
        match spans.last_mut() {
            Some(span) if span.start + span.bytes.len() == prediction.position => {
                span.bytes.push(prediction);
            }
            _ => {
                let (start, text) = (prediction.position, String::new());
                spans.push(Span { start, text, bytes: vec![prediction] });
            }
        }
    }
    for span in &mut spans {
        let bytes: Vec<u8> = span.bytes.iter().map(|b| b.byte).collect();
        span.text = text::lossy(&bytes);
    }
    spans
}
