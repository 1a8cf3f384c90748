//! How much work goes into one submission, so that none runs longer than a budget.
//!
//! A submission that runs too long freezes a desktop and, after some seconds, makes the driver reset
//! the device. So every dispatch has a predicted time: what its operations and bytes take at a rate
//! that a weak device of the kind reaches, times a factor per class of dispatches (one op with one
//! variant) that is learned from submissions as they complete. A class that has not been measured
//! runs alone at first, a quarter of the budget at most by the cautious rate; later ones are packed
//! up to four fifths of the budget. A dispatch that would exceed it alone is cut into parts, ranges of
//! workgroups, which compute the same bits as the whole.
//!
//! This module is arithmetic: it knows no device and no clock, so its promises are tested without
//! either.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::adapter::AdapterKind;
use crate::error::Error;
use crate::kernels::Op;
use crate::kernels::{Launch, Variant};

/// The longest that one submission may keep a GPU busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SubmissionBudget {
    /// About this long; less than a tenth of a millisecond is not kept.
    Bounded(Duration),
    /// A whole run is one submission: for machines without a desktop and without a watchdog.
    Unlimited,
}

impl Default for SubmissionBudget {
    /// 100 ms: a desktop stays usable, and watchdogs bite after some seconds.
    fn default() -> Self {
        SubmissionBudget::Bounded(Duration::from_millis(100))
    }
}

impl SubmissionBudget {
    /// Seconds; `None` without a bound.
    pub(super) fn seconds(self) -> Option<f64> {
        match self {
            SubmissionBudget::Bounded(time) => Some(time.as_secs_f64().max(1e-4)),
            SubmissionBudget::Unlimited => None,
        }
    }
}

impl FromStr for SubmissionBudget {
    type Err = Error;

    /// "100ms", "0.5s" or "unlimited".
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_lowercase();
        if text == "unlimited" {
            return Ok(SubmissionBudget::Unlimited);
        }
        let (number, unit) = match text.strip_suffix("ms") {
            Some(number) => (number, 1e-3),
            None => (text.strip_suffix('s').unwrap_or(""), 1.0),
        };
        let seconds = number.trim().parse::<f64>().ok().map(|n| n * unit);
        match seconds.filter(|s| (1e-3..=3600.0).contains(s)) {
            Some(seconds) => Ok(SubmissionBudget::Bounded(Duration::from_secs_f64(seconds))),
            None => Err(Error::input(
                "submission budget",
                format!("is `{text}`"),
                "a time from 1ms to 3600s, such as 100ms or 2s, or `unlimited`",
            )),
        }
    }
}

/// Share of the budget that predictions fill.
const FILL: f64 = 0.8;
/// Share of the budget that a class gets before it has been measured.
const PROBE: f64 = 0.25;
/// Share of the budget below which a dispatch needs no measurement, and a measured time says little,
/// since waking up a device takes time too.
const SMALL: f64 = 0.05;

/// Cautious rates of a device: operations and bytes per second.
fn cautious(kind: AdapterKind) -> (f64, f64) {
    match kind {
        AdapterKind::Discrete | AdapterKind::Virtual => (5e11, 5e10),
        AdapterKind::Integrated | AdapterKind::Other => (5e10, 5e9),
        AdapterKind::Software => (4e9, 1e9),
    }
}

/// Seconds that an op takes at the cautious rate. Exponentials and look-ups of attention count too,
/// which the paper's operations leave out.
fn cautious_seconds(op: &Op, kind: AdapterKind) -> f64 {
    let (flops, bytes) = cautious(kind);
    let cost = op.cost();
    let pairs = match op {
        Op::Attention(a) => (a.batch * a.heads * a.queries) as f64 * a.keys as f64,
        Op::FactoredAttention(a) => (a.batch * a.queries) as f64 * a.keys as f64,
        _ => 0.0,
    };
    (cost.flops as f64 + 20.0 * pairs) / flops + cost.bytes as f64 / bytes
}

/// Most bytes of copies in one submission: what crosses a slow bus in a quarter of the budget.
pub(super) fn copy_bytes(budget: SubmissionBudget) -> u64 {
    match budget.seconds() {
        Some(seconds) => ((seconds * PROBE * 2e9) as u64 / 16 * 16).max(1 << 16),
        None => u64::MAX,
    }
}

