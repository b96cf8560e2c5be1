//! The free workers of a pool in the orders that routes ask for. An order is kept from the first
//! queue that takes its route to the last that gives it up; the default route needs none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::slots::Slots;
use crate::core::workers::{Pool, Worker, Workers};
use crate::message::Route;
use crate::route::{Circle, Load, Pace, Ranked, Turns, Weight, load};

/// How many queues use each route that has an order.
#[derive(Debug, Default)]
pub(super) struct Uses {
    counts: [u32; Route::ALL.len()],
    /// How many there are together.
    total: u32,
}

impl Uses {
    fn count(&mut self, route: Route) -> &mut u32 {
        let place = Route::ALL.into_iter().position(|its| its == route);
        let count = place.and_then(|place| self.counts.get_mut(place));
        count.expect("every route has a place among all")
    }

    pub(super) fn of(&self, route: Route) -> u32 {
        let mut counts = Route::ALL.into_iter().zip(self.counts);
        counts.find(|(its, _)| *its == route).map_or(0, |(_, count)| count)
    }
}

/// The free workers of a pool, by place, in the orders in use.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// `random`: all of them under one key.
    pub(super) random: Option<Ranked>,
    /// `round-robin`.
    pub(super) circle: Option<Circle>,
    /// `weighted-round-robin`.
    pub(super) turns: Option<Turns>,
    /// `least-loaded`: by load.
    pub(super) loads: Option<Ranked>,
    /// `fastest`.
    pub(super) pace: Option<Pace>,
}

impl Standing {
    fn begin(&mut self, route: Route) {
        match route {
            Route::Random => self.random = Some(Ranked::default()),
            Route::RoundRobin => self.circle = Some(Circle::default()),
            Route::WeightedRoundRobin => self.turns = Some(Turns::default()),
            Route::LeastLoaded => self.loads = Some(Ranked::default()),
            Route::Fastest => self.pace = Some(Pace::default()),
            Route::WeightedRandom | Route::Hash | Route::Modulo => {}
        }
    }

    fn end(&mut self, route: Route) {
        match route {
            Route::Random => self.random = None,
            Route::RoundRobin => self.circle = None,
            Route::WeightedRoundRobin => self.turns = None,
            Route::LeastLoaded => self.loads = None,
            Route::Fastest => self.pace = None,
            Route::WeightedRandom | Route::Hash | Route::Modulo => {}
        }
    }

    /// Puts a worker where its load has it stand; weight 0 is not free.
    pub(super) fn set(&mut self, place: u32, worker: &Worker, weight: Weight) {
        let (free, title) = (weight > Weight::ZERO, &worker.title);
        let (runs, slots) = (worker.busy(), worker.entry.slots);
        if let Some(random) = &mut self.random {
            random.set(place, free.then_some(0));
        }
        if let Some(circle) = &mut self.circle {
            circle.set(place, title, free);
        }
        if let Some(turns) = &mut self.turns {
            turns.set(place, title, weight);
        }
        if let Some(loads) = &mut self.loads {
            loads.set(place, free.then(|| load(runs, slots)));
        }
        if let Some(pace) = &mut self.pace {
            pace.set(place, free.then_some(Load { runs, slots, slowness: worker.slowness }));
        }
    }

    /// The routes whose orders are kept.
    pub(super) fn routes(&self) -> Vec<Route> {
        let is_kept = |route: &Route| match route {
            Route::Random => self.random.is_some(),
            Route::RoundRobin => self.circle.is_some(),
            Route::WeightedRoundRobin => self.turns.is_some(),
            Route::LeastLoaded => self.loads.is_some(),
            Route::Fastest => self.pace.is_some(),
            Route::WeightedRandom | Route::Hash | Route::Modulo => false,
        };
        Route::ALL.into_iter().filter(is_kept).collect()
    }

    /// Derives every order from the workers. Where a kind has them stand is for the costs to say.
    ///
    /// # Panics
    ///
    /// If one is not as it should be.
    pub(super) fn check(&self, pool: &Pool, sessions: &Slots<Worker>, amounts: &[(u32, u64)]) {
        let free = pool.members.iter().map(|(place, worker)| (place, sessions.at(*worker)));
        let free: BTreeMap<u32, &Worker> =
            free.filter(|(_, worker)| worker.is_free() && worker.stock.fits(amounts)).collect();
        for place in 0..pool.members.bound() {
            let worker = free.get(&place);
            let runs = worker.map(|worker| Load {
                runs: worker.busy(),
                slots: worker.entry.slots,
                slowness: worker.slowness,
            });
            if let Some(random) = &self.random {
                assert_eq!(random.key(place), worker.map(|_| 0), "place {place} at random");
            }
            if let Some(loads) = &self.loads {
                let key = runs.map(|its| load(its.runs, its.slots));
                assert_eq!(loads.key(place), key, "place {place} by load");
            }
            if let Some(pace) = &self.pace {
                assert_eq!(pace.load(place), runs, "place {place} by finish");
            }
        }
        if let Some(circle) = &self.circle {
            let names = circle.iter().map(|(name, place)| (place, name.clone()));
            let derived = free.iter().map(|(place, worker)| (*place, worker.title.clone()));
            assert_eq!(names.collect::<BTreeMap<_, _>>(), derived.collect(), "the circle");
        }
        if let Some(turns) = &self.turns {
            let derived = free.iter().map(|(place, worker)| (*place, worker.entry.weight));
            assert_eq!(turns.iter().collect::<BTreeMap<_, _>>(), derived.collect(), "the turns");
            assert!(turns.is_sound(), "whose turn has begun");
        }
        for ranked in self.random.iter().chain(&self.loads) {
            assert_eq!(ranked.len(), free.len(), "who is ranked");
        }
    }

