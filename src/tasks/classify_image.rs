//! Classifies pictures with an image classifier.
//!
//! Pictures are cropped, resized and normalised as the checkpoint's `preprocessor_config.json` says
//! ([`PerceiverImageProcessor`](super::PerceiverImageProcessor)). Preparing a picture and running the network are two steps, so that a
//! picture that cannot be used is known before others run beside it.
//!
//! ```no_run
//! # fn example(model: &perceiver::Model, frame: &perceiver::media::Frame) -> perceiver::Result<()> {
//! use perceiver::tasks::{ImageClassifier, PerceiverImageProcessor};
//! let processor = PerceiverImageProcessor::read_for("models/images", model.config()?)?;
//! let classifier = ImageClassifier::new(model, processor)?;
//! let classes = classifier.classify(&[frame], 5, &mut |_, _| ())?;
//! println!("{}", classes[0][0].label);
//! # Ok(()) }
//! ```

use super::Network;
use super::classes::{ClassScore, classes_of};
use super::image_processor::PerceiverImageProcessor;
use crate::error::{Error, Result};
use crate::graph::{WORD_BYTES, Waiting, blocking};
use crate::media::Frame;
use crate::memory::room;
use crate::model::{Model, RunOptions};
use crate::perceiver::official::{Item, MOST_PIXELS};
use crate::perceiver::{Architecture, PerceiverConfig, Sizes};
use crate::tensor::{NamedTensors, Tensor};

/// The pipeline: an image classifier that takes pictures of any size.
#[derive(Debug, Clone)]
pub struct ImageClassifier {
    model: Model,
    config: PerceiverConfig,
    processor: PerceiverImageProcessor,
    resize_positions: bool,
}

impl ImageClassifier {
    /// The pipeline with a model, and what prepares its pictures.
    ///
    /// # Errors
    /// [`Error::Input`] when the model is of another architecture, [`Error::Config`] when the
    /// processor makes pictures of a size that the model does not take.
    pub fn new(model: &Model, processor: PerceiverImageProcessor) -> Result<Self> {
        let (found, task) = (model.architecture(), "classifying pictures");
        if !found.is_some_and(Architecture::is_image) {
            super::expect_architecture(model, Architecture::ImageFourier, task)?;
        }
        let config = model.config()?;
        if processor.do_resize {
            let (height, width) = (processor.size.height, processor.size.width);
            if let Err(expected) = fits(config, height, width) {
                let what = format!("makes pictures of {width}×{height} pixels");
                let hint = format!("the model takes {expected}");
                return Err(Error::config("preprocessor_config.json", "size", what, hint));
            }
            // Its numbers before and after their order is that of rows.
            let beside = (height * width) as u64 * 3 * 2 * WORD_BYTES;
            model.allow_item(Sizes { image: [height, width], ..Sizes::default() }, beside)?;
        }
        Ok(ImageClassifier {
            model: model.clone(),
            config: config.clone(),
            processor,
            resize_positions: false,
        })
    }

    /// As [`ImageClassifier::new`], for pictures of any size: a model with learned positions has them
    /// resized (`interpolate_pos_encoding` of Hugging Face).
    ///
    /// # Errors
    /// [`Error::Input`] when the model is of another architecture, or has no learned positions.
    pub fn with_resized_positions(
        model: &Model,
        processor: PerceiverImageProcessor,
    ) -> Result<Self> {
        let task = "resizing positions";
        super::expect_architecture(model, Architecture::ImageLearned, task)?;
        let (model, config) = (model.clone(), model.config()?.clone());
        Ok(ImageClassifier { model, config, processor, resize_positions: true })
    }

    /// The pixels of a picture as the network takes them, `[3, height, width]`.
    ///
    /// # Errors
    /// [`Error::Input`] when the picture is too small to be cut, or, where pictures are not resized,
    /// of a size that the model does not take.
    pub fn prepare(&self, frame: &Frame) -> Result<Tensor> {
        let pixels = self.processor.process(frame)?;
        if let (&[_, height, width], false) = (pixels.shape(), self.resize_positions)
            && let Err(expected) = fits(&self.config, height, width)
        {
            return Err(Error::input(
                "picture",
                format!("{width}×{height} pixels after preprocessing, which does not resize"),
                expected,
            ));
        }
        Ok(pixels)
    }

