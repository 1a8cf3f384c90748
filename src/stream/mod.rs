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
mod latents;
mod state;

pub use decoder::{Decoded, Decoder, Decoding, Queries};
pub use encoder::Encoder;
pub use latents::Latents;
pub use state::EncoderState;
