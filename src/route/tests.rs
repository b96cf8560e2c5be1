//! Promises of the routes: published vectors, stability, proportion, ties.

mod orders;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::*;

fn weight(text: &str) -> Weight {
    Weight::parse(text).unwrap()
}

fn ring_of(names: &[String]) -> Ring {
    let mut ring = Ring::new();
    let join: Vec<_> =
        (0..).zip(names).map(|(id, name)| (id, name.as_str(), Weight::default())).collect();
    ring.change(&[], &join);
    ring
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

#[test]
fn published_vectors_hold() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors/route.json")).unwrap();
    let keys: Vec<(Vec<u8>, &Value)> = vectors["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (hex(key["hex"].as_str().unwrap()), key))
        .collect();
    assert!(keys.len() >= 200);
    for (key, expected) in &keys {
        assert_eq!(u64::from(point(key)), expected["point"].as_u64().unwrap());
        let owners: Vec<usize> = (1..=7).map(|n| modulo(key, n).unwrap()).collect();
        assert_eq!(serde_json::to_value(owners).unwrap(), expected["modulo"]);
        if let Some(text) = expected["text"].as_str() {
            assert_eq!(key, text.as_bytes());
        }
    }
    for expected in vectors["rings"].as_array().unwrap() {
        check_ring(&keys, expected);
    }
}

fn check_ring(keys: &[(Vec<u8>, &Value)], expected: &Value) {
    let members: Vec<(u32, &str, Weight)> = (0..)
        .zip(expected["members"].as_array().unwrap())
        .map(|(id, m)| (id, m["name"].as_str().unwrap(), weight(m["weight"].as_str().unwrap())))
        .collect();
    let mut ring = Ring::new();
    ring.change(&[], &members);
    assert_eq!(ring.len() as u64, expected["points"].as_u64().unwrap());
    let owners = expected["owners"].as_array().unwrap();
    assert_eq!(owners.len(), keys.len());
    for ((key, _), owners) in keys.iter().zip(owners) {
        let owners: Vec<&str> =
            owners.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let mut distinct = Vec::new();
        for member in ring.walk(point(key)) {
            let name = members[member as usize].1;
            if !distinct.contains(&name) {
                distinct.push(name);
            }
            if distinct.len() == 3 {
                break;
            }
        }
        assert_eq!(distinct, owners, "{key:?}");
        let owner = ring.owner(point(key)).map(|member| members[member as usize].1);
        assert_eq!(owner, owners.first().copied());
    }
}

/// One call of [`Ring::change`]: who leaves, and who joins with which weight in thousandths.
type Change = (Vec<u32>, Vec<(u32, u32)>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let leave = prop::collection::vec(0..12u32, 0..4);
    let join = prop::collection::vec((0..12u32, 0..3000u32), 0..4);
    prop::collection::vec((leave, join), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ring_depends_on_its_members_alone(changes in changes()) {
        let name = |id: u32| format!("worker-{}", id % 10);
        let mut ring = Ring::new();
        let mut members = BTreeMap::new();
        for (leave, join) in changes {
            let names: Vec<String> = join.iter().map(|&(id, _)| name(id)).collect();
            let join: Vec<(u32, &str, Weight)> = join
                .iter()
                .zip(&names)
                .map(|(&(id, w), name)| (id, name.as_str(), Weight::from_thousandths(w).unwrap()))
                .collect();
            ring.change(&leave, &join);
            members.retain(|id, _| !leave.contains(id));
            members.extend(join.iter().map(|&(id, _, weight)| (id, weight)));
        }
        let mut again = Ring::new();
        for (&id, &weight) in members.iter().rev() {
            again.change(&[], &[(id, &name(id), weight)]);
        }
        prop_assert_eq!(ring.layout(), again.layout());
        for id in 0..12 {
            prop_assert_eq!(ring.contains(id), members.contains_key(&id));
        }
    }

    #[test]
    fn weighted_picks_agree_with_a_plain_sum(sets in prop::collection::vec((0..40u32, 0..9u32), 0..80)) {
        let mut weighted = Weighted::new();
        let mut plain = [0u32; 40];
        for (index, thousandths) in sets {
            weighted.set(index, Weight::from_thousandths(thousandths).unwrap());
            plain[index as usize] = thousandths;
        }
        let line: Vec<u32> = (0..).zip(plain).flat_map(|(i, w)| vec![i; w as usize]).collect();
        prop_assert_eq!(weighted.total(), line.len() as u64);
        for (r, &index) in (0..).zip(&line) {
            prop_assert_eq!(weighted.pick(r), Some(index));
        }
        prop_assert_eq!(weighted.pick(weighted.total()), None);
        for (index, w) in (0..).zip(plain) {
            prop_assert_eq!(weighted.weight(index).thousandths(), w);
        }
    }
}

#[test]
fn a_change_moves_only_the_keys_of_that_member_and_about_a_tenth() {
    let names: Vec<String> = (0..10).map(|i| format!("img-{i}")).collect();
    let ten = ring_of(&names);
    let points: Vec<u32> = (0..100_000).map(|i| point(format!("user{i}").as_bytes())).collect();

    let mut eleven = ten.clone();
    eleven.change(&[], &[(10, "img-10", Weight::default())]);
    let moved: Vec<u32> =
        points.iter().copied().filter(|&p| ten.owner(p) != eleven.owner(p)).collect();
    assert!(moved.iter().all(|&p| eleven.owner(p) == Some(10)));
    assert!((6_000..=14_000).contains(&moved.len()), "{}", moved.len());

    let mut nine = ten.clone();
    nine.change(&[3], &[]);
    let moved: Vec<u32> =
        points.iter().copied().filter(|&p| ten.owner(p) != nine.owner(p)).collect();
    assert!(moved.iter().all(|&p| ten.owner(p) == Some(3)));
    assert!((6_000..=14_000).contains(&moved.len()), "{}", moved.len());

    // A larger weight keeps the points of the smaller one, so keys only move towards the member.
    let mut heavier = ten.clone();
    heavier.change(&[3], &[(3, "img-3", weight("2"))]);
    let moved = points.iter().filter(|&&p| ten.owner(p) != heavier.owner(p));
    assert!(moved.into_iter().all(|&p| heavier.owner(p) == Some(3)));
}

#[test]
fn equal_points_go_to_the_smaller_name() {
    for members in [
        [(1, "b", &[100, 200][..]), (2, "a", &[100])],
        [(2, "a", &[100]), (1, "b", &[100, 200][..])],
    ] {
        let ring = Ring::with_points(&members);
        assert_eq!(ring.layout(), [(100, 2), (100, 1), (200, 1)]);
        assert_eq!(ring.owner(100), Some(2));
        assert_eq!(ring.owner(101), Some(1));
        assert_eq!(ring.owner(201), Some(2), "wraps round");
        assert_eq!(ring.walk(150).collect::<Vec<_>>(), [1, 2, 1]);
    }
}

#[test]
fn a_thousand_members_of_one_name_tie_by_number() {
    let mut ring = Ring::new();
    let join: Vec<_> = (0..1000).rev().map(|id| (id, "same", weight("0.025"))).collect();
    ring.change(&[], &join);
    assert_eq!(ring.len(), 4000);
    assert_eq!(ring.owner(0), Some(0));
    ring.change(&[0], &[]);
    assert_eq!(ring.owner(0), Some(1));
}

#[test]
fn a_ring_without_points_has_no_owner() {
    let mut ring = Ring::new();
    assert!(ring.is_empty());
    assert_eq!(ring.owner(7), None);
    ring.change(&[5], &[(1, "idle", Weight::ZERO), (2, "tiny", weight("0.012"))]);
    assert!(ring.contains(1) && ring.contains(2) && ring.is_empty());
    assert_eq!((ring.owner(7), ring.walk(7).count()), (None, 0));
    ring.change(&[], &[(2, "tiny", weight("0.013"))]);
    assert_eq!((ring.len(), ring.owner(7)), (4, Some(2)));
    ring.change(&[1, 2, 2], &[]);
    assert!(ring.is_empty() && !ring.contains(1) && !ring.contains(2));
}

#[test]
fn weighted_picks_follow_the_weights() {
    let mut weighted = Weighted::new();
    for (index, text) in [(0, "1"), (1, "0"), (2, "2"), (4, "5")] {
        weighted.set(index, weight(text));
    }
    let mut rng = SmallRng::seed_from_u64(7330);
    let mut counts = [0u32; 5];
    for _ in 0..100_000 {
        let index = weighted.pick(rng.random_range(0..weighted.total())).unwrap();
        counts[index as usize] += 1;
    }
    assert_eq!((counts[1], counts[3]), (0, 0), "weight 0 is never chosen");
    let chi_square: f64 = [(counts[0], 12_500.0), (counts[2], 25_000.0), (counts[4], 62_500.0)]
        .iter()
        .map(|&(seen, expected)| (f64::from(seen) - expected).powi(2) / expected)
        .sum();
    // p > 0.001 at two degrees of freedom
    assert!(chi_square < 13.816, "{chi_square}");
}

#[test]
fn nothing_to_choose_from_is_no_choice() {
    let mut weighted = Weighted::new();
    assert_eq!((weighted.total(), weighted.pick(0)), (0, None));
    weighted.set(u32::MAX, Weight::ZERO);
    assert_eq!(weighted.weight(u32::MAX), Weight::ZERO);
    weighted.set(3, Weight::MAX);
    assert_eq!(
        (weighted.pick(0), weighted.pick(99_999), weighted.pick(u64::MAX)),
        (Some(3), Some(3), None)
    );
    weighted.set(3, Weight::ZERO);
    assert_eq!((weighted.total(), weighted.pick(0)), (0, None));
}
