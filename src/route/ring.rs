//! The route `hash`: a consistent-hashing ring, laid out as libketama does (Richard Jones, 2007).
//!
//! Each member puts points on a circle of 2³² places; a key belongs to the first point at or after
//! its own. A join or a leave therefore moves only the keys of that member's arcs, and any program
//! that knows the names and weights computes the same owners.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Digest, Weight};

/// A ketama ring over named, weighted members.
///
/// A member of weight w, in thousandths, has 4 points for each i in 0 .. (40·w + 500) div 1000: the
/// four little-endian words of MD5("NAME-i"). Weight 1 is thus 160 points, weight 100 is 16,000; a
/// weight of 0.012 or less rounds to none, and such a member owns nothing. Equal points go to the
/// smaller name in byte order.
///
/// The ring is the same whatever the order of joins and leaves that led to it. The caller chooses a
/// number for each member; numbers break a tie only between members of the same name.
///
/// The circle is cut into arcs of equal length, as many as keep few points in each: a member comes or
/// goes in time that grows with its own points, not with those of the others.
#[derive(Clone, Debug)]
pub struct Ring {
    /// A power of two of them; in each the points by point, then name, then number.
    arcs: Vec<Vec<Point>>,
    /// Points in all arcs.
    points: usize,
    /// Name and weight of each member by its number.
    members: BTreeMap<u32, (Box<str>, Weight)>,
}

/// A place on the ring and the number of the member it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: u32,
    member: u32,
}

/// Points by arc on average: below the first there are half as many arcs, beyond the other twice as many.
const PER_ARC: (usize, usize) = (2, 8);

/// Arcs at most: 16 million points, of a thousand members of the largest weight, are a thousand in each.
const ARCS_MAX: usize = 1 << 14;

impl Default for Ring {
    fn default() -> Ring {
        Ring { arcs: vec![Vec::new()], points: 0, members: BTreeMap::new() }
    }
}

impl Ring {
    /// A ring without members.
    pub fn new() -> Ring {
        Ring::default()
    }

    /// Lets a member join, changes its weight, or lets it leave (`None`).
    ///
    /// Costs O(p × (log n + n ÷ 16,384)) for p points of this member among n points of all, besides a
    /// pass over all points each time that n has doubled or fallen to an eighth, up to a million.
    pub fn set(&mut self, member: u32, name: &str, weight: Option<Weight>) {
        if let Some((name, weight)) = self.members.remove(&member) {
            for at in points_of(&name, weight) {
                self.take_out(at, member);
            }
        }
        if let Some(weight) = weight {
            self.members.insert(member, (name.into(), weight));
            for at in points_of(name, weight) {
                self.put_in(Point { at, member });
            }
        }
        self.divide();
    }

    /// The member that owns a point: that of the first ring point at or after it, wrapping round.
    /// `None` when no member has a point.
    pub fn owner(&self, point: u32) -> Option<u32> {
        let arc = self.arcs.get(self.arc_of(point))?;
        match arc.get(arc.partition_point(|other| other.at < point)) {
            Some(found) => Some(found.member),
            None => self.walk(point).next(),
        }
    }

