//! Promises of the routes that keep the free workers in an order: turns, keys, paces.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::weight;
use crate::route::{Load, Pace, Ranked, Ratio, Turns, Weight, finish};

/// Choices among members of weights in thousandths, all of them there throughout; by number.
fn choices(weights: &[u32], count: usize) -> Vec<usize> {
    let names: Vec<Arc<str>> = (0..weights.len()).map(|i| format!("{i:03}").into()).collect();
    let mut turns = Turns::new();
    for ((index, name), weight) in (0..).zip(&names).zip(weights) {
        turns.set(index, name, Weight::from_thousandths(*weight).unwrap());
    }
    let total = weights.iter().map(|weight| u64::from(*weight)).sum();
    (0..count).map(|_| choose(&mut turns, total).unwrap() as usize).collect()
}

fn choose(turns: &mut Turns, total: u64) -> Option<u32> {
    turns.skip(turns.wait()?);
    let (_, _, index) = turns.first()?;
    turns.take(index);
    turns.step(total);
    assert!(turns.is_sound());
    Some(index)
}

/// The smooth weighted round robin of nginx: everyone gains its weight, the greatest is chosen and
/// loses the sum.
fn nginx(weights: &[u32], count: usize) -> Vec<usize> {
    let mut current = vec![0i64; weights.len()];
    let total = weights.iter().map(|weight| i64::from(*weight)).sum::<i64>();
    let choose = |_| {
        current.iter_mut().zip(weights).for_each(|(its, weight)| *its += i64::from(*weight));
        let most = *current.iter().max().unwrap();
        let chosen = current.iter().position(|its| *its == most).unwrap();
        current[chosen] -= total;
        chosen
    };
    (0..count).map(choose).collect()
}

/// How far anybody ever is from its exact share, in choices times the sum of the weights.
fn farthest(weights: &[u32], chosen: &[usize]) -> i64 {
    let total = weights.iter().map(|weight| i64::from(*weight)).sum::<i64>();
    let mut counts = vec![0i64; weights.len()];
    let mut farthest = 0;
    for (t, index) in (1i64..).zip(chosen) {
        counts[*index] += 1;
        let off = |(count, weight): (&i64, &u32)| (count * total - t * i64::from(*weight)).abs();
        farthest = counts.iter().zip(weights).map(off).max().unwrap().max(farthest);
    }
    farthest
}

#[test]
fn the_published_turns_hold() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/route.json")).unwrap();
    let all = vectors["turns"].as_array().unwrap();
    assert!(all.len() >= 8);
    for expected in all {
        let mut turns = Turns::new();
        let members = expected["members"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names: Vec<String> = members.iter().map(|member| text(&member["name"])).collect();
        let mut total = 0;
        for ((index, member), name) in (0..).zip(members).zip(&names) {
            let weight = weight(member["weight"].as_str().unwrap());
            total += u64::from(weight.thousandths());
            turns.set(index, &name.as_str().into(), weight);
        }
        for (place, name) in expected["chosen"].as_array().unwrap().iter().enumerate() {
            let chosen = &names[choose(&mut turns, total).unwrap() as usize];
            assert_eq!(chosen, name.as_str().unwrap(), "{}: choice {place}", expected["turns"]);
        }
    }
}

