//! Parts of blueprints that are lists of arrays: from an array that is given on, or up to one.

use std::collections::BTreeSet;

use super::{ArrayOutput, Blueprint, Content, Make, Modality};
use crate::error::{Error, Result};
use crate::perceiver::arrays;
use crate::perceiver::chunks::LATENTS;

impl Make {
    /// Names of arrays and inputs that it is made of.
    fn reads(&self) -> Vec<&str> {
        match self {
            Make::Learned { .. } | Make::Filled { .. } => Vec::new(),
            Make::Spread { by, .. } => vec![by],
            Make::Slice { of, .. } | Make::Count(of) => vec![of],
            Make::Resized { of, .. } | Make::Norm { of, .. } | Make::Waves { of, .. } => vec![of],
            Make::Split { of, by } | Make::Unite { of, by } => vec![of, by],
            Make::Sum(of) | Make::Product { of, .. } => of.iter().map(String::as_str).collect(),
            Make::Linear(step) => {
                [&step.of].into_iter().chain(&step.residual).map(|s| &**s).collect()
            }
            Make::Mlp(step) => vec![&step.of],
            Make::Mean { of, mask } => [of].into_iter().chain(mask).map(|s| &**s).collect(),
            Make::Attention(step) => {
                let sets = step.keys.iter().flat_map(|set| {
                    let others = [&set.values, &set.mask, &set.angles];
                    [&set.rows].into_iter().chain(others.into_iter().flatten())
                });
                let angles = step.rotary.as_ref().map(|rotary| &rotary.queries);
                let own = [Some(&step.queries), step.residual.as_ref(), angles];
                let own = own.into_iter().flatten();
                own.chain(sets).map(|s| &**s).collect()
            }
        }
    }
}

impl Blueprint {
    /// What is made of an array that the user gives, as an input of its name.
    ///
    /// # Errors
    /// [`Error::Input`] where there is no such array, or the model is no list of arrays.
    pub fn starting_at(&self, array: &str) -> Result<Blueprint> {
        let at = self.place(array)?;
        let extent = arrays::extent(self, array)?;
        let mut given = Modality::given(array, extent.rows.max(1), extent.cols).varies();
        if let Content::Given { input, .. } = &mut given.content {
            array.clone_into(input);
        }
        let mut part = self.clone();
        part.arrays.remove(at);
        part.inputs.push(given);
        part.prune();
        Ok(part)
    }

    /// What an array is made of, and the array as the one output.
    ///
    /// # Errors
    /// As [`Blueprint::starting_at`].
    pub fn ending_at(&self, array: &str) -> Result<Blueprint> {
        self.place(array)?;
        let mut part = self.clone();
        let output = |name: &str| ArrayOutput {
            name: name.to_owned(),
            array: array.to_owned(),
            intermediate: false,
        };
        for output in &mut part.outputs {
            output.intermediate = true;
        }
        part.outputs.retain(|o| o.name != array);
        part.outputs.push(output(array));
        part.prune();
        Ok(part)
    }

    /// The array that holds the latents: the one named `last_latents`, or the first result; none where the blueprint is no
    /// list of arrays.
    #[doc(hidden)]
    #[must_use]
    pub fn latents_array(&self) -> Option<&str> {
        let named = self.arrays.iter().map(|step| step.name.as_str()).find(|n| *n == LATENTS);
        let result = || self.outputs.iter().find(|o| !o.intermediate).map(|o| o.array.as_str());
        named.or_else(result)
    }

    fn place(&self, array: &str) -> Result<usize> {
        let at = self.arrays.iter().position(|step| step.name == array);
        at.ok_or_else(|| {
            let shown: String = array.chars().take(80).collect();
            let what = format!("has no array {shown:?}");
            Error::input("model", what, "the name of an array of its blueprint")
        })
    }

    /// Drops what no result needs, and intermediate outputs of it.
    fn prune(&mut self) {
        let results = self.outputs.iter().filter(|o| !o.intermediate);
        let mut needed: BTreeSet<String> = results.map(|o| o.array.clone()).collect();
        for step in self.arrays.iter().rev() {
            if needed.contains(&step.name) {
                needed.extend(step.make.reads().into_iter().map(str::to_owned));
            }
        }
        self.arrays.retain(|step| needed.contains(&step.name));
        self.inputs.retain(|rows| needed.contains(&rows.name));
        self.outputs.retain(|o| needed.contains(&o.array));
    }
}
