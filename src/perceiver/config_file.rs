//! Hugging Face's `config.json`: read strictly where it changes the mathematics, leniently where it
//! does not.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{
    Architecture, AttentionShape, LARGEST, PerceiverConfig, ProblemType, default_labels,
};
use crate::error::{Error, Result};
use crate::kernels::gemm::Activation;

impl PerceiverConfig {
    /// Reads `config.json`, or that file in a folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] for what is no JSON object, [`Error::Config`] for keys
    /// that ask for something impossible or unknown.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let (text, origin) = super::read_text(path.as_ref())?;
        Self::from_json(&text, &origin)
    }

    /// Reads the text of a `config.json`; `origin` names it in errors. Missing keys have Hugging
    /// Face's defaults.
    ///
    /// # Errors
    /// As [`PerceiverConfig::read`].
    ///
    /// ```
    /// use perceiver::{Architecture, PerceiverConfig};
    /// let config = PerceiverConfig::from_json(
    ///     r#"{"architectures": ["PerceiverForMaskedLM"], "qk_channels": 256, "v_channels": 1280}"#,
    ///     "example",
    /// )?;
    /// assert_eq!(config.architecture, Architecture::MaskedLm);
    /// assert_eq!(config.num_latents, 256);
    /// # Ok::<(), perceiver::Error>(())
    /// ```
    pub fn from_json(text: &str, origin: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::checkpoint(
                origin,
                what,
                "give the config.json that save_pretrained wrote beside the weights",
            )
        };
        let value: Value =
            serde_json::from_str(text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
        let Value::Object(map) = value else {
            return Err(wrong("is JSON but no object".to_owned()));
        };
        let keys = Keys { map: &map, origin };
        keys.refuse_unknown()?;
        if let Some(kind) = map.get("model_type").and_then(Value::as_str)
            && kind != "perceiver"
        {
            return Err(keys.bad(
                "model_type",
                format!("is {kind:?}"),
                "only \"perceiver\" models run",
            ));
        }
        let mut config = Self::new(keys.architecture()?);
        keys.size("num_latents", &mut config.num_latents)?;
        keys.size("d_latents", &mut config.d_latents)?;
        keys.size("d_model", &mut config.d_model)?;
        keys.size("num_blocks", &mut config.num_blocks)?;
        keys.size(
            "num_self_attends_per_block",
            &mut config.num_self_attends_per_block,
        )?;
        keys.size(
            "num_self_attention_heads",
            &mut config.num_self_attention_heads,
        )?;
        keys.size(
            "num_cross_attention_heads",
            &mut config.num_cross_attention_heads,
        )?;
        keys.optional_size("qk_channels", &mut config.qk_channels)?;
        keys.optional_size("v_channels", &mut config.v_channels)?;
        keys.size(
            "self_attention_widening_factor",
            &mut config.self_attention_widening_factor,
        )?;
        keys.size(
            "cross_attention_widening_factor",
            &mut config.cross_attention_widening_factor,
        )?;
        keys.size("vocab_size", &mut config.vocab_size)?;
        keys.size(
            "max_position_embeddings",
            &mut config.max_position_embeddings,
        )?;
        if let Some(shape) = keys.text("cross_attention_shape_for_attention")? {
            config.cross_attention_shape_for_attention = match shape {
                "kv" => AttentionShape::KeysValues,
                "q" => AttentionShape::Queries,
                other => {
                    return Err(keys.bad(
                        "cross_attention_shape_for_attention",
                        format!("is {other:?}"),
                        "\"kv\" and \"q\" are possible",
                    ));
                }
            };
        }
        if let Some(name) = keys.text("hidden_act")? {
            config.hidden_act = match name {
                "gelu" | "gelu_python" => Activation::GeluErf,
                "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate"
                | "gelu_fast" => Activation::GeluTanh,
                other => {
                    return Err(keys.bad(
                        "hidden_act",
                        format!("is {other:?}"),
                        "\"gelu\", \"gelu_new\", \"gelu_fast\" and \"gelu_pytorch_tanh\" are possible",
                    ));
                }
            };
        }
        match map.get("use_query_residual") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(b)) => config.use_query_residual = *b,
            Some(other) => {
                return Err(keys.bad(
                    "use_query_residual",
                    format!("is {other}"),
                    "give true or false",
                ));
            }
        }
        match map.get("train_size") {
            None | Some(Value::Null) => {}
            Some(Value::Array(sides)) if sides.len() == 2 => {
                for (side, given) in config.train_size.iter_mut().zip(sides) {
                    *side = keys.whole("train_size", given)?;
                }
            }
            Some(other) => {
                let what = format!("is {}", shortened(other));
                return Err(keys.bad("train_size", what, "give [height, width]"));
            }
        }
        keys.size("image_size", &mut config.image_size)?;
        keys.size("num_frames", &mut config.num_frames)?;
        keys.size(
            "audio_samples_per_frame",
            &mut config.audio_samples_per_frame,
        )?;
        keys.size("samples_per_patch", &mut config.samples_per_patch)?;
        keys.size("output_num_channels", &mut config.output_num_channels)?;
        keys.size(
            "_label_trainable_num_channels",
            &mut config.label_trainable_num_channels,
        )?;
        match map.get("output_shape") {
            None | Some(Value::Null) => {}
            Some(Value::Array(sides)) if sides.len() == 4 => {
                for (side, given) in config.output_shape.iter_mut().zip(sides) {
                    *side = keys.whole("output_shape", given)?;
                }
            }
            Some(other) => {
                let what = format!("is {}", shortened(other));
                let hint = "give [1, frames, height, width]";
                return Err(keys.bad("output_shape", what, hint));
            }
        }
        if let Some(labels) = keys.labels()? {
            config.labels = labels;
        }
        config.problem_type = match keys.text("problem_type")? {
            None => None,
            Some("regression") => Some(ProblemType::Regression),
            Some("single_label_classification") => Some(ProblemType::SingleLabel),
            Some("multi_label_classification") => Some(ProblemType::MultiLabel),
            Some(other) => {
                return Err(keys.bad(
                    "problem_type",
                    format!("is {other:?}"),
                    "\"regression\", \"single_label_classification\" and \
                     \"multi_label_classification\" are possible",
                ));
            }
        };
        config.validate(origin)?;
        Ok(config)
    }
}

