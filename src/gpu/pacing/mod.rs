//! How much work goes into one submission, so that none runs longer than a budget.
//!
//! A submission that runs too long freezes a desktop and, after some seconds, makes the driver reset
//! the device. So every dispatch has a predicted time: what its operations and bytes take at a rate
//! that a weak device of the kind reaches, times a factor per class of dispatches (one op with one
//! variant) that is learned from submissions as they complete (`class`). A class that has not been
//! measured runs alone at first, a quarter of the budget at most by the cautious rate; later ones are
//! packed up to four fifths of the budget. A dispatch that would exceed it alone is cut into parts,
//! ranges of workgroups, which compute the same bits as the whole; a single workgroup is the least.
//! A part has a submission to itself, so that its time is its own.
//!
//! This module is arithmetic: it knows no device and no clock, so its promises are tested without
//! either.

mod budget;
mod class;
#[cfg(test)]
#[path = "../../../tests/unit/gpu_pacing.rs"]
mod tests;
mod work;

use serde::Serialize;

use class::Class;

pub use budget::SubmissionBudget;
pub(super) use work::{Classes, Work};

/// Share of the budget that predictions fill.
const FILL: f64 = 0.8;
/// How many times the prediction a submission may take before the prediction is raised.
const SLACK: f64 = 1.15;
/// Share of the budget that a class gets before it has been measured.
const PROBE: f64 = 0.25;
/// Share of the budget below which a dispatch needs no measurement, and a measured time says little,
/// since waking up a device takes time too.
const SMALL: f64 = 0.05;

/// Most bytes of copies in one submission: what crosses a slow bus in a quarter of the budget.
pub(super) fn copy_bytes(budget: SubmissionBudget) -> u64 {
    match budget.seconds() {
        Some(seconds) => ((seconds * PROBE * 2e9) as u64 / 16 * 16).max(1 << 16),
        None => u64::MAX,
    }
}

/// Workgroups of one dispatch that go into a submission.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) step: usize,
    pub(super) first: u64,
    pub(super) groups: u64,
    /// Whether these are all workgroups of the dispatch.
    whole: bool,
    class: usize,
    /// Seconds at the cautious rate.
    cautious: f64,
    /// Seconds that were predicted when it was submitted.
    pub(super) predicted: f64,
}

impl Part {
    /// Workgroups in x and y. Those beyond the end are beyond that of the dispatch, too, where kernels
    /// do nothing.
    pub(super) fn grid(&self, work: &Work) -> [u32; 2] {
        if self.groups <= work.groups_x {
            [self.groups as u32, 1]
        } else {
            [work.groups_x as u32, self.groups.div_ceil(work.groups_x) as u32]
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) step: usize,
    group: u64,
}

impl Position {
    pub(super) fn at(step: usize) -> Self {
        Position { step, group: 0 }
    }

    /// Goes past the next `groups` workgroups, which take `each` seconds each, and gives them as a
    /// part; none if there are none.
    fn take(&mut self, work: &Work, groups: u64, each: f64) -> Option<Part> {
        let part = Part {
            step: self.step,
            first: self.group,
            groups,
            whole: groups == work.groups,
            class: work.class,
            cautious: groups as f64 * work.cautious / work.groups.max(1) as f64,
            predicted: groups as f64 * each,
        };
        self.group += groups;
        if self.group >= work.groups {
            *self = Position::at(self.step + 1);
        }
        (groups > 0).then_some(part)
    }
}

/// Packs dispatches into submissions and learns how long they take.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    classes: Vec<Class>,
    /// A submission of several classes was much slower than predicted, as it is where a driver finishes
    /// compiling; a second one is believed.
    doubtful: bool,
    /// Parts that are larger are multiples of so many workgroups, which run side by side.
    grain: u64,
}

impl Pacer {
    /// A pacer for a device on which `grain` workgroups run side by side, with what is known of each
    /// class from earlier sessions.
    pub(super) fn new(grain: u64, factors: impl IntoIterator<Item = Option<f64>>) -> Self {
        let classes = factors.into_iter().map(Class::new).collect();
        Pacer { classes, doubtful: false, grain: grain.max(1) }
    }

    /// As if everything had been measured and the cautious rates were right.
    pub(super) fn trust(mut self) -> Self {
        for class in &mut self.classes {
            class.measured = true;
        }
        self
    }

    /// Measured over cautious time of a class, if it has been measured.
    pub(super) fn factor(&self, class: usize) -> Option<f64> {
        let class = &self.classes[class];
        class.measured.then_some(class.factor)
    }

