//! How classes are shown.

use perceiver::tasks::ClassScore;

/// The columns of [`cells`].
pub(crate) const HEADING: [&str; 3] = ["class", "label", "probability"];

/// The cells of a class: its number, its name, and its probability, or the score where it has none.
pub(crate) fn cells(class: &ClassScore) -> [String; 3] {
    let share = match class.probability {
        Some(p) => format!("{:.2} %", 100.0 * p),
        None => format!("score {:.4}", class.logit),
    };
    [class.index.to_string(), class.label.clone(), share]
}

/// A number of candidates or classes to print.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("give a whole number from 1 on".to_owned()),
    }
}
