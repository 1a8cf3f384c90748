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

/// The columns of `--csv`; the first says what was classified.
pub(crate) fn csv_heading(what: &str) -> [String; 6] {
    [what, "rank", "class", "label", "logit", "probability"].map(str::to_owned)
}

/// The lines of `--csv` of something that was classified.
pub(crate) fn csv_rows(what: &str, classes: &[ClassScore]) -> impl Iterator<Item = [String; 6]> {
    classes.iter().enumerate().map(move |(rank, class)| {
        [
            what.to_owned(),
            (rank + 1).to_string(),
            class.index.to_string(),
            class.label.clone(),
            class.logit.to_string(),
            class.probability.map_or_else(String::new, |p| p.to_string()),
        ]
    })
}

/// A number of candidates or classes to print.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("give a whole number from 1 on".to_owned()),
    }
}
