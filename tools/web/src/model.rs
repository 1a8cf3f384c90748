//! A model: runs on tensors, the pipelines, encode and decode.

use js_sys::{Array, Float32Array, Object};
use perceiver::internals::tasks::flow_picture::{self, Wheel};
use perceiver::stream::{Decoder, Latents, Queries};
use perceiver::tasks::{
    FillMask, FillOptions, Filling, FlowField, FlowOptions, ImageClassifier, OpticalFlow,
    PerceiverImageProcessor, TextClassifier,
};
use perceiver::{Architecture, Control, RunOptions};
use wasm_bindgen::prelude::*;

use crate::breaks::Breaks;
use crate::values::{
    Thrown, count, frame, member, object_of, objects, picture, plain, set, tensors, thrown, wrong,
};

/// A configuration and weights on an engine.
#[wasm_bindgen]
pub struct Model {
    model: perceiver::Model,
    /// The text of `preprocessor_config.json`.
    processor: Option<String>,
}

/// Ends runs that were given it, and tells how far they are.
#[wasm_bindgen]
#[derive(Default)]
pub struct RunControl {
    control: Control,
}

#[wasm_bindgen]
impl RunControl {
    /// A control of runs that are yet to begin.
    #[wasm_bindgen(constructor)]
    pub fn new() -> RunControl {
        RunControl::default()
    }

    /// Ends runs before their next submission.
    pub fn cancel(&self) {
        self.control.cancel();
    }

    /// `[done, total]` in floating-point operations.
    pub fn progress(&self) -> Vec<f64> {
        let (done, total) = self.control.progress();
        vec![done as f64, total as f64]
    }
}

impl Model {
    pub(crate) fn new(model: perceiver::Model, processor: Option<String>) -> Self {
        Model { model, processor }
    }

    fn under(&self, control: &RunControl) -> perceiver::Model {
        self.model.controlled(&control.control)
    }
}

#[wasm_bindgen]
impl Model {
    /// The architecture, under its name in `config.json`.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.model.description().name().to_owned()
    }

    /// Height and width that a flow model was trained on, or of a classifier's pictures.
    #[wasm_bindgen(getter)]
    pub fn size(&self) -> Option<Vec<u32>> {
        let config = self.model.config().ok()?;
        match self.model.architecture()? {
            Architecture::OpticalFlow => Some(config.train_size.map(|n| n as u32).to_vec()),
            other if other.is_image() => Some(vec![config.image_size as u32; 2]),
            _ => None,
        }
    }

    /// Tensors in, tensors out: `{ name: { shape, data } }`.
    pub async fn run(&self, inputs: JsValue, control: &RunControl) -> Result<JsValue, Thrown> {
        let (inputs, model) = (tensors(&inputs)?, self.under(control));
        let outputs = model.run_async(&inputs, RunOptions::default()).await;
        Ok(objects(&outputs.map_err(|e| thrown(&e))?))
    }

    /// Optical flow from one picture to the next: `{ width, height, vectors, picture }`.
    pub async fn flow(
        &self,
        first: JsValue,
        second: JsValue,
        options: JsValue,
        control: &RunControl,
    ) -> Result<JsValue, Thrown> {
        let mut breaks = Breaks::default();
        let first = frame("first", &first)?;
        breaks.pause().await?;
        let second = frame("second", &second)?;
        breaks.pause().await?;
        let longest = member(&options, "longest").as_f64().map(|x| x as f32);
        let found = async {
            let pipeline = OpticalFlow::new(&self.under(control))?;
            pipeline.flow_async(&first, &second, &FlowOptions::default()).await
        };
        let field = found.await.map_err(|e| thrown(&e))?;
        let coloured = coloured(&field, longest).await?;
        let object = Object::new();
        set(&object, "width", &(field.width() as f64).into());
        set(&object, "height", &(field.height() as f64).into());
        let vectors = field.vectors().as_flattened();
        set(&object, "vectors", &Float32Array::from(vectors));
        set(&object, "picture", &coloured);
        Ok(object.into())
    }

    /// A text with its `[MASK]`s filled: `{ text, spans }`.
    #[wasm_bindgen(js_name = fillMask)]
    pub async fn fill_mask(
        &self,
        text: &str,
        options: JsValue,
        control: &RunControl,
    ) -> Result<JsValue, Thrown> {
        let filling = match member(&options, "mostCertainFirst").is_truthy() {
            true => Filling::MostCertainFirst,
            false => Filling::AtOnce,
        };
        let options = FillOptions { top: count(&options, "top", 5)?, filling };
        let filled =
            async { FillMask::new(&self.under(control))?.fill_async(&[text], &options).await };
        plain(&filled.await.map_err(|e| thrown(&e))?.into_iter().next())
    }

    /// Classes of a text or a picture, best first: `[{ class, label, probability }]`.
    pub async fn classify(
        &self,
        what: JsValue,
        options: JsValue,
        control: &RunControl,
    ) -> Result<JsValue, Thrown> {
        let (model, top) = (self.under(control), count(&options, "top", 5)?);
        let classes = if let Some(text) = what.as_string() {
            let classes =
                async { TextClassifier::new(&model)?.classify_async(&[&text], top).await };
            classes.await
        } else {
            let picture = frame("picture", &what)?;
            let classes = async {
                let processor = match &self.processor {
                    Some(text) => {
                        PerceiverImageProcessor::from_json(text, "preprocessor_config.json")?
                    }
                    None => PerceiverImageProcessor::for_model(model.config()?),
                };
                let classifier = ImageClassifier::new(&model, processor)?;
                let pixels = classifier.prepare(&picture)?;
                classifier.classify_async(vec![pixels], top).await
            };
            classes.await
        };
        plain(&classes.map_err(|e| thrown(&e))?.into_iter().next())
    }

    /// Encode and process alone: what [`Decoded`] decodes from.
    pub async fn encode(&self, inputs: JsValue, control: &RunControl) -> Result<Decoded, Thrown> {
        let (inputs, model) = (tensors(&inputs)?, self.under(control));
        let found = async {
            let (sizes, latents) = model.encode_async(&inputs, RunOptions::default()).await?;
            let latents = latents.into_iter().next();
            let none = || perceiver::Error::Input {
                name: "inputs".to_owned(),
                what: "hold no item".to_owned(),
                expected: "one".to_owned(),
            };
            let latents = latents.ok_or_else(none)?;
            let decoder = model.decoder(&sizes, &latents)?;
            Ok((latents, decoder))
        };
        let (latents, decoder) = found.await.map_err(|e| thrown(&e))?;
        Ok(Decoded { latents, decoder })
    }
}