/// Keys that are read.
const READ: [&str; 30] = [
    "model_type",
    "architectures",
    "num_latents",
    "d_latents",
    "d_model",
    "num_blocks",
    "num_self_attends_per_block",
    "num_self_attention_heads",
    "num_cross_attention_heads",
    "qk_channels",
    "v_channels",
    "cross_attention_shape_for_attention",
    "self_attention_widening_factor",
    "cross_attention_widening_factor",
    "hidden_act",
    "use_query_residual",
    "vocab_size",
    "max_position_embeddings",
    "train_size",
    "image_size",
    "num_frames",
    "audio_samples_per_frame",
    "samples_per_patch",
    "output_shape",
    "output_num_channels",
    "_label_trainable_num_channels",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
];

/// Keys that sound as if they changed a result, and do not: of training, of other tasks, and those that
/// Hugging Face's Perceiver classes leave alone.
const IDLE: [&str; 18] = [
    "layer_norm_eps",
    "attention_probs_dropout_prob",
    "hidden_dropout_prob",
    "initializer_range",
    "position_encoding_init_scale",
    "output_attentions",
    "output_hidden_states",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "tie_word_embeddings",
    "tie_encoder_decoder",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "_attn_implementation_autoset",
    "num_beam_groups",
    "mask_token_id",
    "experts_implementation",
];

/// A key with one of these in its name says something about the arithmetic.
const TELLING: [&str; 26] = [
    "attention",
    "attend",
    "latent",
    "channel",
    "head",
    "layer",
    "block",
    "widening",
    "activation",
    "hidden",
    "norm",
    "residual",
    "position",
    "embedding",
    "rotary",
    "causal",
    "band",
    "fourier",
    "conv",
    "kernel",
    "bias",
    "quant",
    "lora",
    "expert",
    "is_decoder",
    "preprocess",
];

/// Keys of a JSON object, with errors that say where.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    origin: &'a str,
}

impl<'a> Keys<'a> {
    fn bad(&self, key: &str, what: String, hint: &str) -> Error {
        Error::Config {
            origin: self.origin.to_owned(),
            key: key.to_owned(),
            what,
            hint: hint.to_owned(),
        }
    }

