//! A part of a checkpoint: names and shapes of its tensors, and the settings that shapes do not tell.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::blueprint::{Blueprint, Norm, Projection};
use crate::error::{Error, Result};
use crate::kernels::gemm::Activation;

/// A part of a checkpoint.
pub(crate) struct Part<'a> {
    tensors: &'a BTreeMap<String, Vec<usize>>,
    config: &'a Value,
    /// What its names begin with.
    pub(super) prefix: &'a str,
    origin: &'a str,
    family: &'static str,
    /// Tensors that were asked for and are not there.
    missing: RefCell<BTreeSet<String>>,
}

impl<'a> Part<'a> {
    pub(super) fn new(
        tensors: &'a BTreeMap<String, Vec<usize>>,
        config: &'a Value,
        prefix: &'a str,
        origin: &'a str,
        family: &'static str,
    ) -> Self {
        Part { tensors, config, prefix, origin, family, missing: RefCell::default() }
    }

    /// The blueprint that a family makes of it; all tensors that are missing are one error.
    pub(super) fn checked(&self, make: fn(&Part<'_>) -> Result<Blueprint>) -> Result<Blueprint> {
        let made = make(self).and_then(|b| b.validate(self.origin).map(|()| b));
        if let Ok(blueprint) = &made {
            for (name, _) in blueprint.tensors()? {
                if !self.tensors.contains_key(&name) {
                    self.missing.borrow_mut().insert(name);
                }
            }
        }
        let missing = self.missing.borrow();
        if missing.is_empty() {
            return made;
        }
        let list: Vec<String> = missing.iter().take(40).map(|name| format!("`{name}`")).collect();
        let more = missing.len() - list.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = format!("as `{}` lacks {}{more}", self.family, list.join(", "));
        let hint = "is it the family, and --part the prefix of all its tensors?";
        Err(Error::checkpoint(self.origin, what, hint))
    }

    /// The whole name of a tensor.
    pub(super) fn name(&self, leaf: &str) -> String {
        format!("{}{leaf}", self.prefix)
    }

    pub(super) fn has(&self, leaf: &str) -> bool {
        self.tensors.contains_key(&self.name(leaf))
    }

    /// The shape of a tensor by its whole name, if it is there.
    pub(super) fn found(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).cloned()
    }

    /// The shape of a tensor by its whole name.
    pub(super) fn shape_of(&self, name: &str) -> Vec<usize> {
        let found = self.tensors.get(name).cloned();
        found.unwrap_or_else(|| {
            self.missing.borrow_mut().insert(name.to_owned());
            vec![1; 4]
        })
    }

    pub(super) fn shape(&self, leaf: &str) -> Vec<usize> {
        self.shape_of(&self.name(leaf))
    }

    /// A side of a tensor; one of fewer has it as 1.
    pub(super) fn dim(&self, leaf: &str, axis: usize) -> usize {
        self.shape(leaf).get(axis).copied().unwrap_or(1)
    }

    /// How many numbers from 0 on a tensor name is there with.
    pub(super) fn count(&self, leaf: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.has(&leaf(i))).take(4096).count()
    }

    /// A layer with a bias.
    pub(super) fn biased(&self, leaf: &str) -> Projection {
        Projection::biased(&self.name(leaf))
    }

    /// A layer without a bias unless one is there.
    pub(super) fn layer(&self, leaf: &str) -> Projection {
        if self.has(&format!("{leaf}.bias")) { self.biased(leaf) } else { self.plain(leaf) }
    }

    /// A layer without a bias.
    pub(super) fn plain(&self, leaf: &str) -> Projection {
        Projection::plain(&self.name(leaf))
    }

    /// Projections of queries, keys and values of an `nn.MultiheadAttention`, whose one tensor has all three.
    pub(super) fn packed(&self, leaf: &str, width: usize, head: usize) -> [Projection; 3] {
        let weight = self.name(&format!("{leaf}.in_proj_weight"));
        let bias = Some(self.name(&format!("{leaf}.in_proj_bias")));
        Projection { weight, bias, ..Projection::plain("") }.split(width, head)
    }

    /// A LayerNorm.
    pub(super) fn norm(&self, leaf: &str, eps: f32) -> Norm {
        Norm::layer(&self.name(leaf), eps)
    }

    /// A LayerNorm that may have no bias.
    pub(super) fn norm_as_stored(&self, leaf: &str, eps: f32) -> Norm {
        let mut norm = self.norm(leaf, eps);
        if !self.has(&format!("{leaf}.bias")) {
            norm.bias = None;
        }
        norm
    }

    /// A norm that may not be there.
    pub(super) fn norm_if(&self, leaf: &str, eps: f32) -> Option<Norm> {
        self.has(&format!("{leaf}.weight")).then(|| self.norm(leaf, eps))
    }

    /// A setting: a path of keys with dots.
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self.config, |value, key| value.get(key)).filter(|v| !v.is_null())
    }

    fn bad<T>(&self, path: &str, what: String, hint: &str) -> Result<T> {
        let shown: String = what.chars().take(200).collect();
        Err(Error::config(self.origin, path, shown, hint))
    }

    /// A count; `usual` where the configuration does not have it.
    pub(super) fn size(&self, path: &str, usual: usize) -> Result<usize> {
        let Some(value) = self.value(path) else { return Ok(usual) };
        match value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..1 << 20).contains(n))
        {
            Some(n) => Ok(n),
            None => self.bad(path, format!("is {value}"), "give a whole number from 1 to 1048575"),
        }
    }

    /// A number.
    pub(super) fn number(&self, path: &str, usual: f32) -> Result<f32> {
        let Some(value) = self.value(path) else { return Ok(usual) };
        match value.as_f64().filter(|x| x.is_finite()) {
            Some(x) => Ok(x as f32),
            None => self.bad(path, format!("is {value}"), "give a number"),
        }
    }

    /// A switch.
    pub(super) fn switch(&self, path: &str, usual: bool) -> Result<bool> {
        let Some(value) = self.value(path) else { return Ok(usual) };
        match value.as_bool() {
            Some(x) => Ok(x),
            None => self.bad(path, format!("is {value}"), "give true or false"),
        }
    }

    /// An activation by Hugging Face's or PyTorch's name.
    pub(super) fn activation(&self, path: &str, usual: Activation) -> Result<Activation> {
        let Some(value) = self.value(path) else { return Ok(usual) };
        match value.as_str() {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::GeluErf),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            _ => {
                self.bad(path, format!("is {value}"), "silu, gelu, gelu_new and relu are possible")
            }
        }
    }

    /// Heads, which must divide the channels of all together: their number and the channels of one.
    pub(super) fn heads(&self, path: &str, usual: usize, channels: usize) -> Result<[usize; 2]> {
        let heads = self.size(path, usual.max(1))?;
        if !channels.is_multiple_of(heads) && self.missing.borrow().is_empty() {
            let what = format!("is {heads} for {channels} channels");
            return self.bad(path, what, "the heads must divide the channels: give their number");
        }
        Ok([heads, (channels / heads).max(1)])
    }
}
