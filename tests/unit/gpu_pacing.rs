//! The pacer against simulated devices: no claim here depends on a clock.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// A device of which each class takes some times the cautious time, plus a time per submission.
/// Workgroups run side by side, so many at a time; a turn takes as long with fewer of them.
struct Simulated {
    slowness: Vec<f64>,
    overhead: f64,
    width: u64,
}

impl Simulated {
    fn new(slowness: &[f64]) -> Self {
        Simulated { slowness: slowness.to_vec(), overhead: 0.0, width: 1 }
    }

    fn seconds_of(&self, work: &Work, groups: u64) -> f64 {
        let turns = |groups: u64| groups.div_ceil(self.width) as f64;
        self.slowness[work.class] * work.cautious * turns(groups) / turns(work.groups)
    }

    fn seconds(&self, works: &[Work], parts: &[Part]) -> f64 {
        let each = parts.iter().map(|p| self.seconds_of(&works[p.step], p.groups));
        self.overhead + each.sum::<f64>()
    }

    /// A run: what each submission had, and how long it took. `noise` is what the time of each is
    /// multiplied by.
    fn run_with(
        &self,
        works: &[Work],
        pacer: &mut Pacer,
        budget: SubmissionBudget,
        noise: &mut dyn FnMut() -> f64,
    ) -> Vec<(Vec<Part>, f64)> {
        let (mut at, mut all) = (Position::at(0), Vec::new());
        // As in a session: two are in flight, but for those whose time must be known first.
        let mut in_flight: Vec<Vec<Part>> = Vec::new();
        loop {
            let mut parts = Vec::new();
            let probe = pacer.next(works, &mut at, works.len(), budget, &mut parts);
            let last = parts.is_empty();
            in_flight.extend((!last).then_some(parts));
            let stay = usize::from(!probe && !last);
            while in_flight.len() > stay {
                let parts = in_flight.remove(0);
                let seconds = noise() * self.seconds(works, &parts);
                pacer.learn(&parts, seconds, budget);
                all.push((parts, seconds));
            }
            if last {
                return all;
            }
        }
    }

    fn run(&self, works: &[Work], pacer: &mut Pacer) -> Vec<(Vec<Part>, f64)> {
        self.run_with(works, pacer, SubmissionBudget::default(), &mut || 1.0)
    }
}

fn work(cautious: f64, groups: u64) -> Work {
    Work { class: 0, cautious, groups, groups_x: 1000 }
}

/// What submissions come to stay below: the budget, but where the least part takes about that by
/// itself, two turns of what runs side by side.
fn bound(budget: f64, least: f64) -> f64 {
    if least < 0.8 * budget { budget } else { 2.2 * least }
}

fn longest(run: &[(Vec<Part>, f64)]) -> f64 {
    run.iter().map(|r| r.1).fold(0.0, f64::max)
}

/// Every workgroup once and in order, whole rows at a time, and no more than one part that does not
/// begin at the first workgroup in a submission.
fn assert_complete(works: &[Work], run: &[(Vec<Part>, f64)]) {
    let mut at = (0, 0);
    for (parts, _) in run {
        assert!(parts.len() == 1 || parts.iter().all(|p| p.whole));
        for part in parts {
            assert_eq!((part.step, part.first), at);
            at.1 += part.groups;
            let work = &works[part.step];
            let whole_rows =
                part.groups <= work.groups_x || part.groups.is_multiple_of(work.groups_x);
            assert!(whole_rows || at.1 == work.groups);
            if at.1 >= work.groups {
                at = (part.step + 1, 0);
            }
        }
    }
    assert_eq!(at, (works.len(), 0));
}

#[test]
fn numbers_of_parts_are_few() {
    let steps: Vec<u64> = [1, 2, 3, 4, 5, 6, 7, 9, 13, 17].map(steps_of).to_vec();
    assert_eq!(steps, [1, 2, 3, 4, 6, 6, 8, 12, 16, 24]);
}