/// By hand: of weights 5, 1 and 1, the first has turns of a fifth, the others of one. At clock 0 all
/// have begun, and the first ends soonest; its next turn begins at 1/5. At 1/7 only the others have
/// begun; at 2/7 the first again, until 2/5, and at 3/7, until 3/5; at 4/7 it has yet to begin.
#[test]
fn turns_are_spread() {
    assert_eq!(choices(&[5000, 1000, 1000], 7), [0, 1, 0, 0, 2, 0, 0]);
    assert_eq!(choices(&[1000, 1000, 1000], 6), [0, 1, 2, 0, 1, 2]);
    assert_eq!(nginx(&[5000, 1000, 1000], 7), [0, 0, 1, 0, 2, 0, 0], "the example of its authors");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nobody_is_ever_a_choice_away_from_its_share(
        weights in prop::collection::vec(prop_oneof![1..12u32, 1..100_001u32], 1..12)
    ) {
        let total = weights.iter().map(|weight| i64::from(*weight)).sum::<i64>();
        let count = usize::try_from(total).unwrap().min(3000) * 2;
        let ours = farthest(&weights, &choices(&weights, count));
        prop_assert!(ours < total, "{ours} of {total}");
    }

    #[test]
    fn over_a_period_shares_are_exact_and_no_less_smooth_than_nginxs(
        weights in prop::collection::vec(1..40u32, 1..30)
    ) {
        let total = usize::try_from(weights.iter().sum::<u32>()).unwrap();
        let ours = choices(&weights, 3 * total);
        for period in ours.chunks(total) {
            for (index, weight) in weights.iter().enumerate() {
                let count = period.iter().filter(|chosen| **chosen == index).count();
                prop_assert_eq!(count, *weight as usize);
            }
        }
        // Its own bound is wider: some are more than a choice away where many weigh little.
        let whole = i64::try_from(total).unwrap();
        prop_assert!(farthest(&weights, &ours) < whole.max(farthest(&weights, &nginx(&weights, total))));
    }

    #[test]
    fn ranked_choices_agree_with_a_plain_search(sets in prop::collection::vec((0..20u32, prop::option::of(0..4u128)), 0..200)) {
        let (mut ranked, mut plain) = (Ranked::new(), BTreeMap::new());
        for (index, key) in sets {
            ranked.set(index, key);
            match key {
                Some(key) => plain.insert(index, key),
                None => plain.remove(&index),
            };
            let least = plain.values().min().copied();
            let mut firsts: Vec<u32> =
                plain.iter().filter(|(_, key)| Some(**key) == least).map(|(index, _)| *index).collect();
            prop_assert_eq!(ranked.first(), least.map(|least| (least, firsts.len())));
            let mut picks: Vec<u32> = (0..firsts.len()).filter_map(|n| ranked.pick(n)).collect();
            picks.sort_unstable();
            firsts.sort_unstable();
            prop_assert_eq!(picks, firsts);
            prop_assert_eq!((ranked.len(), ranked.is_empty()), (plain.len(), plain.is_empty()));
            prop_assert_eq!(ranked.key(index), key);
        }
        prop_assert_eq!(ranked.pick(plain.len()), None);
    }

    #[test]
    fn paces_agree_with_a_plain_search(
        steps in prop::collection::vec((0..8u32, prop::option::of((0..4usize, 1..5u32, 1..4u32)), 0..3u32, prop::option::of(1..9u64)), 0..120)
    ) {
        let mut pace = Pace::new();
        let (mut loads, mut estimates) = (BTreeMap::new(), BTreeMap::new());
        let mut slownesses = BTreeMap::new();
        for (index, load, kind, estimate_us) in steps {
            slownesses.insert(index, load.map_or(0, |(_, _, halves)| halves));
            let load = load.map(|(runs, slots, halves)| Load {
                runs,
                slots,
                slowness: Ratio::of(f64::from(halves) / 2.0),
            });
            estimates.insert((kind, index), estimate_us);
            loads.insert(index, load);
            pace.set(index, load);
            for changed in pace.news(kind) {
                pace.put(kind, changed, estimates.get(&(kind, changed)).copied().flatten());
            }
            let key = |index: &u32| {
                let Load { runs, slots, .. } = loads[index]?;
                let known = estimates.get(&(kind, *index)).copied().flatten();
                let halves = known.map_or(5 * u128::from(slownesses[index]), |us| 2 * u128::from(us));
                Some(finish(halves << 15, runs, slots))
            };
            let keys: BTreeMap<u32, u128> =
                loads.keys().filter_map(|index| Some((*index, key(index)?))).collect();
            let least = keys.values().min().copied();
            let firsts: Vec<u32> =
                keys.iter().filter(|(_, key)| Some(**key) == least).map(|(index, _)| *index).collect();
            prop_assert_eq!(pace.best(kind, 5), least.map(|least| (least, firsts.len())));
            let mut picks: Vec<u32> = (0..firsts.len()).filter_map(|n| pace.pick(kind, 5, n)).collect();
            picks.sort_unstable();
            prop_assert_eq!(picks, firsts);
        }
    }
}

/// Who was away has the rest of its turn, or a turn from now on, and so at most one choice more than
/// it would have had.
#[test]
fn whoever_comes_back_has_nothing_to_make_up_for() {
    let names: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
    let mut turns = Turns::new();
    let one = Weight::default();
    (0..).zip(&names).for_each(|(index, name)| turns.set(index, name, one));
    turns.set(2, &names[2], Weight::ZERO);
    assert_eq!((0..1000).filter_map(|_| choose(&mut turns, 2000)).count(), 1000);
    turns.set(2, &names[2], one);
    let chosen: Vec<u32> = (0..9).filter_map(|_| choose(&mut turns, 3000)).collect();
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    turns.forget(2);
    assert_eq!(turns.iter().count(), 2);
    turns.set(2, &names[2], weight("100"));
    let chosen: Vec<u32> = (0..52).filter_map(|_| choose(&mut turns, 102_000)).collect();
    assert_eq!(chosen.iter().filter(|index| **index == 2).count(), 51, "{chosen:?}");
}

#[test]
fn a_kind_that_rests_is_forgotten_and_found_again() {
    let mut pace = Pace::new();
    let load = Load { runs: 0, slots: 1, slowness: Ratio::ONE };
    (0..10).for_each(|index| pace.set(index, Some(load)));
    let ask = |pace: &mut Pace, kind: u32| {
        let news = pace.news(kind);
        news.iter().for_each(|index| pace.put(kind, *index, Some(u64::from(10 - index))));
        (news.len(), pace.pick(kind, 1, 0))
    };
    assert_eq!(ask(&mut pace, 0), (10, Some(9)));
    pace.set(9, None);
    assert_eq!(ask(&mut pace, 0), (1, Some(8)), "only what has changed");
    assert!((1..300).all(|kind| ask(&mut pace, kind).0 == 10));
    assert!(pace.kinds().count() <= 256);
    assert_eq!(ask(&mut pace, 0), (10, Some(8)));
}