    /// The parts of the next submission; none when `end` has been reached. True if what it takes must
    /// be known before the one after it is made.
    pub(super) fn next(
        &self,
        works: &[Work],
        at: &mut Position,
        end: usize,
        budget: SubmissionBudget,
        parts: &mut Vec<Part>,
    ) -> bool {
        parts.clear();
        let mut total = 0.0;
        while at.step < end {
            let work = &works[at.step];
            let class = &self.classes[work.class];
            let each = class.factor * work.cautious / work.groups.max(1) as f64;
            let left = work.groups - at.group;
            let whole = left as f64 * each;
            let Some(budget) = budget.seconds() else {
                parts.extend(at.take(work, left, each));
                continue;
            };
            let probe = !class.measured && whole > SMALL * budget;
            // What has not been measured may take twice as long.
            let expected = if class.measured { whole } else { 2.0 * whole };
            let fits = at.group == 0 && total + expected <= FILL * budget;
            if !probe && fits {
                total += expected;
                parts.extend(at.take(work, left, each));
                continue;
            }
            if !parts.is_empty() {
                break;
            }
            let groups = if probe {
                self.size((PROBE * budget / each) as u64, work).min(left)
            } else {
                self.cut(work, at.group, each, class, budget)
            };
            parts.extend(at.take(work, groups, each));
            return probe;
        }
        false
    }

    /// Workgroups of the part that begins at `first` of a dispatch that does not fit. Parts are equal
    /// and of few sizes, so that later runs cut at the same places.
    fn cut(&self, work: &Work, first: u64, each: f64, class: &Class, budget: f64) -> u64 {
        let target = class.target(budget);
        let pieces = (work.groups as f64 * each / target).ceil() as u64;
        let even = work.groups.div_ceil(steps_of(pieces.min(work.groups)));
        // Of few workgroups each, rounding up may add half as much again.
        let most = ((target / each) as u64).max(class.fewest());
        let size = self.size(even.min(most).max(class.fewest()), work);
        let to = (first / size + 1) * size;
        if to < work.groups {
            self.size(to - first, work).min(to - first)
        } else {
            work.groups - first
        }
    }

    /// The next smaller size of parts that a dispatch can have, one workgroup at least: whole rows, and
    /// as many as run side by side or a multiple, unless less than that is asked for.
    fn size(&self, groups: u64, work: &Work) -> u64 {
        let groups = match groups / self.grain {
            0 => groups.max(1),
            times => times * self.grain,
        };
        if groups > work.groups_x { groups / work.groups_x * work.groups_x } else { groups }
    }

    /// Seconds that parts are predicted to take by what is known now.
    pub(super) fn predicted(&self, parts: &[Part]) -> f64 {
        parts.iter().map(|p| self.classes[p.class].factor * p.cautious).sum()
    }

    /// Takes into account how long a submission ran.
    pub(super) fn learn(&mut self, parts: &[Part], seconds: f64, budget: SubmissionBudget) {
        let Some(budget) = budget.seconds() else {
            return;
        };
        // As it would be predicted by now: while this ran, what ran before may have changed that.
        let now = |p: &Part| self.classes[p.class].factor * p.cautious;
        let predicted = self.predicted(parts);
        if predicted <= 0.0 || !seconds.is_finite() {
            return;
        }
        if parts.iter().all(|p| p.class == parts[0].class) {
            self.classes[parts[0].class].learn(parts, predicted, seconds, budget);
            return;
        }
        let ratio = seconds / predicted;
        let small = seconds < SMALL * budget;
        let step = if ratio > SLACK && !small {
            let believed = seconds > budget && self.doubtful;
            self.doubtful = seconds > budget;
            if believed { ratio - 1.0 } else { ratio.min(4.0) - 1.0 }
        } else if ratio < 0.7 {
            (ratio - 1.0) / 2.0
        } else {
            return;
        };
        // Each class answers for its share, but one that is known from measurements of its own is not
        // taken to be faster because others are.
        let mut shares = vec![0.0; self.classes.len()];
        for part in parts {
            shares[part.class] += now(part) / predicted;
        }
        for (class, share) in self.classes.iter_mut().zip(shares) {
            if step > 0.0 || !class.certain {
                class.factor = (class.factor * (1.0 + share * step)).clamp(1e-9, 1e9);
            }
        }
    }
}

/// The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 and so on.
fn steps_of(n: u64) -> u64 {
    let power = n.max(1).next_power_of_two();
    if power >= 4 && n <= power / 4 * 3 { power / 4 * 3 } else { power }
}

/// Workgroups of one dispatch that were in a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// Index of the node.
    pub node: usize,
    /// The first of these workgroups.
    pub first_workgroup: u64,
    /// How many there are.
    pub workgroups: u64,
    /// Workgroups of the whole dispatch.
    pub of: u64,
}

/// One submission of the last run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Submission {
    /// Index of the first node that it has a part of.
    pub first_node: usize,
    /// Dispatches, parts of cut ones included.
    pub dispatches: usize,
    /// Seconds from when the device could begin to when it was done, as the host saw it.
    pub seconds: f64,
    /// Seconds that were predicted.
    pub predicted_seconds: f64,
}

impl Submission {
    pub(super) fn new(parts: &[Part], seconds: f64) -> Self {
        Submission {
            first_node: parts.first().map_or(0, |p| p.step),
            dispatches: parts.len(),
            seconds,
            predicted_seconds: parts.iter().map(|p| p.predicted).sum(),
        }
    }
}
