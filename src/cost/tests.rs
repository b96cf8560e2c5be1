//! Every formula against numbers worked out by hand, and the promises on merging and restoring.

mod recent;

use proptest::prelude::*;

use super::*;

/// A whole second, in milliseconds.
const T: u64 = 1_790_000_000_000;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Whether two sums of squared deviations agree. Where all observations lie close together the sum is
/// nothing but rounding of their squares, which bounds what can be asked for.
fn close_m2(a: f64, b: f64, weight: f64, mean: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 1e-15 * weight * mean * mean
}

type Told = Vec<(String, Option<String>, Figures)>;

fn flush(costs: &mut Costs, at_ms: u64) -> Told {
    let mut told = Vec::new();
    costs.flush(at_ms, &mut |kind, worker, figures| {
        told.push((kind.to_owned(), worker.map(str::to_owned), *figures));
    });
    told
}

fn forget(costs: &mut Costs, now_ms: u64) -> Vec<String> {
    let mut gone = Vec::new();
    costs.forget(now_ms, &mut |kind, worker| {
        gone.push(worker.map_or(kind.to_owned(), |worker| format!("{kind}@{worker}")));
    });
    gone
}

fn names(told: &Told) -> Vec<String> {
    told.iter()
        .map(|(kind, worker, _)| worker.as_ref().map_or(kind.clone(), |w| format!("{kind}@{w}")))
        .collect()
}

#[test]
fn welford_by_hand() {
    let mut welford = Welford::default();
    assert_eq!((welford.mean(), welford.variance()), (0.0, 0.0));
    for x in [2.0, 4.0, 9.0] {
        welford.observe(x);
    }
    assert_eq!((welford.count(), welford.mean(), welford.m2()), (3, 5.0, 26.0));
    assert_eq!(welford.variance(), 26.0 / 3.0);
}

#[test]
fn welfords_merge_by_hand() {
    let [mut a, mut b] = [Welford::default(); 2];
    [2.0, 4.0].into_iter().for_each(|x| a.observe(x));
    [9.0, 11.0, 13.0].into_iter().for_each(|x| b.observe(x));
    a.merge(&b);
    assert_eq!((a.count(), a.m2()), (5, 86.8));
    assert!(close(a.mean(), 7.8));
}

#[test]
fn cost_by_hand() {
    assert!((cost(5.0, 10_000.0, 20_000.0) - 3.0327).abs() < 1e-4);
    assert_eq!(cost(2.0, 0.0, 700.0), 2.0);
    assert_eq!(cost(0.0, 1e12, 0.0), 0.0);
}

proptest! {
    #[test]
    fn merging_any_split_equals_one_pass(
        // Less than a minute and fewer than two hundred: there, fading merges exactly.
        seen in prop::collection::vec((0..4usize, 0..300u64, 1..10_000_000u32), 1..200),
    ) {
        let mut parts = vec![(Welford::default(), Decayed::default(), Throughput::default()); 4];
        let (mut welford, mut decayed, mut throughput) = parts[0].clone();
        let mut at_ms = T;
        for (part, pause_ms, us) in seen {
            at_ms += pause_ms;
            let x = f64::from(us);
            for (w, d, t) in [(&mut welford, &mut decayed, &mut throughput)]
                .into_iter()
                .chain(parts.get_mut(part).map(|(w, d, t)| (w, d, t)))
            {
                w.observe(x);
                d.observe(at_ms, x);
                t.record(at_ms);
            }
        }
        let (mut w, mut d, mut t) = parts.remove(0);
        for part in parts {
            w.merge(&part.0);
            d.merge(&part.1);
            t.merge(&part.2);
        }
        prop_assert_eq!(w.count(), welford.count());
        prop_assert!(close(w.mean(), welford.mean()), "{:?} {:?}", w, welford);
        prop_assert!(close_m2(w.m2(), welford.m2(), w.count() as f64, w.mean()), "{:?} {:?}", w, welford);
        prop_assert!(close(d.weight(), decayed.weight()), "{:?} {:?}", d, decayed);
        prop_assert!(close(d.mean(), decayed.mean()), "{:?} {:?}", d, decayed);
        prop_assert!(close_m2(d.m2(), decayed.m2(), d.weight(), d.mean()), "{:?} {:?}", d, decayed);
        prop_assert_eq!(d.at_ms(), decayed.at_ms());
        prop_assert_eq!(t.count(at_ms), throughput.count(at_ms));
    }

    #[test]
    fn throughput_is_exact(steps in prop::collection::vec((0..9_000u64, 0..6u32), 1..120)) {
        let mut throughput = Throughput::default();
        let mut events = Vec::new();
        let mut now = T;
        for (pause_ms, action) in steps {
            now += pause_ms;
            if action == 0 {
                now += 40_000;
            }
            if action < 5 {
                throughput.record(now);
                events.push(now);
                continue;
            }
            let at = now / 1000 * 1000;
            let naive = events.iter().filter(|&&ms| ms > at - 60_000 && ms <= at).count();
            prop_assert_eq!(throughput.count(now), naive as u64);
            let expired = throughput.expire(now);
            prop_assert!(!expired || events.iter().all(|&ms| ms <= at - 60_000));
        }
    }
}