/// A dispatch as the pacer sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Its class.
    pub(super) class: usize,
    /// Seconds at the cautious rate.
    pub(super) cautious: f64,
    /// Workgroups.
    pub(super) groups: u64,
    /// Workgroups of one row of the dispatch.
    pub(super) groups_x: u64,
}

impl Work {
    /// A launch of an op.
    pub(super) fn new(op: &Op, launch: &Launch, classes: &mut Classes, kind: AdapterKind) -> Self {
        let [x, y] = launch.workgroups.map(u64::from);
        Work {
            class: classes.of(op, &launch.variant),
            cautious: cautious_seconds(op, kind),
            groups: x * y,
            groups_x: x,
        }
    }
}

/// Dispatches of one op with one variant.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// Measured over cautious time.
    factor: f64,
    measured: bool,
    /// Measured alone, for long enough that the time says more than that a device had to wake up.
    certain: bool,
    /// It was much slower than feared when it ran first, as it is where a driver finishes compiling
    /// then; so it is measured again before that is believed.
    doubtful: bool,
}

/// Workgroups of one dispatch that go into a submission.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) step: usize,
    pub(super) first: u64,
    pub(super) groups: u64,
    class: usize,
    /// Predicted seconds.
    predicted: f64,
}

impl Part {
    /// Workgroups in x and y. Those beyond the end are beyond that of the dispatch, too, where kernels
    /// do nothing.
    pub(super) fn grid(&self, work: &Work) -> [u32; 2] {
        if self.groups <= work.groups_x {
            [self.groups as u32, 1]
        } else {
            [
                work.groups_x as u32,
                self.groups.div_ceil(work.groups_x) as u32,
            ]
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
}

/// Packs dispatches into submissions and learns how long they take.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    classes: Vec<Class>,
    /// Fewest workgroups of a part: what runs side by side takes no less time in smaller pieces.
    grain: u64,
}

impl Pacer {
    /// A pacer for a device on which `grain` workgroups run side by side, with what is known of each
    /// class from earlier sessions.
    pub(super) fn new(grain: u64, factors: impl IntoIterator<Item = Option<f64>>) -> Self {
        let class = |factor: Option<f64>| Class {
            factor: factor.unwrap_or(1.0),
            measured: false,
            certain: false,
            doubtful: false,
        };
        Pacer {
            classes: factors.into_iter().map(class).collect(),
            grain: grain.max(1),
        }
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
            let (step, work) = (at.step, works[at.step]);
            let class = self.classes[work.class];
            let each = class.factor * work.cautious / work.groups.max(1) as f64;
            let left = work.groups - at.group;
            let mut take = |at: &mut Position, groups: u64| {
                if groups > 0 {
                    parts.push(Part {
                        step,
                        first: at.group,
                        groups,
                        class: work.class,
                        predicted: groups as f64 * each,
                    });
                }
                at.group += groups;
                if at.group >= work.groups {
                    *at = Position::at(step + 1);
                }
            };
            let Some(budget) = budget.seconds() else {
                take(at, left);
                continue;
            };
            let whole = left as f64 * each;
            if !class.measured && whole > SMALL * budget {
                if total > 0.0 {
                    break;
                }
                let groups = self.whole_rows((PROBE * budget / each) as u64, &work);
                take(at, groups.min(left));
                return true;
            }
            // What has not been measured may take twice as long.
            let expected = if class.measured { whole } else { 2.0 * whole };
            if total + expected <= FILL * budget {
                total += expected;
                take(at, left);
                continue;
            }
            if total > 0.0 {
                break;
            }
            // Cut into parts that are equal and of few sizes, so that later runs cut at the same places.
            // Of few workgroups each, rounding up may add half as much again.
            let pieces = steps_of((work.groups as f64 * each / (FILL * budget)).ceil() as u64);
            let most = (FILL * budget / each) as u64;
            let size = self.whole_rows(work.groups.div_ceil(pieces).min(most), &work);
            let to = (at.group / size + 1) * size;
            let groups = match to < work.groups {
                true => self.whole_rows(to - at.group, &work).min(to - at.group),
                false => left,
            };
            total += groups as f64 * each;
            take(at, groups);
            if at.group > 0 {
                break;
            }
        }
        false
    }

    /// The next smaller size of parts that is worth it and that a dispatch can have.
    fn whole_rows(&self, groups: u64, work: &Work) -> u64 {
        let groups = (groups / self.grain * self.grain).max(self.grain);
        if groups > work.groups_x {
            groups / work.groups_x * work.groups_x
        } else {
            groups
        }
    }

