//! What fades, the estimates that follow it, and the habits that runs are held against.

use super::{T, close};
use crate::cost::{Costs, Decayed, Estimate};

#[test]
fn decay_by_hand() {
    let mut decayed = Decayed::default();
    assert_eq!((decayed.mean(), decayed.variance(), decayed.cv()), (0.0, 0.0, 0.0));
    decayed.observe(T, 10.0);
    let mut later = decayed;
    decayed.observe(T + 30_000, 20.0);
    assert!((decayed.weight() - 1.7071).abs() < 1e-4);
    assert!((decayed.mean() - 15.8579).abs() < 1e-4);
    assert!((decayed.variance() - 24.2641).abs() < 1e-4);
    assert!(close(decayed.cv(), decayed.variance().sqrt() / decayed.mean()));
    later.observe(T + 3_600_000, 20.0);
    assert_eq!(later.weight(), 1.5);
    assert!((later.mean() - 16.6667).abs() < 1e-4 && (later.variance() - 22.2222).abs() < 1e-4);
}

#[test]
fn decayed_ones_merge_by_hand() {
    // 10 a minute before 20 and 40: weights ½, 1 and 1, so 65 ÷ 2.5 = 26, and the squares
    // ½ × 16² + 6² + 14² = 360.
    let [mut old, mut new] = [Decayed::default(); 2];
    old.observe(T, 10.0);
    new.observe(T + 60_000, 20.0);
    new.observe(T + 60_000, 40.0);
    let mut both = old;
    both.merge(&new);
    new.merge(&old);
    for merged in [both, new] {
        assert_eq!((merged.weight(), merged.at_ms()), (2.5, T + 60_000));
        assert!(close(merged.mean(), 26.0) && close(merged.m2(), 360.0), "{merged:?}");
    }
}

#[test]
fn decay_outlives_silence_and_a_clock_set_back() {
    let mut decayed = Decayed::default();
    decayed.observe(T, 10.0);
    decayed.observe(T + 365 * 24 * 3_600_000, 25.0);
    assert!(close(decayed.mean(), 20.0) && decayed.weight() == 1.5, "half of the first is left");
    decayed.observe(T, 30.0);
    assert!(close(decayed.mean(), 24.0) && decayed.at_ms() == T, "nothing fades backwards");
    decayed.observe(T + 60_000, 24.0);
    assert!(close(decayed.weight(), 2.25), "ages count from the new time on");
}

/// How many observations it takes, so many milliseconds apart, until a jump from 10 ms to 1 s shows at
/// nine tenths.
fn observations_of_a_jump(every_ms: u64) -> u64 {
    let (mut decayed, mut at_ms) = (Decayed::default(), T);
    for _ in 0..10_000 {
        at_ms += every_ms;
        decayed.observe(at_ms, 10_000.0);
    }
    let shows = |decayed: &Decayed| decayed.mean() >= 10_000.0 + 0.9 * 990_000.0;
    let mut seen = 0;
    while !shows(&decayed) {
        at_ms += every_ms;
        decayed.observe(at_ms, 1_000_000.0);
        seen += 1;
    }
    seen
}

#[test]
fn a_drift_shows_soon_whether_tasks_are_many_or_few() {
    assert_eq!([0, 1, 10, 100].map(observations_of_a_jump), [460; 4], "the last hundreds count");
    assert_eq!(observations_of_a_jump(1000), 200, "a second apart, after 200 s");
    assert_eq!(observations_of_a_jump(20_000), 10, "a third of a minute apart, too");
    assert_eq!([60_000, 3_600_000, 86_400_000].map(observations_of_a_jump), [4; 3]);
}

#[test]
fn estimates_follow_the_recent_past() {
    let mut costs = Costs::new();
    let pair = costs.pair("resize", "a");
    costs.failed(pair, 77);
    assert_eq!(
        (costs.estimate("resize"), costs.habit("resize"), costs.estimate("x")),
        (None, None, None)
    );
    costs.succeeded(pair, T, 0);
    assert_eq!(costs.estimate("resize"), Some(Estimate { mean_us: 1.0, cv: 0.0, count: 1 }));
    costs.succeeded(pair, T + 86_400_000, 1001);
    let estimate = costs.estimate("resize").unwrap();
    assert!(close(estimate.mean_us, 1001.5 / 1.5) && estimate.count == 2, "{estimate:?}");
    assert!(close(estimate.cv * estimate.mean_us, 1000.0 * (0.5_f64 / 2.25).sqrt()));
    assert_eq!(costs.pair_estimate(pair), Some(estimate));
}

#[test]
fn slowness_by_hand_and_restored() {
    let mut costs = Costs::new();
    let [a, b] = ["a", "b"].map(|worker| costs.pair("resize", worker));
    let c = costs.pair("encode", "a");
    assert_eq!((costs.slowness("a"), costs.slowness_on(a), costs.slowness("x")), (1.0, 1.0, 1.0));
    costs.succeeded(b, T, 100);
    costs.succeeded(a, T, 300);
    costs.succeeded(a, T, 200);
    costs.succeeded(c, T, 50);
    assert_eq!((costs.slowness("a"), costs.slowness_on(c), costs.slowness("b")), (2.0, 2.0, 1.0));
    let mut again = Costs::new();
    costs.flush(T, &mut |kind, worker, figures| again.restore(kind, worker, figures));
    again.restored();
    // Now that 200 is known to be the mean: twice 250 ÷ 200 and once 50 ÷ 50, and 100 ÷ 200.
    assert_eq!((again.slowness("a"), again.slowness("b")), (3.5 / 3.0, 0.5));
    let other = costs.pair("resize", "other");
    costs.succeeded(other, T, 9000);
    assert_eq!((costs.slowness("other"), costs.slowness_on(other)), (1.0, 1.0), "it is several");
}

#[test]
fn a_straggler_is_beyond_four_standard_deviations_by_hand() {
    let mut costs = Costs::new();
    let pair = costs.pair("resize", "a");
    costs.succeeded(pair, T, 100_000);
    assert!(!costs.habit("resize").unwrap().is_far_exceeded_by(u64::MAX), "nothing varies yet");
    costs.succeeded(pair, T, 120_000);
    costs.succeeded(pair, T, 140_000);
    let habit = costs.habit("resize").unwrap();
    assert!(!habit.is_far_exceeded_by(185_319) && habit.is_far_exceeded_by(185_321), "{habit:?}");
}

#[test]
fn a_kind_that_has_drifted_is_not_full_of_stragglers() {
    let mut costs = Costs::new();
    let pair = costs.pair("resize", "a");
    (0..100_000).for_each(|i| costs.succeeded(pair, T + i, 10_000 + i % 1000));
    let is_straggler = |costs: &Costs, us| costs.habit("resize").unwrap().is_far_exceeded_by(us);
    let mut flagged = 0;
    for i in 0..1000 {
        flagged += u32::from(is_straggler(&costs, 1_000_000));
        costs.succeeded(pair, T + 100_000 + i, 1_000_000);
    }
    assert!((1..20).contains(&flagged), "{flagged} of a thousand");
    // Recent runs much alike do not make one of what was usual before.
    (0..1000).for_each(|i| costs.succeeded(pair, T + 200_000 + i, 10_000 + i % 2));
    assert!(!is_straggler(&costs, 10_900));
}
