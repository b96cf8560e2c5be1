//! The route `hash`: a consistent-hashing ring, laid out as libketama does (Richard Jones, 2007).
//!
//! Each member puts points on a circle of 2³² places; a key belongs to the first point at or after
//! its own. A join or a leave therefore moves only the keys of that member's arcs, and any program
//! that knows the names and weights computes the same owners.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::iter::Peekable;

use super::Weight;
use super::md5::{digest, points};

/// A ketama ring over named, weighted members.
///
/// A member of weight w, in thousandths, has 4 points for each i in 0 .. (40·w + 500) div 1000: the
/// four little-endian words of MD5("NAME-i"). Weight 1 is thus 160 points, weight 100 is 16,000; a
/// weight of 0.012 or less rounds to none, and such a member owns nothing. Equal points go to the
/// smaller name in byte order.
///
/// The ring is the same whatever the order of joins and leaves that led to it. The caller chooses a
/// number for each member; numbers break a tie only between members of the same name.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Every point with its member, sorted by point, then name, then number.
    points: Vec<Point>,
    /// The name of each member by its number, read only to settle equal points.
    names: BTreeMap<u32, Box<str>>,
}

/// A place on the ring and the number of the member it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: u32,
    member: u32,
}

impl Ring {
    /// A ring without members.
    pub fn new() -> Ring {
        Ring::default()
    }

    /// Lets members leave and join, all in one pass over the ring.
    ///
    /// Only the joining members are hashed and sorted; the others' points are copied once. A number
    /// in `join` that is already on the ring is replaced, so a new weight is a join alone, or a leave
    /// and a join in the same call. Unknown numbers in `leave` do nothing; of several joins with one
    /// number the last counts. Costs O(points + new points × log new points).
    pub fn change(&mut self, leave: &[u32], join: &[(u32, &str, Weight)]) {
        let joins: BTreeMap<u32, (&str, Weight)> =
            join.iter().map(|&(member, name, weight)| (member, (name, weight))).collect();
        let added = joins
            .iter()
            .flat_map(|(&member, &(name, weight))| member_points(member, name, weight))
            .collect();
        let names = joins.into_iter().map(|(member, (name, _))| (member, name)).collect();
        self.replace(leave, names, added);
    }

    /// The member that owns a point: that of the first ring point at or after it, wrapping round.
    /// `None` when no member has a point.
    pub fn owner(&self, point: u32) -> Option<u32> {
        self.walk(point).next()
    }

    /// The members along the ring, once round, starting at the owner of `point`.
    ///
    /// One item for each ring point, so that a member appears as often as it has points: the caller
    /// stops at the first that suits, or skips those it has met.
    pub fn walk(&self, point: u32) -> impl Iterator<Item = u32> + '_ {
        let start = self.points.partition_point(|other| other.at < point);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|point| point.member)
    }

    /// Whether a member is known, with or without points.
    pub fn contains(&self, member: u32) -> bool {
        self.names.contains_key(&member)
    }

    /// The number of points on the ring (not of members).
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether the ring has no points, and so no key an owner.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Takes out the members in `leave` and `join`, then merges the points of the latter in.
    fn replace(&mut self, leave: &[u32], join: BTreeMap<u32, &str>, mut added: Vec<Point>) {
        let gone: BTreeSet<u32> = leave
            .iter()
            .chain(join.keys())
            .copied()
            .filter(|member| self.names.contains_key(member))
            .collect();
        for member in &gone {
            self.names.remove(member);
        }
        self.names.extend(join.into_iter().map(|(member, name)| (member, Box::from(name))));
        let stays = |point: &Point| gone.is_empty() || !gone.contains(&point.member);
        if added.is_empty() {
            self.points.retain(stays);
            return;
        }
        added.sort_unstable_by(|a, b| order(&self.names, a, b));
        let mut merged = Vec::with_capacity(self.points.len() + added.len());
        let kept = self.points.iter().copied().filter(stays).peekable();
        merged.extend(Merge { names: &self.names, kept, added: added.into_iter().peekable() });
        self.points = merged;
    }
}

/// The points of one member, in no order.
fn member_points(member: u32, name: &str, weight: Weight) -> Vec<Point> {
    let digests = (40 * weight.thousandths() + 500) / 1000;
    let mut text = String::with_capacity(name.len() + 5);
    let mut all = Vec::new();
    for i in 0..digests {
        text.clear();
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}-{i}");
        all.extend(points(digest(text.as_bytes())).map(|at| Point { at, member }));
    }
    all
}

/// Two sorted runs of points as one.
struct Merge<'a, K: Iterator<Item = Point>, A: Iterator<Item = Point>> {
    names: &'a BTreeMap<u32, Box<str>>,
    kept: Peekable<K>,
    added: Peekable<A>,
}

impl<K: Iterator<Item = Point>, A: Iterator<Item = Point>> Iterator for Merge<'_, K, A> {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        match (self.kept.peek(), self.added.peek()) {
            (Some(kept), Some(added)) if order(self.names, added, kept).is_lt() => {
                self.added.next()
            }
            (Some(_), _) => self.kept.next(),
            (None, _) => self.added.next(),
        }
    }
}

/// The order on the ring. It is total over the members of one ring, which is what makes the ring
/// independent of its history.
fn order(names: &BTreeMap<u32, Box<str>>, a: &Point, b: &Point) -> Ordering {
    a.at.cmp(&b.at)
        .then_with(|| names.get(&a.member).cmp(&names.get(&b.member)))
        .then(a.member.cmp(&b.member))
}

#[cfg(test)]
impl Ring {
    /// A ring with points of the test's choosing, to bring about ties that MD5 rarely makes.
    pub(super) fn with_points(members: &[(u32, &str, &[u32])]) -> Ring {
        let mut ring = Ring::new();
        for &(member, name, places) in members {
            let added = places.iter().map(|&at| Point { at, member }).collect();
            ring.replace(&[], BTreeMap::from([(member, name)]), added);
        }
        ring
    }

    /// The ring as (point, number) pairs, in order.
    pub(super) fn layout(&self) -> Vec<(u32, u32)> {
        self.points.iter().map(|point| (point.at, point.member)).collect()
    }
}