    /// Takes into account how long a submission ran.
    pub(super) fn learn(&mut self, parts: &[Part], seconds: f64, budget: SubmissionBudget) {
        let Some(budget) = budget.seconds() else {
            return;
        };
        let predicted: f64 = parts.iter().map(|p| p.predicted).sum();
        if predicted <= 0.0 || !seconds.is_finite() {
            return;
        }
        let ratio = seconds / predicted;
        let small = seconds < SMALL * budget;
        let class = &mut self.classes[parts[0].class];
        if parts.iter().all(|p| p.class == parts[0].class) {
            // Time includes waking up, so the estimate is on the safe side; where it is nothing but
            // waking up it must not make the class look slower than it is feared to be.
            if !class.measured && ratio > 4.0 && !small && !class.doubtful {
                class.doubtful = true;
                return;
            }
            if !class.measured && (!small || ratio < 1.0) {
                class.factor *= ratio;
            } else if ratio > 1.15 && !small {
                class.factor *= ratio.min(4.0);
            } else if ratio < 0.7 {
                class.factor *= (1.0 + ratio) / 2.0;
            }
            class.certain |= !small;
            // A short time that is longer than feared may be waking up, or be what longer ones do too.
            class.measured |= !small || ratio < 1.0;
            return;
        }
        let step = if ratio > 1.15 && !small {
            ratio.min(4.0) - 1.0
        } else if ratio < 0.7 {
            (ratio - 1.0) / 2.0
        } else {
            return;
        };
        // Each class answers for its share, but one that is known from measurements of its own is not
        // taken to be faster because others are.
        let mut shares = vec![0.0; self.classes.len()];
        for part in parts {
            shares[part.class] += part.predicted / predicted;
        }
        for (class, share) in self.classes.iter_mut().zip(shares) {
            if step > 0.0 || !class.certain {
                class.factor *= 1.0 + share * step;
            }
        }
    }
}

