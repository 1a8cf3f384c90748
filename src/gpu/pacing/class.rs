//! What is known of how long the dispatches of a class take.

use super::{FILL, Part, SLACK, SMALL};

/// Dispatches of one op with one variant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    /// Measured over cautious time.
    pub(super) factor: f64,
    pub(super) measured: bool,
    /// Measured alone, for long enough that the time says more than that a device had to wake up.
    pub(super) certain: bool,
    /// It was much slower than feared when it ran first, as it is where a driver finishes compiling
    /// then; so it is measured again before that is believed.
    doubtful: bool,
    line: Line,
    /// The smallest part that was too long: cautious and measured seconds.
    too_long: [f64; 2],
    /// Parts in a row of one workgroup, or two, of which twice as many may be too long.
    stuck: u32,
}

impl Class {
    /// A class with what earlier sessions measured.
    pub(super) fn new(factor: Option<f64>) -> Self {
        Class {
            factor: factor.unwrap_or(1.0),
            measured: false,
            certain: false,
            doubtful: false,
            line: Line::default(),
            too_long: [f64::INFINITY; 2],
            stuck: 0,
        }
    }

    /// Seconds that a part of a cut dispatch is to take. Smaller parts are not worth it where they take
    /// hardly less, because a submission costs that by itself or the workgroups run side by side.
    pub(super) fn target(&self, budget: f64) -> f64 {
        let least = self.line.least;
        let most = budget / SLACK;
        let worth = match least > most {
            true => 1.25 * least,
            false => (least / Line::MOST).min(most),
        };
        worth.max(FILL * budget)
    }

    /// The fewest workgroups of the next part: one, but now and then, and ever more rarely, two, since
    /// only that tells whether two take longer. Twice in a row, because the first may have to end where
    /// parts of two do.
    pub(super) fn fewest(&self) -> u64 {
        let due = self.stuck >= 14
            && ((self.stuck + 1).is_power_of_two() || (self.stuck + 2).is_power_of_two());
        if due { 2 } else { 1 }
    }

    /// Takes into account how long a submission of this class alone ran.
    pub(super) fn learn(&mut self, parts: &[Part], predicted: f64, seconds: f64, budget: f64) {
        let part = match parts {
            [part] if !part.whole => {
                let stuck = part.groups <= 2 && 2.0 * seconds > FILL * budget;
                self.stuck = if stuck { self.stuck + 1 } else { 0 };
                Some(part.cautious)
            }
            _ => None,
        };
        let ratio = (seconds / predicted).clamp(1e-9, 1e9);
        let small = seconds < SMALL * budget;
        // Time includes waking up, so the estimate is on the safe side; where it is nothing but waking
        // up it must not make the class look slower than it is feared to be.
        if !self.measured && ratio > 4.0 && !small && !self.doubtful {
            self.doubtful = true;
            return;
        }
        // The last part of a dispatch is shorter than the others and may take as long all the same. So
        // a part shows that the class is slower only by taking longer than any part should.
        let mut excess = ratio;
        if let Some(cautious) = part {
            self.line.add(cautious, seconds);
            let target = self.target(budget);
            excess = seconds / predicted.max(target);
            let limit = budget.max(1.1 * target);
            // What was too long once need not be for ever. That n times as much takes at most n times
            // as long is certain.
            let fine = cautious * (limit / seconds).floor();
            let [x, y] = self.too_long;
            self.too_long = match seconds > limit {
                true if cautious < x || y <= limit => [cautious, seconds],
                false if fine > x || y <= limit => [f64::INFINITY; 2],
                _ => [1.002 * x, y],
            };
        }
        if !self.measured && (!small || ratio < 1.0) {
            self.factor *= ratio;
        } else if excess > SLACK && !small {
            self.factor *= excess.min(4.0);
        } else if ratio < 0.6 {
            // From less than this, twice as long is within the budget, if one workgroup more means
            // that all run in two turns.
            self.factor *= (1.0 + ratio) / 2.0;
        } else if part.is_some() {
            // A little larger where there is room, or more where that takes hardly longer.
            let target = self.target(budget);
            let step = match self.line.least > 0.5 * seconds {
                true => 0.9,
                false if ratio < 0.9 => 0.95,
                false => 1.0,
            };
            if target / (step * self.factor) < 0.8 * self.too_long[0] {
                self.factor *= step;
            }
        }
        self.factor = self.factor.clamp(1e-9, 1e9);
        self.certain |= !small;
        // A short time that is longer than feared may be waking up, or be what longer ones do too.
        self.measured |= !small || ratio < 1.0;
    }
}

/// A line through the latest measurements of parts, the older the less: seconds over size.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    last: [f64; 2],
    /// Seconds that a part takes however small it is, as far as is known.
    least: f64,
}

impl Line {
    /// The most of a time that is put down to what a part takes however small it is.
    const MOST: f64 = 0.9;

    fn add(&mut self, x: f64, y: f64) {
        // What is n times as large takes n times as long at most, and no less. Where that does not hold,
        // give or take a half, the device's load has changed, and what was measured before is void.
        let [x_last, y_last] = self.last;
        let at_most = |x: f64, [x0, y0]: [f64; 2]| 1.5 * y0 * (x / x0).ceil();
        if y > at_most(x, [x_last, y_last]) || y_last > at_most(x_last, [x, y]) {
            *self = Line::default();
        }
        self.last = [x, y];
        let new = [1.0, x, y, x * x, x * y];
        let sums = [&mut self.weight, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy];
        for (sum, new) in sums.into_iter().zip(new) {
            *sum = 0.85 * *sum + new;
        }
        let [x_mean, y_mean] = [self.x, self.y].map(|sum| sum / self.weight);
        let variance = self.xx / self.weight - x_mean * x_mean;
        if variance > 0.02 * x_mean * x_mean {
            let slope = (self.xy / self.weight - x_mean * y_mean) / variance;
            if slope * x_mean < -0.25 * y_mean {
                // No device takes longer for less.
                *self = Line { last: self.last, ..Line::default() };
                return;
            }
            self.least = (y_mean - slope * x_mean).clamp(0.0, Self::MOST * y_mean);
        } else {
            // Parts of one size tell nothing. What was known is doubted more and more, so that sizes
            // change, and it is seen whether smaller parts take less.
            self.least *= 0.98;
        }
    }
}
