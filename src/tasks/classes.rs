//! From a classifier's scores to its best classes.
//!
//! Probabilities are what Hugging Face's pipelines give: softmax over the classes, or the logistic
//! function of each score where there is one class or where several may hold at once. They are
//! computed in `f64`. Invariant: classes are ordered by score, equal ones by number.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::perceiver::{PerceiverConfig, ProblemType};
use crate::tensor::NamedTensors;

/// A class and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScore {
    /// Its number in the configuration's `id2label`.
    pub index: usize,
    /// Its name there.
    pub label: String,
    /// The network's score.
    pub logit: f32,
    /// Its probability; `None` for a model of a quantity (`problem_type` "regression"), whose score
    /// is the quantity itself.
    pub probability: Option<f64>,
}

/// The `top` best classes of every item of a run's `logits` `[items, classes]`, best first.
pub(super) fn classes_of(
    config: &PerceiverConfig,
    outputs: &NamedTensors,
    items: usize,
    top: usize,
) -> Result<Vec<Vec<ClassScore>>> {
    let classes = config.labels.len();
    let logits = super::output_f32(outputs, "logits", &[items, classes])?;
    logits.chunks_exact(classes).map(|logits| top_classes(config, logits, top)).collect()
}

/// The `top` best classes of one item, best first; `logits` has one score for each class of the
/// configuration.
///
/// # Errors
/// [`Error::Input`] when there are not as many scores as classes, or one is not finite.
pub(super) fn top_classes(
    config: &PerceiverConfig,
    logits: &[f32],
    top: usize,
) -> Result<Vec<ClassScore>> {
    let (scores, classes) = (logits.len(), config.labels.len());
    if scores != classes {
        let expected = format!("one for each of the configuration's {classes} classes");
        return Err(Error::input("logits", format!("{scores} scores"), expected));
    }
    super::finite("logits", logits, |class| format!("for class {class}"))?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let share = |x: f32| (f64::from(x) - f64::from(largest)).exp();
    let sum: f64 = logits.iter().map(|&x| share(x)).sum();
    let logistic = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
    let probability = |x: f32| match config.problem_type {
        Some(ProblemType::Regression) => None,
        Some(ProblemType::MultiLabel) => Some(logistic(x)),
        // Of one class alone softmax would always be certain.
        _ if config.labels.len() == 1 => Some(logistic(x)),
        _ => Some(share(x) / sum),
    };
    // By score: probabilities far from the best round to equal numbers. The sort is stable.
    let mut order: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = order.into_iter().take(top).map(|(index, logit)| ClassScore {
        index,
        label: config.labels[index].clone(),
        logit,
        probability: probability(logit),
    });
    Ok(best.collect())
}

#[cfg(test)]
#[path = "../../tests/unit/tasks_classes.rs"]
mod tests;