/// The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 and so on.
fn steps_of(n: u64) -> u64 {
    let power = n.max(1).next_power_of_two();
    if power >= 4 && n <= power / 4 * 3 {
        power / 4 * 3
    } else {
        power
    }
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

/// Classes of dispatches: one for each op with one variant.
#[derive(Default)]
pub(super) struct Classes(Vec<(Op, Variant)>);

impl Classes {
    /// The class of an op with a variant, a new one if it has none.
    pub(super) fn of(&mut self, op: &Op, variant: &Variant) -> usize {
        let known = self.0.iter().position(|(o, v)| o == op && v == variant);
        known.unwrap_or_else(|| {
            self.0.push((*op, *variant));
            self.0.len() - 1
        })
    }

    /// Their variants.
    pub(super) fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.0.iter().map(|(_, variant)| variant)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device that takes `slowness` times the cautious time, by class.
    fn simulate(
        works: &[Work],
        pacer: &mut Pacer,
        slowness: &[f64],
        budget: SubmissionBudget,
    ) -> Vec<(Vec<Part>, f64)> {
        let (mut at, mut parts, mut all) = (Position::at(0), Vec::new(), Vec::new());
        loop {
            pacer.next(works, &mut at, works.len(), budget, &mut parts);
            if parts.is_empty() {
                return all;
            }
            let seconds = parts
                .iter()
                .map(|p| {
                    let work = works[p.step];
                    slowness[p.class] * work.cautious * p.groups as f64 / work.groups as f64
                })
                .sum();
            pacer.learn(&parts, seconds, budget);
            all.push((parts.clone(), seconds));
        }
    }

    #[test]
    fn budgets_are_read() {
        let read = |text: &str| text.parse::<SubmissionBudget>();
        let ms = |n| SubmissionBudget::Bounded(Duration::from_millis(n));
        assert_eq!(read("100ms").ok(), Some(ms(100)));
        assert_eq!(read(" 0.5 s").ok(), Some(ms(500)));
        assert_eq!(read("Unlimited").ok(), Some(SubmissionBudget::Unlimited));
        for wrong in ["", "100", "-1s", "0ms", "nans", "infs", "2h", "99999s"] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains("such as 100ms"), "{error}");
        }
    }

    #[test]
    fn numbers_of_parts_are_few() {
        let steps: Vec<u64> = [1, 2, 3, 4, 5, 6, 7, 9, 13, 17].map(steps_of).to_vec();
        assert_eq!(steps, [1, 2, 3, 4, 6, 6, 8, 12, 16, 24]);
    }

    proptest! {
        /// Every workgroup once and in order; nothing above the budget that can be cut further, on a
        /// device that is up to twice as slow as feared or up to a thousand times as fast; and from
        /// the second run on nothing far above it at all.
        #[test]
        fn no_submission_exceeds_the_budget(
            times in prop::collection::vec((1e-5f64..3.0, 1u64..5000, 0usize..6), 1..20),
            speeds in prop::collection::vec(-3.0f64..0.3, 6),
            grain in 1u64..9,
        ) {
            let slowness: Vec<f64> = speeds.iter().map(|s| 10f64.powf(*s)).collect();
            let works: Vec<Work> = times
                .iter()
                .map(|&(cautious, groups, class)| Work { class, cautious, groups, groups_x: 1000 })
                .collect();
            let budget = SubmissionBudget::default();
            let mut pacer = Pacer::new(grain, [None; 6]);
            for _ in 0..3 {
                let run = simulate(&works, &mut pacer, &slowness, budget);
                let mut at = (0, 0);
                for (parts, seconds) in run {
                    for part in &parts {
                        prop_assert_eq!((part.step, part.first), at);
                        at.1 += part.groups;
                        let whole_rows = part.groups <= 1000 || part.groups.is_multiple_of(1000);
                        prop_assert!(whole_rows || at.1 == works[part.step].groups);
                        if at.1 >= works[part.step].groups {
                            at = (part.step + 1, 0);
                        }
                    }
                    // What runs side by side cannot be cut.
                    let least = parts.len() == 1 && parts[0].groups <= grain;
                    prop_assert!(seconds <= 0.1 || least, "{} s, {:?}", seconds, parts);
                }
                prop_assert_eq!(at, (works.len(), 0));
            }
        }
    }

    /// Four workgroups that take half a budget each are not two parts of a whole one.
    #[test]
    fn few_long_workgroups_run_one_by_one() {
        let work = Work {
            class: 0,
            cautious: 0.3,
            groups: 4,
            groups_x: 1000,
        };
        let mut pacer = Pacer::new(1, [None]);
        for _ in 0..3 {
            let run = simulate(&[work], &mut pacer, &[0.67], SubmissionBudget::default());
            for (parts, seconds) in run {
                assert!(seconds <= 0.1, "{seconds} s, {parts:?}");
            }
        }
    }

    /// A dispatch of a moment that took half as long again says nothing of a long one of its class.
    #[test]
    fn a_short_run_is_no_measurement() {
        let works = [(1e-5, 1), (0.14, 119)].map(|(cautious, groups)| Work {
            class: 0,
            cautious,
            groups,
            groups_x: 1000,
        });
        let mut pacer = Pacer::new(1, [None]);
        for _ in 0..3 {
            let run = simulate(&works, &mut pacer, &[1.5], SubmissionBudget::default());
            for (parts, seconds) in run {
                assert!(seconds <= 0.1, "{seconds} s, {parts:?}");
            }
        }
    }

    #[test]
    fn a_slower_device_is_noticed() {
        let works = [Work {
            class: 0,
            cautious: 1.0,
            groups: 1000,
            groups_x: 1000,
        }];
        let budget = SubmissionBudget::default();
        let mut pacer = Pacer::new(1, [None]);
        let longest = |run: Vec<(Vec<Part>, f64)>| run.iter().map(|r| r.1).fold(0.0, f64::max);
        assert!(longest(simulate(&works, &mut pacer, &[0.1], budget)) <= 0.1);
        // It is ten times slower from now on, a laptop on battery say.
        simulate(&works, &mut pacer, &[1.0], budget);
        assert!(longest(simulate(&works, &mut pacer, &[1.0], budget)) <= 0.1);
    }

    #[test]
    fn without_a_bound_a_run_is_one_submission() {
        let work = Work {
            class: 0,
            cautious: 9.0,
            groups: 10,
            groups_x: 10,
        };
        let run = simulate(
            &[work; 5],
            &mut Pacer::new(1, [None]),
            &[1.0],
            SubmissionBudget::Unlimited,
        );
        assert_eq!(run.len(), 1);
        assert_eq!(run[0].0.len(), 5);
    }
}