    /// Refuses keys that no Perceiver of Hugging Face has and that, by their names, change the result. Null,
    /// false, zero and nothing ask for nothing.
    fn refuse_unknown(&self) -> Result<()> {
        for (key, value) in self.map {
            let nothing = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Number(n) => n.as_f64() == Some(0.0),
                Value::String(s) => s.is_empty(),
                Value::Array(a) => a.is_empty(),
                Value::Object(o) => o.is_empty(),
                Value::Bool(true) => false,
            };
            let known = READ.contains(&key.as_str()) || IDLE.contains(&key.as_str());
            if nothing || known || !TELLING.iter().any(|word| key.contains(word)) {
                continue;
            }
            let shown: String = key.chars().take(80).flat_map(char::escape_debug).collect();
            return Err(self.bad(
                &shown,
                "is no key of a Perceiver, and by its name it changes the result".to_owned(),
                "is it misspelt, or of another kind of model? If it changes nothing, remove it",
            ));
        }
        Ok(())
    }

    fn architecture(&self) -> Result<Architecture> {
        let given: Vec<&str> = match self.map.get("architectures") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let known = Architecture::ALL.into_iter();
        known
            .clone()
            .find(|a| given.contains(&a.name()))
            .ok_or_else(|| {
                let what = match given.first() {
                    None => "names no class".to_owned(),
                    Some(name) => {
                        let name: String = name.chars().take(80).collect();
                        format!("names {name:?}")
                    }
                };
                let hint = format!("supported: {}", Architecture::names());
                self.bad("architectures", what, &hint)
            })
    }

    /// Class names of `id2label`, whose keys are the numbers from 0, and `num_labels` beside it.
    fn labels(&self) -> Result<Option<Vec<String>>> {
        let mut count = None;
        if let Some(value) = self.map.get("num_labels").filter(|v| !v.is_null()) {
            let number = self.whole("num_labels", value)?;
            // Sizes are checked later; this one is allocated now.
            if number > LARGEST {
                let what = format!("is {number}");
                return Err(self.bad("num_labels", what, "there is no model with as many"));
            }
            count = Some(number);
        }
        let table = match self.map.get("id2label") {
            None | Some(Value::Null) => return Ok(count.map(default_labels)),
            Some(Value::Object(table)) => table,
            Some(other) => {
                let what = format!("is {}", shortened(other));
                return Err(self.bad("id2label", what, "give an object of numbers and names"));
            }
        };
        let mut labels = vec![None; table.len()];
        for (id, name) in table {
            let place = id.parse().ok().and_then(|i: usize| labels.get_mut(i));
            match (place, name) {
                (Some(place), Value::String(name)) => *place = Some(name.clone()),
                (Some(place), other) => *place = Some(shortened(other)),
                (None, _) => {
                    let id: String = id.chars().take(40).collect();
                    let what = format!("has the key {id:?} among {} names", table.len());
                    return Err(self.bad("id2label", what, "keys must be the numbers from 0"));
                }
            }
        }
        let labels: Option<Vec<String>> = labels.into_iter().collect();
        let Some(labels) = labels else {
            let what = "has the same number twice".to_owned();
            return Err(self.bad("id2label", what, "keys must be the numbers from 0"));
        };
        if count.is_some_and(|n| n != labels.len()) {
            let what = format!("has {} names", labels.len());
            return Err(self.bad("id2label", what, "num_labels says another number"));
        }
        Ok(Some(labels))
    }

    fn size(&self, key: &str, to: &mut usize) -> Result<()> {
        if let Some(value) = self.map.get(key).filter(|v| !v.is_null()) {
            *to = self.whole(key, value)?;
        }
        Ok(())
    }

    fn optional_size(&self, key: &str, to: &mut Option<usize>) -> Result<()> {
        *to = match self.map.get(key).filter(|v| !v.is_null()) {
            Some(value) => Some(self.whole(key, value)?),
            None => None,
        };
        Ok(())
    }

    fn whole(&self, key: &str, value: &Value) -> Result<usize> {
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| {
                let what = format!("is {}", shortened(value));
                self.bad(key, what, "give a whole number")
            })
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => {
                let what = format!("is {}", shortened(other));
                Err(self.bad(key, what, "give a string"))
            }
        }
    }
}

/// A value as JSON, cut where it would flood a message.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
