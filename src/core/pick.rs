//! Which of the free workers: the route of the task's queue chooses among those of the pools that are
//! able. Only a choice counts for whose turn is next: a worker that comes free while tasks wait takes
//! one, whichever the route.

use std::sync::Arc;

use rand::RngExt;

use crate::core::Core;
use crate::core::standing::Standing;
use crate::core::workers::Pool;
use crate::cost::Pair;
use crate::message::Route;
use crate::route::{Ratio, comes_before};

/// How long a task is believed to take where its kind was never measured, in microseconds. Any
/// number would do: it is the same for all.
const UNKNOWN_US: u64 = 1_000_000;

impl Core {
    /// A free worker for a class, by the route of its queue; under those by key, and by default, at
    /// random in proportion to weight.
    pub(super) fn pick(&mut self, class: u32) -> Option<u32> {
        let queue = self.queues.class(class).queue;
        match self.queues.queue(queue).policy.route {
            Route::WeightedRandom | Route::Hash | Route::Modulo => self.pick_by_weight(class),
            Route::Random => self.pick_random(class),
            Route::RoundRobin => self.pick_after(class),
            Route::WeightedRoundRobin => self.pick_turn(class),
            Route::LeastLoaded => self.pick_least_loaded(class),
            Route::Fastest => self.pick_fastest(class),
        }
    }

    pub(super) fn pick_exists(&self, class: u32) -> bool {
        self.free_weight(class) > 0
    }

    /// The weights of the free workers for a class together, in thousandths.
    fn free_weight(&self, class: u32) -> u64 {
        let its = self.queues.class(class);
        self.able_pools(class).map(|(_, pool)| pool.free_for(its).total()).sum()
    }

    fn able_pools(&self, class: u32) -> impl Iterator<Item = (u32, &Pool)> {
        let pools = self.queues.class(class).pools.iter();
        pools.filter_map(|number| Some((*number, self.workers.pools.get(*number)?)))
    }

    fn standings(&self, class: u32) -> impl Iterator<Item = (u32, &Standing)> {
        let demand = self.demand(class);
        self.able_pools(class)
            .filter_map(move |(number, pool)| Some((number, pool.standing_for(demand)?)))
    }

    /// What decides who of the able has room.
    fn demand(&self, class: u32) -> u32 {
        self.queues.class(class).parts.demand
    }

    fn worker_at(&self, pool: u32, place: u32) -> Option<u32> {
        self.workers.pools.get(pool)?.members.get(place).copied()
    }

    fn pick_by_weight(&mut self, class: u32) -> Option<u32> {
        let total = self.free_weight(class);
        if total == 0 {
            return None;
        }
        let mut drawn = self.draw(total);
        for (_, pool) in self.able_pools(class) {
            let free = pool.free_for(self.queues.class(class));
            let weight = free.total();
            if drawn < weight {
                let place = free.pick(drawn)?;
                return pool.members.get(place).copied();
            }
            drawn -= weight;
        }
        None
    }

    fn pick_random(&mut self, class: u32) -> Option<u32> {
        let ranked =
            self.standings(class).filter_map(|(pool, its)| Some((pool, its.random.as_ref()?)));
        let firsts = ranked.filter_map(|(pool, ranked)| Some((pool, ranked.first()?))).collect();
        let (pool, number) = self.draw_first(firsts)?;
        let ranked = self.workers.standing(pool, self.demand(class))?.random.as_ref()?;
        self.worker_at(pool, ranked.pick(number)?)
    }

    fn pick_least_loaded(&mut self, class: u32) -> Option<u32> {
        let ranked =
            self.standings(class).filter_map(|(pool, its)| Some((pool, its.loads.as_ref()?)));
        let firsts = ranked.filter_map(|(pool, ranked)| Some((pool, ranked.first()?))).collect();
        let (pool, number) = self.draw_first(firsts)?;
        let ranked = self.workers.standing(pool, self.demand(class))?.loads.as_ref()?;
        self.worker_at(pool, ranked.pick(number)?)
    }

    /// Who is expected to be through first.
    fn pick_fastest(&mut self, class: u32) -> Option<u32> {
        let kind = self.queues.class(class).kind;
        let estimate = self.costs.estimate(self.kinds.text(kind));
        let estimate_us = estimate.map_or(UNKNOWN_US, |estimate| whole(estimate.mean_us));
        for pool in self.queues.class(class).pools.clone() {
            self.catch_up(pool, self.demand(class), kind);
        }
        let paces =
            self.standings(class).filter_map(|(pool, its)| Some((pool, its.pace.as_ref()?)));
        let best = paces.filter_map(|(pool, pace)| Some((pool, pace.best(kind, estimate_us)?)));
        let firsts = best.collect();
        let (pool, number) = self.draw_first(firsts)?;
        let pace = self.workers.standing(pool, self.demand(class))?.pace.as_ref()?;
        self.worker_at(pool, pace.pick(kind, estimate_us, number)?)
    }