    /// The members along the ring, once round, starting at the owner of `point`.
    ///
    /// One item for each ring point, so that a member appears as often as it has points: the caller
    /// stops at the first that suits, or skips those it has met.
    pub fn walk(&self, point: u32) -> impl Iterator<Item = u32> + '_ {
        let (earlier, later) = self.arcs.split_at(self.arc_of(point));
        let (arc, later) = later.split_first().map_or((&[][..], later), |(arc, its)| (arc, its));
        let start = arc.partition_point(|other| other.at < point);
        let (before, after) = arc.split_at(start);
        let round = later.iter().chain(earlier).flatten();
        after.iter().chain(round).chain(before).map(|point| point.member)
    }

    /// Whether a member is known, with or without points.
    pub fn contains(&self, member: u32) -> bool {
        self.members.contains_key(&member)
    }

    /// The number of points on the ring (not of members).
    pub fn len(&self) -> usize {
        self.points
    }

    /// Whether the ring has no points, and so no key an owner.
    pub fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// The number of the arc that a point is in: as many of its first bits as number all arcs.
    fn arc_of(&self, at: u32) -> usize {
        let arc = (u64::from(at) * self.arcs.len() as u64) >> 32;
        usize::try_from(arc).unwrap_or(usize::MAX)
    }

    /// A member may have a point twice.
    fn put_in(&mut self, point: Point) {
        let number = self.arc_of(point.at);
        let Some(arc) = self.arcs.get_mut(number) else { return };
        let place = arc.partition_point(|other| order(&self.members, other, &point).is_lt());
        arc.insert(place, point);
        self.points += 1;
    }

    fn take_out(&mut self, at: u32, member: u32) {
        let number = self.arc_of(at);
        let Some(arc) = self.arcs.get_mut(number) else { return };
        let first = arc.partition_point(|other| other.at < at);
        let equal = arc.iter().skip(first).take_while(|other| other.at == at);
        if let Some(further) = equal.into_iter().position(|other| other.member == member) {
            arc.remove(first + further);
            self.points -= 1;
        }
    }

    /// Has as many arcs as suit the points.
    fn divide(&mut self) {
        let (fewest, most) = PER_ARC;
        let mut arcs = self.arcs.len();
        while arcs < ARCS_MAX && self.points > arcs * most {
            arcs *= 2;
        }
        while arcs > 1 && self.points < arcs * fewest {
            arcs /= 2;
        }
        if arcs == self.arcs.len() {
            return;
        }
        let all = std::mem::replace(&mut self.arcs, vec![Vec::new(); arcs]);
        for point in all.into_iter().flatten() {
            let number = self.arc_of(point.at);
            if let Some(arc) = self.arcs.get_mut(number) {
                arc.push(point);
            }
        }
    }
}

/// How many points a member of a weight has.
pub fn points_of_weight(weight: Weight) -> usize {
    4 * digests(weight) as usize
}

fn digests(weight: Weight) -> u32 {
    (40 * weight.thousandths() + 500) / 1000
}

/// The points of one member, in no order.
fn points_of(name: &str, weight: Weight) -> Vec<u32> {
    let mut text = String::with_capacity(name.len() + 5);
    let mut all = Vec::with_capacity(points_of_weight(weight));
    for i in 0..digests(weight) {
        text.clear();
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}-{i}");
        all.extend(Digest::of(text.as_bytes()).points());
    }
    all
}

/// The order on the ring. It is total over the members of one ring, which is what makes the ring
/// independent of its history.
fn order(members: &BTreeMap<u32, (Box<str>, Weight)>, a: &Point, b: &Point) -> Ordering {
    let name = |point: &Point| members.get(&point.member).map(|(name, _)| name);
    a.at.cmp(&b.at).then_with(|| name(a).cmp(&name(b))).then(a.member.cmp(&b.member))
}

#[cfg(test)]
impl Ring {
    /// A ring with points of the test's choosing, to bring about ties that MD5 rarely makes.
    pub(super) fn with_points(members: &[(u32, &str, &[u32])]) -> Ring {
        let mut ring = Ring::new();
        for &(member, name, places) in members {
            ring.members.insert(member, (name.into(), Weight::default()));
            places.iter().for_each(|&at| ring.put_in(Point { at, member }));
        }
        ring
    }

    /// Several joins and leaves, as [`Ring::set`] of each.
    pub(super) fn change(&mut self, leave: &[u32], join: &[(u32, &str, Weight)]) {
        leave.iter().for_each(|&member| self.set(member, "", None));
        join.iter().for_each(|&(member, name, weight)| self.set(member, name, Some(weight)));
    }

    /// The ring as (point, number) pairs, in order.
    pub(super) fn layout(&self) -> Vec<(u32, u32)> {
        self.arcs.iter().flatten().map(|point| (point.at, point.member)).collect()
    }
}
