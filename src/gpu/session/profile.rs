//! A run with a clock on every dispatch.

use web_time::Instant;

use super::super::clock::{Clock, PASSES};
use super::super::pacing::{Part, Position};
use super::GpuExecutor;
use crate::error::Result;
use crate::graph::{Span, Spans};

impl GpuExecutor {
    /// Runs the steps on what inputs are on the device, each dispatch in a pass of its own.
    pub(super) fn timed(&mut self) -> Result<Spans> {
        self.device.alive()?;
        let clock = Clock::new(&self.device)?;
        let budget = self.device.submission_budget();
        let mut spans = Spans { timestamps: clock.is_some(), ..Spans::default() };
        let begin = Instant::now();
        let now = || begin.elapsed().as_secs_f64();
        // Device time minus host time.
        let mut offset = None;
        let mut at = Position::at(self.plan.once());
        let end = self.steps.len();
        loop {
            let mut parts: Vec<Part> = Vec::new();
            let works = &self.works;
            self.pacer.next(works, &mut at, end, budget, &mut parts);
            if parts.is_empty() {
                return Ok(spans);
            }
            // Without timestamps a submission is one dispatch, so that the host's clock can tell.
            let most = clock.as_ref().map_or(1, |_| PASSES as usize);
            for parts in parts.chunks(most) {
                let start = now();
                let device = self.device.clone();
                let mut commands = device.encoder("profile")?;
                device.scoped("profile", 0, || {
                    for (i, part) in parts.iter().enumerate() {
                        let descriptor = wgpu::ComputePassDescriptor {
                            label: None,
                            timestamp_writes: clock.as_ref().map(|c| c.writes(i as u32)),
                        };
                        let mut pass = commands.begin_compute_pass(&descriptor);
                        self.record_part(part, &mut pass);
                    }
                })?;
                let passes = parts.len() as u32;
                if let Some(clock) = &clock {
                    clock.resolve(passes, &mut commands);
                }
                let submit = now();
                let submission =
                    self.device.scoped("profile", 0, || self.device.submit(commands))?;
                let submitted = now();
                submission.wait(&self.device)?;
                let done = now();
                spans.host.push(("record", start, submit - start));
                spans.host.push(("submit", submit, submitted - submit));
                spans.host.push(("wait", submitted, done - submitted));
                let times = match &clock {
                    Some(clock) => clock.read(passes, &self.device)?,
                    None => vec![[submitted, done]],
                };
                let first = times.first().map_or(0.0, |t| t[0]);
                let offset =
                    *offset.get_or_insert(if clock.is_some() { first - submitted } else { 0.0 });
                for (part, [from, to]) in parts.iter().zip(times) {
                    spans.device.push(Span {
                        node: part.step,
                        start: from - offset,
                        seconds: (to - from).max(0.0),
                    });
                }
            }
        }
    }
}
