//! Encoding inputs that come in pieces, and decoding any queries, piece by piece.
//!
//! [`Model::encoder`](crate::Model::encoder) takes chunks of rows in any order and of any size; what
//! it keeps is one accumulator per latent, so memory does not grow with the inputs. Its
//! [`EncoderState`] can be stored, sent elsewhere and merged with that of other chunks.
//! [`Model::decoder`](crate::Model::decoder) decodes chosen queries from [`Latents`], as a stream of
//! chunks if there are many.

mod decoder;
mod encoder;
mod fingerprint;
mod state;

pub use decoder::{Decoded, Decoder, Decoding, Queries};
pub use encoder::Encoder;
pub use state::EncoderState;

use crate::error::{Error, Result};
pub use crate::model::Latents;
use crate::model::Model;
use crate::perceiver::Sizes;
use crate::perceiver::blueprint::Blueprint;

impl Model {
    /// An encoder that takes input rows in chunks of any size and order: pixels of a picture, patches
    /// of frames, blocks and samples of a clip. `sizes` are those of the whole input.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for models that read their inputs more than once.
    ///
    /// ```
    /// # use perceiver::{Architecture, Engine, Model, PerceiverConfig, Sizes, Tensor};
    /// # use perceiver::RandomTensors;
    /// # let mut config = PerceiverConfig::new(Architecture::ImageFourier);
    /// # (config.num_latents, config.d_latents, config.num_self_attends_per_block) = (4, 16, 1);
    /// # config.num_cross_attention_heads = 1;
    /// # let weights = RandomTensors::new(config.tensors()?, 1);
    /// # let model = Engine::cpu().load_from(config, std::sync::Arc::new(weights))?;
    /// let sizes = Sizes { image: [8, 8], ..Sizes::default() };
    /// let mut encoder = model.encoder(&sizes)?;
    /// encoder.push("pixel", 0, &Tensor::f32(vec![24, 3], vec![0.5; 72])?)?;
    /// encoder.push("pixel", 24, &Tensor::f32(vec![40, 3], vec![0.1; 120])?)?;
    /// let latents = encoder.finish()?;
    /// assert_eq!(latents.shape(), [4, 16]);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn encoder(&self, sizes: &Sizes) -> Result<Encoder> {
        let blueprint = self.description.blueprint(sizes);
        refuse_arrays(&blueprint, "ending_at")?;
        Encoder::new(self, blueprint)
    }

    /// A decoder of any queries over these latents. `sizes` are those that the latents were made with.
    ///
    /// # Errors
    /// [`crate::Error::Input`] when the latents are of another model.
    pub fn decoder(&self, sizes: &Sizes, latents: &Latents) -> Result<Decoder> {
        let blueprint = self.description.blueprint(sizes);
        refuse_arrays(&blueprint, "starting_at")?;
        Decoder::new(self, blueprint, latents)
    }
}

/// A list of arrays has no fixed place to be cut.
fn refuse_arrays(blueprint: &Blueprint, instead: &str) -> Result<()> {
    if blueprint.arrays.is_empty() {
        return Ok(());
    }
    let what = "is a list of arrays, which is not read or decoded in pieces";
    Err(Error::input("model", what, format!("`Model::{instead}` with the name of an array")))
}