proptest! {
    // The same cases every time: what is claimed of noise and load is claimed of most of them.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(13), ..ProptestConfig::default() })]

    /// Nothing is above the budget but single workgroups (two now and then), from the first run on, on a device that is
    /// up to twice as slow as feared or up to a thousand times as fast.
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
        let device = Simulated::new(&slowness);
        let mut pacer = Pacer::new(grain, [None; 6]);
        for _ in 0..3 {
            let run = device.run(&works, &mut pacer);
            assert_complete(&works, &run);
            for (parts, seconds) in run {
                let least = match &parts[..] {
                    [part] if part.groups == 2 => seconds > 0.08,
                    [part] => part.groups == 1,
                    _ => false,
                };
                prop_assert!(seconds <= 0.1 || least, "{} s, {:?}", seconds, parts);
            }
        }
    }

    /// On a device of any speed, that runs any number of workgroups side by side and takes any time
    /// per submission, with a clock that errs, submissions come to be within the budget; or, where the
    /// least part takes about that by itself, not far above that. Nor is work cut far smaller than it
    /// must be, unless a single workgroup takes half a budget.
    #[test]
    fn any_device_is_paced(
        speed in -6.0f64..6.0,
        width in 0.0f64..5.0,
        groups in 0.0f64..5.0,
        overhead in -6.0f64..-0.5,
        cut in 0.3f64..2.0,
        grain in prop::sample::select(vec![1u64, 4, 64, 256]),
        noise in prop::sample::select(vec![0.0, 0.1]),
        seed in any::<u64>(),
    ) {
        let budget = 0.1;
        let slowness = 10f64.powf(speed);
        let groups = 10f64.powf(groups) as u64;
        let device = Simulated {
            slowness: vec![slowness],
            overhead: 10f64.powf(overhead),
            width: 10f64.powf(width) as u64,
        };
        // It takes some budgets in all.
        let works = [work(budget * 10f64.powf(cut) / slowness, groups)];
        let mut random = crate::random::Random::new(seed);
        let mut noise = || 1.0 + noise * (2.0 * random.unit_f64() - 1.0);
        let mut pacer = Pacer::new(grain, [None]);
        let least = device.overhead + device.seconds_of(&works[0], 1);
        let mut submissions = 0;
        // Until it has had time to learn.
        for _ in 0..1000 {
            let run = device.run_with(&works, &mut pacer, SubmissionBudget::default(), &mut noise);
            assert_complete(&works, &run);
            submissions += run.len();
            if submissions > 200 {
                break;
            }
        }
        let (mut over, mut count, mut total, mut runs) = (0, 0, 0.0, 0.0);
        while count < 100 {
            let run = device.run_with(&works, &mut pacer, SubmissionBudget::default(), &mut noise);
            let bound = bound(budget, least);
            over += run.iter().filter(|r| r.1 > bound).count();
            count += run.len();
            total += run.iter().map(|r| r.1).sum::<f64>();
            runs += 1.0;
        }
        prop_assert!(over * 6 <= count, "{} of {} are too long", over, count);
        let whole = device.seconds_of(&works[0], groups);
        let least_time = whole + device.overhead * (1.0 + whole / budget);
        let slow = least > 0.45 * budget;
        prop_assert!(slow || total / runs < 8.0 * least_time, "{} s instead of {}", total / runs, least_time);
    }

    /// Load that comes and goes: few submissions are too long, those that run when it comes and until
    /// it is noticed, and one in forty that tries whether there is room; and when it has gone, parts are as large as before.
    #[test]
    fn bursts_of_load_are_followed(
        slowness in -4.0f64..4.0,
        load in 2.0f64..16.0,
        width in 1u64..65,
        length in 20usize..200,
    ) {
        let slowness = 10f64.powf(slowness);
        let device = Simulated { slowness: vec![slowness], overhead: 1e-4, width };
        let works = [work(10.0 / slowness, 64_000)];
        let mut pacer = Pacer::new(4, [None]);
        for _ in 0..4 {
            device.run(&works, &mut pacer);
        }
        let before = device.run(&works, &mut pacer).len();
        let mut count = 0;
        let mut all = Vec::new();
        for _ in 0..5 {
            let mut noise = || {
                count += 1;
                if (count / length) % 2 == 1 { load } else { 1.0 }
            };
            let run =
                device.run_with(&works, &mut pacer, SubmissionBudget::default(), &mut noise);
            assert_complete(&works, &run);
            all.extend(run);
        }
        let least = device.overhead + device.seconds_of(&works[0], 1);
        let bound = bound(0.1, load * least);
        let over = all.iter().filter(|r| r.1 > bound).count();
        let bursts = all.len() / length / 2 + 1;
        prop_assert!(over <= 6 * bursts + all.len() / 40, "{} of {} in {} bursts", over, all.len(), bursts);
        device.run(&works, &mut pacer);
        let after = device.run(&works, &mut pacer).len();
        prop_assert!(after <= before * 3 / 2 + 1, "{} submissions, {} before", after, before);
    }
}

/// Four workgroups that take half a budget each are not two parts of a whole one.
#[test]
fn few_long_workgroups_run_one_by_one() {
    let mut pacer = Pacer::new(1, [None]);
    for _ in 0..3 {
        let run = Simulated::new(&[0.67]).run(&[work(0.3, 4)], &mut pacer);
        assert!(longest(&run) <= 0.1, "{run:?}");
    }
}

/// A dispatch of a moment that took half as long again says nothing of a long one of its class.
#[test]
fn a_short_run_is_no_measurement() {
    let works = [work(1e-5, 1), work(0.14, 119)];
    let mut pacer = Pacer::new(1, [None]);
    for _ in 0..3 {
        let run = Simulated::new(&[1.5]).run(&works, &mut pacer);
        assert!(longest(&run) <= 0.1, "{run:?}");
    }
}

#[test]
fn a_slower_device_is_noticed() {
    let works = [work(1.0, 1000)];
    let mut pacer = Pacer::new(1, [None]);
    assert!(longest(&Simulated::new(&[0.1]).run(&works, &mut pacer)) <= 0.1);
    // It is ten times slower from now on, a laptop on battery say.
    let slower = Simulated::new(&[1.0]);
    slower.run(&works, &mut pacer);
    assert!(longest(&slower.run(&works, &mut pacer)) <= 0.1);
}

/// A clock too coarse to see anything does not stop the learning.
#[test]
fn times_of_nothing_are_no_end() {
    let works = [work(1.0, 1000)];
    let mut pacer = Pacer::new(1, [None]);
    let device = Simulated::new(&[1.0]);
    device.run_with(&works, &mut pacer, SubmissionBudget::default(), &mut || 0.0);
    for _ in 0..20 {
        let _ = device.run(&works, &mut pacer);
    }
    assert!(longest(&device.run(&works, &mut pacer)) <= 0.1);
}

#[test]
fn without_a_bound_a_run_is_one_submission() {
    let works = [work(9.0, 10); 5];
    let run = Simulated::new(&[1.0]).run_with(
        &works,
        &mut Pacer::new(1, [None]),
        SubmissionBudget::Unlimited,
        &mut || 1.0,
    );
    assert_eq!(run.len(), 1);
    assert_eq!(run[0].0.len(), 5);
}
