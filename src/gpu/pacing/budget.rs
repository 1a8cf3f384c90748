//! The longest that one submission may keep a GPU busy.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;

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
            None => {
                let expected = "a time from 1ms to 3600s, such as 100ms or 2s, or `unlimited`";
                Err(Error::input("submission budget", format!("is `{text}`"), expected))
            }
        }
    }
}