#[test]
fn throughput_at_the_edges_of_the_window() {
    let mut costs = Costs::new();
    let pair = costs.pair("resize", "a");
    [0, 1, 59_999, 60_000].into_iter().for_each(|ms| costs.succeeded(pair, T + ms, 1));
    assert_eq!(costs.pairs(T + 60_000)[0].2.throughput, 0.05, "by hand");

    let mut throughput = Throughput::default();
    for ms in [T - 60_000, T - 59_999, T - 1, T, T, T + 1] {
        throughput.record(ms);
    }
    assert_eq!(throughput.count(T), 4);
    assert_eq!(throughput.count(T + 999), 4, "as of the last whole second");
    assert_eq!(throughput.count(T + 1000), 4, "one went, one came");
    assert_eq!(throughput.count(T + 60_000), 1);
    assert_eq!(throughput.count(T + 61_000), 0);
    let mut early = Throughput::default();
    early.record(0);
    assert_eq!((early.count(0), early.count(59_000), early.count(60_000)), (1, 1, 0));
}

#[test]
fn throughput_when_time_goes_backwards() {
    let mut throughput = Throughput::default();
    throughput.record(T);
    throughput.record(T - 30_000);
    throughput.record(T - 3_600_000);
    assert_eq!(throughput.count(T), 2, "what is too old is dropped");
    assert!(!throughput.expire(T - 30_000));
    assert!(throughput.expire(T - 3_600_000), "events of a clock that was set back");
    throughput.record(T - 3_600_000);
    assert_eq!(throughput.count(T - 3_600_000), 1);
}

#[test]
fn figures_read_back_exactly_from_text() {
    let figures = Figures {
        succeeded: u64::MAX,
        mean_us: 0.1 + 0.2,
        m2: 1.234_567e300,
        variance: 1e-300,
        recent: Decayed::from_parts(1.0 / 3.0, 2e-7, 1e16, T),
        cost: f64::MIN_POSITIVE,
        spend: 12.5,
        at_ms: T,
        ..Figures::default()
    };
    let mut fields = Vec::new();
    figures.fields(&mut |name, value| fields.push((name, value.to_owned())));
    let order = "succeeded failed lost mean-us m2 variance waits wait-mean-us recent-weight \
                 recent-mean-us recent-m2 recent-at throughput cost spend at";
    assert_eq!(fields.iter().map(|&(name, _)| name).collect::<Vec<_>>().join(" "), order);
    assert!(
        fields.contains(&("m2", "1.234567e300".into()))
            && fields.contains(&("spend", "12.5".into()))
    );
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(Figures::from_fields(fields.chain([("of-tomorrow", "?")])), Ok(figures));
    assert_eq!(Figures::from_fields([]), Ok(Figures::default()));
    for (name, text) in [
        ("failed", "-1"),
        ("failed", "+1"),
        ("lost", ""),
        ("at", "18446744073709551616"),
        ("m2", "NaN"),
        ("spend", "inf"),
        ("recent-m2", "-0.5"),
        ("cost", "much"),
    ] {
        let error = Figures::from_fields([(name, text)]).unwrap_err();
        assert!(error.starts_with(&format!("{name}: \"{text}\"")), "{error}");
    }
}