    /// A worker leaves its place to others.
    pub(super) fn forget(&mut self, place: u32, title: &Arc<str>) {
        if let Some(random) = &mut self.random {
            random.set(place, None);
        }
        if let Some(circle) = &mut self.circle {
            circle.set(place, title, false);
        }
        if let Some(turns) = &mut self.turns {
            turns.forget(place);
        }
        if let Some(loads) = &mut self.loads {
            loads.set(place, None);
        }
        if let Some(pace) = &mut self.pace {
            pace.set(place, None);
        }
    }
}

impl Workers {
    /// A queue uses a route from now on, rather than another one.
    pub(super) fn change_route(&mut self, before: Route, after: Route) {
        if before == after {
            return;
        }
        if after.is_ranked() {
            self.uses.total += 1;
            *self.uses.count(after) += 1;
            if self.uses.of(after) == 1 {
                self.begin_order(after);
            }
        }
        if before.is_ranked() {
            self.uses.total -= 1;
            *self.uses.count(before) -= 1;
            if self.uses.of(before) == 0 {
                self.end_order(before);
            }
        }
    }

    fn begin_order(&mut self, route: Route) {
        for number in 0..self.pools.bound() {
            let Some(pool) = self.pools.get_mut(number) else { continue };
            for standing in pool.standings_mut() {
                standing.get_or_insert_default().begin(route);
            }
            let members: Vec<u32> = pool.members.iter().map(|(_, worker)| *worker).collect();
            members.into_iter().for_each(|worker| self.refresh(worker));
        }
    }

    fn end_order(&mut self, route: Route) {
        for number in 0..self.pools.bound() {
            let Some(pool) = self.pools.get_mut(number) else { continue };
            for standing in pool.standings_mut() {
                match standing {
                    Some(standing) if self.uses.total > 0 => standing.end(route),
                    standing => *standing = None,
                }
            }
        }
    }

    pub(super) fn standing(&self, pool: u32, demand: u32) -> Option<&Standing> {
        self.pools.get(pool)?.standing_for(demand)
    }

    pub(super) fn standing_mut(&mut self, pool: u32, demand: u32) -> Option<&mut Standing> {
        self.pools.get_mut(pool)?.standing_for_mut(demand)
    }

    pub(super) fn turns_mut(&mut self, pool: u32, demand: u32) -> Option<&mut Turns> {
        self.standing_mut(pool, demand)?.turns.as_mut()
    }

    /// All estimates may have changed.
    pub(super) fn forget_paces(&mut self) {
        for number in 0..self.pools.bound() {
            let Some(pool) = self.pools.get_mut(number) else { continue };
            for standing in pool.standings_mut().flatten() {
                standing.pace.iter_mut().for_each(Pace::forget_kinds);
            }
        }
    }

    /// The orders in use, of nobody.
    pub(super) fn new_standing(&self) -> Option<Box<Standing>> {
        let mut standing: Option<Box<Standing>> = None;
        for route in Route::ALL.into_iter().filter(|route| self.uses.of(*route) > 0) {
            standing.get_or_insert_default().begin(route);
        }
        standing
    }

    /// Tells the pool how much a worker runs, which may have room already or not yet: where a route
    /// asks for that.
    #[inline]
    pub(super) fn reload(&mut self, number: u32) {
        if self.uses.total > 0 {
            self.stand_anew(number);
        }
    }

    /// Tells the pool of who bears the name of a superseded session, if that has been measured: what
    /// tasks take is booked by name.
    #[inline]
    pub(super) fn reload_namesake(&mut self, number: u32) {
        if self.uses.total > 0
            && let Some(worker) = self.sessions.get(number).filter(|worker| worker.superseded)
            && let Some(newer) = self.by_name(worker.name)
        {
            self.stand_anew(newer);
        }
    }

    fn stand_anew(&mut self, number: u32) {
        let Some(worker) = self.sessions.get(number) else { return };
        let Some((pool, place)) = worker.pool else { return };
        let Some(pool) = self.pools.get_mut(pool) else { return };
        if let Pool { free, standing: Some(standing), .. } = pool {
            standing.set(place, worker, free.weight(place));
        }
        for room in pool.rooms.values_mut() {
            room.set(place, worker, room.free.weight(place));
        }
    }
}
