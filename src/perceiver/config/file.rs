//! Hugging Face's `config.json`: read strictly where it changes the mathematics, leniently where it
//! does not.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Architecture, AttentionShape, LARGEST, PerceiverConfig, ProblemType, default_labels};
use crate::error::{Error, Result};
use crate::kernels::gemm::Activation;

impl PerceiverConfig {
    /// Reads `config.json`, or that file in a folder.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] for what is no JSON object, [`Error::Config`] for keys
    /// that ask for something impossible or unknown.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let (text, origin) = crate::perceiver::blueprint::read_text(path.as_ref())?;
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
            let hint = "give the config.json that save_pretrained wrote beside the weights";
            Error::checkpoint(origin, what, hint)
        };
        let value: Value = serde_json::from_str(text)
            .map_err(|e| wrong(format!("is not JSON: {e}")).caused_by(e))?;
        let Value::Object(map) = value else {
            return Err(wrong("is JSON but no object".to_owned()));
        };
        let keys = Keys { map: &map, origin };
        if let Some(kind) = map.get("model_type").and_then(Value::as_str)
            && kind != "perceiver"
        {
            let what = format!("is {kind:?}");
            return Err(keys.bad("model_type", what, "only \"perceiver\" models run"));
        }
        let mut config = Self::new(keys.architecture()?);
        keys.refuse_unknown(&config.sizes_mut().map(|(key, _)| key))?;
        for (key, size) in config.sizes_mut() {
            if let Some(value) = keys.get(key) {
                *size = keys.whole(key, value)?;
            }
        }
        for (key, size) in
            [("qk_channels", &mut config.qk_channels), ("v_channels", &mut config.v_channels)]
        {
            *size = keys.get(key).map(|v| keys.whole(key, v)).transpose()?;
        }
        if let Some(shape) = keys.text("cross_attention_shape_for_attention")? {
            config.cross_attention_shape_for_attention = match shape {
                "kv" => AttentionShape::KeysValues,
                "q" => AttentionShape::Queries,
                other => {
                    let what = format!("is {other:?}");
                    let hint = "\"kv\" and \"q\" are possible";
                    return Err(keys.bad("cross_attention_shape_for_attention", what, hint));
                }
            };
        }
        if let Some(name) = keys.text("hidden_act")? {
            config.hidden_act = match name {
                "gelu" | "gelu_python" => Activation::GeluErf,
                "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate"
                | "gelu_fast" => Activation::GeluTanh,
                other => {
                    let hint = "\"gelu\", \"gelu_new\", \"gelu_fast\" and \"gelu_pytorch_tanh\" are possible";
                    return Err(keys.bad("hidden_act", format!("is {other:?}"), hint));
                }
            };
        }
        if let Some(value) = keys.get("use_query_residual") {
            let wrong =
                || keys.bad("use_query_residual", format!("is {value}"), "give true or false");
            config.use_query_residual = value.as_bool().ok_or_else(wrong)?;
        }
        keys.sides("train_size", &mut config.train_size, "give [height, width]")?;
        let hint = "give [1, frames, height, width]";
        keys.sides("output_shape", &mut config.output_shape, hint)?;
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

/// Keys that are read, beside those of plain sizes.
const READ: &str = "\
    model_type architectures qk_channels v_channels cross_attention_shape_for_attention \
    hidden_act use_query_residual train_size output_shape id2label label2id num_labels \
    problem_type";

/// Keys that sound as if they changed a result, and do not: of training, of other tasks, and those that
/// Hugging Face's Perceiver classes leave alone.
const IDLE: &str = "\
    layer_norm_eps attention_probs_dropout_prob hidden_dropout_prob initializer_range \
    position_encoding_init_scale output_attentions output_hidden_states \
    chunk_size_feed_forward cross_attention_hidden_size tie_word_embeddings \
    tie_encoder_decoder attn_implementation _attn_implementation \
    _attn_implementation_internal _attn_implementation_autoset num_beam_groups mask_token_id \
    experts_implementation";

/// A key with one of these in its name says something about the arithmetic.
const TELLING: &str = "\
    attention attend latent channel head layer block widening activation hidden norm \
    residual position embedding rotary causal band fourier conv kernel bias quant lora \
    expert is_decoder preprocess";

/// Keys of a JSON object, with errors that say where.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    origin: &'a str,
}

impl<'a> Keys<'a> {
    fn bad(&self, key: &str, what: String, hint: &str) -> Error {
        Error::config(self.origin, key, what, hint)
    }

    /// Refuses keys that no Perceiver of Hugging Face has and that, by their names, change the result. Null,
    /// false, zero and nothing ask for nothing.
    fn refuse_unknown(&self, sizes: &[&str]) -> Result<()> {
        for (key, value) in self.map {
            let nothing = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Number(n) => n.as_f64() == Some(0.0),
                Value::String(s) => s.is_empty(),
                Value::Array(a) => a.is_empty(),
                Value::Object(o) => o.is_empty(),
                Value::Bool(true) => false,
            };
            let mut words = READ.split(' ').chain(IDLE.split(' '));
            let known = sizes.contains(&key.as_str()) || words.any(|word| word == key.as_str());
            if nothing || known || !TELLING.split(' ').any(|word| key.contains(word)) {
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
        known.clone().find(|a| given.contains(&a.name())).ok_or_else(|| {
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
        if let Some(value) = self.get("num_labels") {
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

    /// A value that is there and not null.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn sides(&self, key: &str, to: &mut [usize], hint: &str) -> Result<()> {
        let Some(value) = self.get(key) else {
            return Ok(());
        };
        let given = value.as_array().filter(|sides| sides.len() == to.len());
        let wrong = || self.bad(key, format!("is {}", shortened(value)), hint);
        for (side, given) in to.iter_mut().zip(given.ok_or_else(wrong)?) {
            *side = self.whole(key, given)?;
        }
        Ok(())
    }

    fn whole(&self, key: &str, value: &Value) -> Result<usize> {
        value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
            let what = format!("is {}", shortened(value));
            self.bad(key, what, "give a whole number")
        })
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.bad(key, format!("is {}", shortened(value)), "give a string");
        value.as_str().map(Some).ok_or_else(wrong)
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