/// Two workers of one kind: a, at 3.6 an hour, has 2 successes, b, unpaid, has 1 and a failure.
fn two_workers() -> Costs {
    let mut costs = Costs::new();
    costs.set_price("a", 3.6);
    let (a, b) = (costs.pair("resize", "a"), costs.pair("resize", "b"));
    costs.waited(a, 1_000_000);
    costs.waited(a, 3_000_000);
    costs.succeeded(a, T - 10_000, 2_000_000);
    costs.succeeded(a, T, 4_000_000);
    costs.waited(b, 5_000_000);
    costs.succeeded(b, T - 60_000, 9_000_000);
    costs.failed(a, 1_000_000);
    costs.failed(b, 0);
    costs.lost(b);
    costs
}

#[test]
fn rows_by_hand() {
    let costs = two_workers();
    let pairs = costs.pairs(T);
    let (kind, worker, a) = pairs[0];
    assert_eq!((kind, worker, pairs.len()), ("resize", "a", 2));
    assert_eq!((a.succeeded, a.failed, a.lost, a.waits), (2, 1, 0, 2));
    assert_eq!((a.mean_us, a.m2, a.variance, a.wait_mean_us), (3e6, 2e12, 1e12, 2e6));
    assert_eq!(a.throughput, 2.0 / 60.0);
    assert!(close(a.cost, 2.0 / 60.0 * (-2.0f64 / 3.0).exp()));
    assert!(close(a.spend, 0.007), "7 s at 0.001 a second");
    let kinds = costs.kinds(T);
    let (kind, whole) = kinds[0];
    assert_eq!((kind, kinds.len()), ("resize", 1));
    assert_eq!((whole.succeeded, whole.failed, whole.lost, whole.waits), (3, 2, 1, 3));
    assert!(close(whole.mean_us, 5e6) && close(whole.m2, 26e12) && close(whole.wait_mean_us, 3e6));
    assert_eq!(whole.throughput, 2.0 / 60.0, "b's success is just out of the window");
    let workers = costs.workers(T);
    assert_eq!(workers.iter().map(|&(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((workers[0].1, workers[1].1.failed), (a, 1));
}

#[test]
fn a_flush_tells_what_changed_until_throughput_is_zero() {
    let mut costs = two_workers();
    assert_eq!(names(&flush(&mut costs, T)), ["resize@a", "resize@b", "resize"]);
    assert!(flush(&mut costs, T + 1000).is_empty());
    let told = flush(&mut costs, T + 50_000);
    assert_eq!(names(&told), ["resize@a", "resize"]);
    assert_eq!((told[0].2.throughput, told[1].2.throughput), (1.0 / 60.0, 1.0 / 60.0));
    let told = flush(&mut costs, T + 60_000);
    assert_eq!((told[0].2.throughput, told[0].2.cost, told[0].2.succeeded), (0.0, 0.0, 2));
    assert!(flush(&mut costs, T + 61_000).is_empty() && costs.pending.is_empty());
    let b = costs.pair("resize", "b");
    costs.succeeded(b, T + 61_001, 5);
    assert_eq!(flush(&mut costs, T + 61_500)[0].2.throughput, 0.0, "its second is not over");
    assert_eq!(flush(&mut costs, T + 62_000)[0].2.throughput, 1.0 / 60.0);
}

#[test]
fn a_restored_throughput_is_told_as_zero_once() {
    let mut costs = Costs::new();
    for (kind, worker, figures) in flush(&mut two_workers(), T) {
        costs.restore(&kind, worker.as_deref(), &figures);
    }
    let told = flush(&mut costs, T + 9000);
    assert_eq!(names(&told), ["resize@a", "resize"]);
    assert_eq!(told[0].2.throughput, 0.0);
    assert!(flush(&mut costs, T + 10_000).is_empty());
}

#[test]
fn a_kinds_own_row_counts_only_without_pairs() {
    let told = flush(&mut two_workers(), T);
    let mut costs = Costs::new();
    costs.restore("resize", None, &told[2].2);
    assert_eq!(costs.kinds(T)[0].1.succeeded, 3);
    assert_eq!(costs.estimate("resize").unwrap().count, 3);
    costs.restore("resize", Some("a"), &told[0].2);
    costs.restore("resize", None, &told[2].2);
    assert_eq!(costs.kinds(T)[0].1.succeeded, 2);
    assert_eq!(costs.estimate("resize").unwrap().count, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_flushed_is_restored(
        booked in prop::collection::vec((0..3usize, 0..3usize, 0..5u32, 0..10_000_000u64), 1..100),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut costs = Costs::new();
        costs.set_price("w1", 4.2);
        let mut at_ms = T;
        let mut told = Vec::new();
        for (kind, worker, what, us) in booked {
            at_ms += us / 1000;
            let pair = costs.pair(["k0", "k1", "k2"][kind], ["w0", "w1", "w2"][worker]);
            match what {
                0 => costs.waited(pair, us),
                1 => costs.failed(pair, us),
                2 => costs.lost(pair),
                3 => costs.succeeded(pair, at_ms, us),
                _ => told.extend(flush(&mut costs, at_ms)),
            }
        }
        // A time at which no throughput is left, for it is not restored.
        at_ms += 120_000;
        told.extend(flush(&mut costs, at_ms));
        // The store keeps the last row of each name, and gives them back in an order of its own.
        let mut rows: Told = Vec::new();
        for row in told {
            rows.retain(|old| (&old.0, &old.1) != (&row.0, &row.1));
            rows.push(row);
        }
        if !rows.is_empty() {
            let middle = seed.index(rows.len());
            rows.rotate_left(middle);
        }
        let mut again = Costs::new();
        for (kind, worker, figures) in &rows {
            let mut fields = Vec::new();
            figures.fields(&mut |name, value| fields.push((name, value.to_owned())));
            let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
            again.restore(kind, worker.as_deref(), &Figures::from_fields(fields).unwrap());
        }
        let booked: Vec<_> =
            costs.pairs(at_ms).into_iter().filter(|row| row.2 != Figures { at_ms, ..Figures::default() }).collect();
        prop_assert_eq!(again.pairs(at_ms), booked);
        for kind in ["k0", "k1", "k2"] {
            match (costs.estimate(kind), again.estimate(kind)) {
                (Some(a), Some(b)) => {
                    prop_assert_eq!(a, b, "to the last bit");
                }
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }
}

#[test]
fn old_pairs_go_into_other_and_old_kinds_go() {
    let mut costs = two_workers();
    let (a, b) = (costs.pair("resize", "a"), costs.pair("resize", "b"));
    let c = costs.pair("encode", "a");
    costs.lost(c);
    flush(&mut costs, T);
    assert!(forget(&mut costs, T + FORGET_AFTER_MS - 1).is_empty());
    let later = T + FORGET_AFTER_MS;
    costs.waited(b, 7);
    assert_eq!(forget(&mut costs, later), ["resize@a", "encode@a", "encode"]);
    assert_eq!(names(&flush(&mut costs, later)), ["resize@other", "resize@b", "resize"]);
    let kinds = costs.kinds(later);
    assert_eq!((kinds.len(), kinds[0].1.succeeded), (1, 3), "totals do not shrink");
    assert_eq!((costs.live, costs.estimate("encode")), (2, None));

    // A task may well run longer than seven days: its pair is looked up anew.
    assert!(!costs.holds(a) && costs.holds(b) && !costs.holds(c));
    costs.lost(a);
    let (a, c) = (costs.pair("resize", "a"), costs.pair("encode", "a"));
    costs.succeeded(a, later, 10);
    costs.lost(c);
    assert_eq!(names(&flush(&mut costs, later)), ["resize@a", "encode@a", "resize", "encode"]);
    assert_eq!((costs.pair("resize", "a"), costs.live), (a, 4));
    assert_eq!(costs.kinds(later)[1].1.succeeded, 4);

    let end = later + FORGET_AFTER_MS;
    assert_eq!(forget(&mut costs, end).len(), 6);
    assert!(costs.kinds(end).is_empty() && costs.live == 0 && forget(&mut costs, end).is_empty());
}

#[test]
fn pairs_beyond_the_limit_share_a_row() {
    let mut costs = Costs::new();
    for i in 0..PAIRS_MAX {
        costs.pair("resize", &format!("w{i}"));
    }
    let own = costs.pair("resize", "w0");
    let new = costs.pair("resize", "new");
    assert_eq!(costs.pair("resize", "newer"), new);
    assert_ne!(costs.pair("encode", "new"), new);
    assert_ne!(own, new);
    costs.lost(new);
    assert_eq!(names(&flush(&mut costs, T)), ["resize@other", "resize"]);
    for i in 0..PAIRS_MAX {
        costs.pair(&format!("k{i}"), "new");
    }
    let last = costs.pair("more", "new");
    assert_eq!(costs.pair("other", "other"), last);
    assert_eq!(costs.live, 2 * PAIRS_MAX + 1);
}

#[test]
fn only_a_sound_price_is_charged() {
    let mut costs = Costs::new();
    for (price, spend) in
        [(3600.0, 1.0), (f64::NAN, 1.0), (-5.0, 1.0), (f64::INFINITY, 1.0), (7200.0, 3.0)]
    {
        costs.set_price("a", price);
        let pair = costs.pair("resize", "a");
        costs.failed(pair, 1_000_000);
        assert!(close(costs.pairs(T)[0].2.spend, spend), "{price}");
    }
    costs.set_price("unheard-of", 0.0);
    assert_eq!(costs.workers.len(), 1);
}

#[test]
fn pages_tell_every_row_once() {
    let mut costs = Costs::new();
    for i in 0..50 {
        costs.pair(&format!("k{}", i % 7), &format!("w{}", i % 13));
    }
    let told = |cursor, limit| {
        let page = costs.page(T, cursor, limit);
        let kinds = page.kinds.iter().map(|row| row.0.to_owned());
        let workers = page.workers.iter().map(|row| row.0.to_owned());
        let pairs = page.pairs.iter().map(|row| format!("{}@{}", row.0, row.1));
        (kinds.chain(workers).chain(pairs).collect::<Vec<_>>(), page.next)
    };
    let (mut whole, _) = told(0, usize::MAX);
    whole.sort();
    for limit in [1, 7, 20, 69, 70] {
        let (mut rows, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (page, next) = told(at, limit);
            assert!(page.len() == limit || page.len() < limit && next.is_none());
            rows.extend(page);
            cursor = next;
        }
        rows.sort();
        assert!(rows == whole && rows.len() == 7 + 13 + 50);
    }
    assert_eq!(told(u64::MAX, 10), (Vec::new(), None));
}

#[test]
fn names_that_are_gone_leave_nothing_behind() {
    let mut costs = Costs::new();
    for week in 0..20 {
        for i in 0..100 {
            let (kind, worker) = (format!("k{week}-{}", i % 10), format!("w{week}-{i}"));
            costs.set_price(&worker, 1.0);
            let pair = costs.pair(&kind, &worker);
            costs.lost(pair);
            let steady = costs.pair("steady", &worker);
            costs.lost(steady);
            costs.set_price(&worker, 0.0);
        }
        flush(&mut costs, T + week * FORGET_AFTER_MS);
        let steady = costs.pair("steady", "w");
        costs.lost(steady);
        forget(&mut costs, T + (week + 1) * FORGET_AFTER_MS);
        flush(&mut costs, T + (week + 1) * FORGET_AFTER_MS);
    }
    assert_eq!((costs.kinds.len(), costs.rows.len()), (11, 202));
    assert_eq!((costs.workers.len(), costs.worker_numbers.len()), (102, 2), "w and other");
    assert_eq!((costs.kind_numbers.len(), costs.row_numbers.len(), costs.live), (1, 2, 2));
    assert_eq!(costs.kinds(T)[0].1.lost, 20 * 101, "totals do not shrink");
}
