//! The route `weighted-round-robin`: turns in proportion to weight, as evenly spread as can be.
//!
//! It is WF²Q+ (Jon C. R. Bennett and Hui Zhang, "Hierarchical Packet Fair Queueing Algorithms",
//! 1997) with packets of one size. On a virtual clock that goes on by 1 ÷ (sum of the weights) with
//! each choice, a member of weight w has a turn of length 1 ÷ w, and the next when that is over. Of
//! those whose turn has begun, the one whose turn ends first is chosen. With the same members
//! throughout, everyone is thus always less than one choice away from its exact share (Robert
//! Tijdeman, "The chairman assignment problem", 1980). The smooth weighted round robin of nginx has
//! the same shares over each period and the same purpose, but looks at every member each time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Weight;

/// The length of the turn of a thousandth of weight: 1000 × the least common multiple of 1 to 50, so
/// that nothing is cut off where weights and their sum are whole numbers of the usual size. Where
/// something is, it is carried over to the next turn, and it is too little to change an order among
/// members that are there throughout: different fractions of two weights, or of a weight and a sum,
/// are further apart.
const ONE: i128 = 1000 * 3099044504245996706400;

/// Members that take turns on one clock, meant to be numbered densely.
///
/// Who comes (back) has a turn from now on, or the rest of the one it left: nothing is made up for.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    clock: i128,
    /// What was cut off from the clock's last step, and the sum of the weights at that.
    rest: (i128, i128),
    members: Vec<Option<Member>>,
    /// Those here whose turn has begun, by its end.
    begun: BTreeSet<(i128, Arc<str>, u32)>,
    /// Those here whose turn has yet to begin, by its beginning.
    early: BTreeSet<(i128, u32)>,
}

#[derive(Clone, Debug)]
struct Member {
    name: Arc<str>,
    /// In thousandths; above 0.
    weight: i128,
    begin: i128,
    /// What was cut off from the beginning.
    rest: i128,
    here: bool,
}

impl Member {
    fn end(&self) -> i128 {
        self.begin + (ONE + self.rest) / self.weight
    }
}

/// What makes a member the next: how long its turn still lasts, then its name, then its number.
pub type Turn<'a> = (i128, &'a Arc<str>, u32);

impl Turns {
    /// Turns of nobody.
    pub fn new() -> Turns {
        Turns::default()
    }

    /// Has a member take turns, with a weight; weight 0 has it sit out, its turn remembered. O(log n),
    /// and O(gap) more when its number lies beyond the largest so far.
    pub fn set(&mut self, index: u32, name: &Arc<str>, weight: Weight) {
        let weight = i128::from(weight.thousandths());
        let known = self.members.get(index as usize).and_then(Option::as_ref);
        if known.map_or(weight == 0, |known| match known.here {
            true => known.weight == weight,
            false => weight == 0,
        }) {
            return;
        }
        self.sit_out(index);
        if weight == 0 {
            return;
        }
        if self.members.len() <= index as usize {
            self.members.resize(index as usize + 1, None);
        }
        let Some(slot) = self.members.get_mut(index as usize) else { return };
        let new = Member { name: name.clone(), weight, begin: self.clock, rest: 0, here: true };
        let member = slot.get_or_insert(new);
        (member.weight, member.here) = (weight, true);
        if member.begin < self.clock {
            (member.begin, member.rest) = (self.clock, 0);
        }
        member.rest %= weight;
        self.line_up(index);
    }

    /// Forgets a member: the number may be somebody else's from now on.
    pub fn forget(&mut self, index: u32) {
        self.sit_out(index);
        if let Some(slot) = self.members.get_mut(index as usize) {
            *slot = None;
        }
    }

    /// How far the clock is from the beginning of a turn: 0 if one has begun; `None` if nobody is here.
    pub fn wait(&self) -> Option<i128> {
        if !self.begun.is_empty() {
            return Some(0);
        }
        self.early.first().map(|(begin, _)| begin - self.clock)
    }

    /// Who is next among those whose turn has begun.
    pub fn first(&self) -> Option<Turn<'_>> {
        self.begun.first().map(|(end, name, index)| (end - self.clock, name, *index))
    }

    /// A member was chosen: its next turn follows this one. O(log n).
    pub fn take(&mut self, index: u32) {
        let Some(Some(member)) = self.members.get(index as usize) else { return };
        let (end, rest) = (member.end(), (ONE + member.rest) % member.weight);
        let was_here = member.here;
        self.sit_out(index);
        if let Some(Some(member)) = self.members.get_mut(index as usize) {
            (member.begin, member.rest, member.here) = (end, rest, was_here);
        }
        if was_here {
            self.line_up(index);
        }
    }

    /// The clock goes on by a time of [`Turns::wait`].
    pub fn skip(&mut self, by: i128) {
        self.clock += by;
        while let Some(&(begin, index)) = self.early.first()
            && begin <= self.clock
        {
            self.early.pop_first();
            self.line_up(index);
        }
    }

    /// The clock goes on after a choice among members of so many thousandths together. Each member's
    /// turn begins once in its length, so that this is O(log n), over many.
    pub fn step(&mut self, total: u64) {
        let total = i128::from(total.max(1));
        let rest = if self.rest.1 == total { self.rest.0 } else { 0 };
        self.rest = ((ONE + rest) % total, total);
        self.skip((ONE + rest) / total);
    }

    /// The members that take turns, with their weights, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Weight)> {
        let members = (0..).zip(&self.members);
        members.filter_map(|(index, member)| {
            let member = member.as_ref().filter(|member| member.here)?;
            Some((index, Weight::from_thousandths(u32::try_from(member.weight).ok()?)?))
        })
    }

    /// Whether everyone here, and nobody else, stands where its turn has it stand.
    pub fn is_sound(&self) -> bool {
        let (mut begun, mut early) = (BTreeSet::new(), BTreeSet::new());
        for (index, member) in (0..).zip(&self.members) {
            let Some(member) = member.as_ref().filter(|member| member.here) else { continue };
            if member.begin <= self.clock {
                begun.insert((member.end(), member.name.clone(), index));
            } else {
                early.insert((member.begin, index));
            }
        }
        begun == self.begun && early == self.early
    }

    fn line_up(&mut self, index: u32) {
        let Some(Some(member)) = self.members.get(index as usize) else { return };
        if member.begin <= self.clock {
            self.begun.insert((member.end(), member.name.clone(), index));
        } else {
            self.early.insert((member.begin, index));
        }
    }

    fn sit_out(&mut self, index: u32) {
        let Some(Some(member)) = self.members.get_mut(index as usize) else { return };
        member.here = false;
        if !self.early.remove(&(member.begin, index)) {
            self.begun.remove(&(member.end(), member.name.clone(), index));
        }
    }
}