/// Pixels between breaks, some hundreds of microseconds' work.
const PIXELS: usize = 1 << 13;

/// [`FlowField::picture`] with breaks, as `{ width, height, data }`.
async fn coloured(field: &FlowField, longest: Option<f32>) -> Result<JsValue, Thrown> {
    let mut breaks = Breaks::default();
    let mut most = 0.0;
    for vectors in field.vectors().chunks(PIXELS) {
        most = flow_picture::longest(vectors).max(most);
        breaks.pause().await?;
    }
    let wheel = Wheel::new(longest.map_or(most, f64::from));
    let mut rgba = Vec::with_capacity(4 * field.vectors().len());
    for vectors in field.vectors().chunks(PIXELS) {
        let colours = vectors.iter().map(|&vector| wheel.colour(vector));
        rgba.extend(colours.flat_map(|[r, g, b]| [r, g, b, 255]));
        breaks.pause().await?;
    }
    Ok(picture(field.width(), field.height(), &rgba))
}

/// Latents, and queries decoded from them.
#[wasm_bindgen]
pub struct Decoded {
    latents: Latents,
    decoder: Decoder,
}

#[wasm_bindgen]
impl Decoded {
    /// The latents, `{ shape, data }`.
    #[wasm_bindgen(getter)]
    pub fn latents(&self) -> Result<JsValue, Thrown> {
        let data = self.latents.as_slice().to_vec();
        let tensor = perceiver::Tensor::f32(self.latents.shape().to_vec(), data);
        Ok(object_of(&tensor.map_err(|e| thrown(&e))?))
    }

    /// Outputs: `[{ name, queries, channels, columns }]`, where `channels` are those of the content that a query
    /// brings along.
    #[wasm_bindgen(getter)]
    pub fn outputs(&self) -> Array {
        let outputs =
            self.decoder.outputs().into_iter().map(|(name, queries, channels, columns)| {
                let object = Object::new();
                set(&object, "name", &name.into());
                set(&object, "queries", &(queries as f64).into());
                set(&object, "channels", &(channels as f64).into());
                set(&object, "columns", &(columns as f64).into());
                object
            });
        outputs.collect()
    }

    /// Decodes queries `from .. to` of an output, `{ shape, data }`; `content` are the rows that they bring along.
    pub async fn decode(
        &mut self,
        output: &str,
        from: usize,
        to: usize,
        content: JsValue,
    ) -> Result<JsValue, Thrown> {
        let content = match content.is_undefined() {
            true => None,
            false => {
                let object = Object::new();
                set(&object, "content", &content);
                tensors(&object.into())?.remove("content")
            }
        };
        if from > to {
            return Err(wrong("from", "is behind `to`", "a range of queries"));
        }
        let rows = async {
            let queries = Queries::Range(from..to);
            let (mut rows, mut columns) = (Vec::new(), 0);
            let mut chunks = self.decoder.stream(output, queries, content.as_ref())?;
            while let Some(chunk) = chunks.next_async().await {
                let chunk = chunk?.rows;
                columns = chunk.shape()[1];
                rows.extend_from_slice(chunk.as_f32().unwrap_or(&[]));
            }
            perceiver::Tensor::f32(vec![to - from, columns], rows)
        };
        Ok(object_of(&rows.await.map_err(|e| thrown(&e))?))
    }
}