    /// Of pools with their smallest keys and how many have them: a pool with the smallest of all, and
    /// a number below how many have it there, so that each of those in all pools is equally likely.
    fn draw_first(&mut self, mut firsts: Vec<(u32, (u128, usize))>) -> Option<(u32, usize)> {
        let best = firsts.iter().map(|(_, (key, _))| *key).min()?;
        firsts.retain(|(_, (key, _))| *key == best);
        let total = firsts.iter().map(|(_, (_, count))| *count).sum::<usize>();
        let mut drawn = if total > 1 { self.rng.random_range(0..total) } else { 0 };
        for (pool, (_, count)) in firsts {
            if drawn < count {
                return Some((pool, drawn));
            }
            drawn -= count;
        }
        None
    }

    /// Has a pool take note, for a kind, of what has changed since it was last chosen from for that.
    fn catch_up(&mut self, pool: u32, demand: u32, kind: u32) {
        let pace =
            self.workers.standing_mut(pool, demand).and_then(|standing| standing.pace.as_mut());
        let news = pace.map(|pace| pace.news(kind)).unwrap_or_default();
        for place in news {
            let worker = self.worker_at(pool, place);
            let estimate_us = worker.and_then(|worker| self.estimate_on(worker, kind));
            let pace =
                self.workers.standing_mut(pool, demand).and_then(|standing| standing.pace.as_mut());
            if let Some(pace) = pace {
                pace.put(kind, place, estimate_us);
            }
        }
    }

    /// A run on a worker, booked on a pair, has shown how slow it is.
    pub(super) fn note_slowness(&mut self, worker: u32, pair: Pair) {
        let slowness = Ratio::of(self.costs.slowness_on(pair));
        let session = self.workers.sessions.at_mut(worker);
        session.slowness = slowness;
        if session.superseded
            && let name = session.name
            && let Some(newer) = self.workers.by_name(name)
        {
            self.workers.sessions.at_mut(newer).slowness = slowness;
        }
    }

    /// The recent mean duration of a kind on a worker in microseconds, if it was measured. Where there
    /// are too many pairs, those without an account of their own count as unmeasured.
    pub(super) fn estimate_on(&self, worker: u32, kind: u32) -> Option<u64> {
        let session = self.workers.sessions.get(worker)?;
        let known = session.pairs.get(&kind).copied();
        let known = known.filter(|(its, _)| *its == self.kinds.serial(kind));
        let known = known.map(|(_, pair)| pair).filter(|pair| self.costs.holds(*pair));
        let pair = known.or_else(|| self.costs.find(self.kinds.text(kind), &session.title))?;
        if self.costs.is_shared(pair) {
            return None;
        }
        self.costs.pair_estimate(pair).map(|estimate| whole(estimate.mean_us))
    }

    /// The next by name after the one that the queue chose last.
    fn pick_after(&mut self, class: u32) -> Option<u32> {
        let queue = self.queues.class(class).queue;
        let from = self.queues.queue(queue).chosen.as_ref();
        let circles =
            self.standings(class).filter_map(|(pool, its)| Some((pool, its.circle.as_ref()?)));
        let nexts = circles.filter_map(|(pool, circle)| Some((pool, circle.after(from)?)));
        let sooner = |a: &Arc<str>, b: &Arc<str>| comes_before(from.map(|name| &**name), a, b);
        let next = nexts.reduce(|a, b| if sooner(b.1.0, a.1.0) { b } else { a });
        let (pool, (name, place)) = next?;
        let (name, worker) = (name.clone(), self.worker_at(pool, place));
        self.queues.queue_mut(queue).chosen = Some(name);
        worker
    }

    /// Whose turn it is. Each pool has a clock of its own; those of the pools that could have been
    /// chosen from go on together. So a class that only some can do brings those forward against
    /// each other, and gives the others nothing to make up for.
    fn pick_turn(&mut self, class: u32) -> Option<u32> {
        let (total, demand) = (self.free_weight(class), self.demand(class));
        let turns = self.standings(class).filter_map(|(_, its)| its.turns.as_ref());
        let wait = turns.filter_map(|turns| turns.wait()).min()?;
        let pools = self.queues.class(class).pools.clone();
        for pool in pools.iter().filter(|_| wait > 0) {
            self.workers.turns_mut(*pool, demand).into_iter().for_each(|turns| turns.skip(wait));
        }
        let turns =
            self.standings(class).filter_map(|(pool, its)| Some((pool, its.turns.as_ref()?)));
        let firsts = turns.filter_map(|(pool, turns)| Some((turns.first()?, pool)));
        let ((_, _, place), chosen) = firsts.min()?;
        self.workers.turns_mut(chosen, demand)?.take(place);
        for pool in pools {
            self.workers.turns_mut(pool, demand).into_iter().for_each(|turns| turns.step(total));
        }
        self.worker_at(chosen, place)
    }
}

/// Microseconds, at least 1, as a whole number.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn whole(us: f64) -> u64 {
    us.round().max(1.0) as u64
}