    /// The `top` best classes of every picture, best first. All pictures are held in memory, as is
    /// what the processor makes of them; give thousands in parts.
    ///
    /// `progress` hears (done, total) in floating-point operations.
    ///
    /// # Errors
    /// As [`ImageClassifier::prepare`] and [`ImageClassifier::classify_prepared`].
    pub fn classify(
        &self,
        frames: &[&Frame],
        top: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Vec<ClassScore>>> {
        let pixels = frames.iter().map(|frame| self.prepare(frame)).collect::<Result<_>>()?;
        self.classify_prepared(pixels, top, progress)
    }

    /// As [`ImageClassifier::classify`], of pictures that [`ImageClassifier::prepare`] made. Those of
    /// one size that follow each other run together.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no picture, or the model's answer is not finite; whatever
    /// [`Model::run`] reports.
    pub fn classify_prepared(
        &self,
        pixels: Vec<Tensor>,
        top: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Vec<ClassScore>>> {
        let progress = |done, total| progress(done, total);
        blocking(self.classify_by(
            pixels,
            top,
            progress,
            Network::Model(&self.model, Waiting::Block),
        ))
    }

    /// As [`ImageClassifier::classify_prepared`], awaited as [`Model::run_async`] is.
    ///
    /// # Errors
    /// As [`ImageClassifier::classify_prepared`] and [`Model::run_async`].
    pub async fn classify_async(
        &self,
        pixels: Vec<Tensor>,
        top: usize,
    ) -> Result<Vec<Vec<ClassScore>>> {
        let network = Network::Model(&self.model, Waiting::Await);
        self.classify_by(pixels, top, |_, _| {}, network).await
    }

    async fn classify_by(
        &self,
        pixels: Vec<Tensor>,
        top: usize,
        mut progress: impl FnMut(u64, u64),
        mut network: Network<'_>,
    ) -> Result<Vec<Vec<ClassScore>>> {
        if pixels.is_empty() {
            return Err(Error::input("pictures", "there are none", "at least one"));
        }
        let options =
            RunOptions { resize_positions: self.resize_positions, ..RunOptions::default() };
        let all = pixels.len();
        let mut found = Vec::with_capacity(all);
        let mut pixels = pixels.into_iter().peekable();
        while let Some(first) = pixels.next() {
            let each = first.shape().to_vec();
            let mut batch = vec![first];
            batch.extend(std::iter::from_fn(|| pixels.next_if(|next| next.shape() == each)));
            let items = batch.len();
            let batch = joined(batch)?.reshape([&[items], &each[..]].concat())?;
            let inputs = NamedTensors::from([("pixel_values".to_owned(), batch)]);
            let part = super::among(&mut progress, [found.len(), items, all]);
            let outputs = network.run(inputs, options, part).await?;
            found.extend(classes_of(&self.config, &outputs, items, top)?);
        }
        Ok(found)
    }
}

/// Tensors one after the other; one alone, which may be large, as it is.
fn joined(mut tensors: Vec<Tensor>) -> Result<Tensor> {
    if tensors.len() == 1 {
        return Ok(tensors.remove(0));
    }
    let numbers = tensors.iter().map(|t| t.as_f32().unwrap_or_default());
    let mut values = room("pictures as numbers", numbers.clone().map(<[f32]>::len).sum())?;
    numbers.for_each(|numbers| values.extend_from_slice(numbers));
    Tensor::f32(vec![values.len()], values)
}

/// Whether a model takes pictures of this size, or what it takes.
fn fits(config: &PerceiverConfig, height: usize, width: usize) -> std::result::Result<(), String> {
    let side = config.image_size;
    match config.architecture.item() {
        Item::Picture { learned: true, .. } if [height, width] != [side; 2] => {
            Err(format!("{side}×{side} pixels, for which its positions were learned"))
        }
        Item::Picture { least, .. } if height.min(width) < least => {
            Err(format!("sides of at least {least} pixels"))
        }
        _ if height.saturating_mul(width) > MOST_PIXELS => {
            Err(format!("at most {MOST_PIXELS} pixels"))
        }
        _ => Ok(()),
    }
}
