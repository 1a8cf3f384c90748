//! Classifies texts with a sequence classifier.
//!
//! A text is its bytes between `[CLS]` and `[SEP]`. Texts that run together are
//! padded to the longest one given; padding is masked and changes no result. A text longer than the
//! model's positions is an error: nothing is cut off, since what was cut might have decided.
//!
//! ```no_run
//! # fn example(model: &perceiver::Model) -> perceiver::Result<()> {
//! use perceiver::tasks::TextClassifier;
//! let classifier = TextClassifier::new(model)?;
//! for classes in classifier.classify(&["What a film!"], 2, &mut |_, _| ())? {
//!     println!("{}: {:?}", classes[0].label, classes[0].probability);
//! }
//! # Ok(()) }
//! ```

use super::classes::{ClassScore, classes_of};
use super::{Network, text};
use crate::error::Result;
use crate::graph::{Waiting, blocking};
use crate::model::{Model, RunOptions};
use crate::perceiver::{Architecture, PerceiverConfig};

/// Texts that run together.
const BATCH: usize = 16;

/// The pipeline: a sequence classifier that takes texts.
#[derive(Debug, Clone)]
pub struct TextClassifier {
    model: Model,
    config: PerceiverConfig,
}

impl TextClassifier {
    /// The pipeline with a model.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when the model is of another architecture,
    /// [`Error::Config`](crate::Error::Config) when its vocabulary is not that of the byte tokenizer.
    pub fn new(model: &Model) -> Result<Self> {
        let wanted = Architecture::SequenceClassification;
        super::expect_architecture(model, wanted, "classifying texts")?;
        let config = model.config()?;
        text::expect_vocabulary(config, "classifying texts")?;
        Ok(TextClassifier { model: model.clone(), config: config.clone() })
    }

    /// The `top` best classes of every text, best first; up to sixteen texts run together.
    ///
    /// `progress` hears (done, total) in floating-point operations of all runs.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) when there is no text, when one has more tokens than
    /// the model has positions, or when the model's answer is not finite; whatever [`Model::run`]
    /// reports.
    pub fn classify(
        &self,
        texts: &[&str],
        top: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Vec<ClassScore>>> {
        let progress = |done, total| progress(done, total);
        blocking(self.classify_by(
            texts,
            top,
            progress,
            Network::Model(&self.model, Waiting::Block),
        ))
    }

    /// As [`TextClassifier::classify`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`TextClassifier::classify`] and [`Model::run_async`].
    pub async fn classify_async(&self, texts: &[&str], top: usize) -> Result<Vec<Vec<ClassScore>>> {
        let network = Network::Model(&self.model, Waiting::Await);
        self.classify_by(texts, top, |_, _| {}, network).await
    }

    async fn classify_by(
        &self,
        texts: &[&str],
        top: usize,
        mut progress: impl FnMut(u64, u64),
        mut network: Network<'_>,
    ) -> Result<Vec<Vec<ClassScore>>> {
        let rows: Vec<Vec<i64>> = texts.iter().map(text::encode).collect();
        // Before anything runs, so that one text too long costs no time.
        text::check_lengths(&rows, self.config.max_position_embeddings)?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut found = Vec::with_capacity(rows.len());
        for batch in rows.chunks(BATCH) {
            let inputs = text::batch(batch, longest)?;
            let part = super::among(&mut progress, [found.len(), batch.len(), rows.len()]);
            let outputs = network.run(inputs, RunOptions::default(), part).await?;
            found.extend(classes_of(&self.config, &outputs, batch.len(), top)?);
        }
        Ok(found)
    }
}
