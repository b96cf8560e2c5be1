//! Anything that can be asked of a task.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::frame::Frame;
use crate::message::{AfterFailure, Start};
use crate::protocol::{Attempts, Submission};
use crate::task::TaskId;

pub(super) fn id() -> impl Strategy<Value = TaskId> {
    any::<u64>().prop_map(TaskId::from_bits)
}

pub(super) fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._/-]{1,128}"
}

/// What an option can hold: anything but control characters, with the delicate ones over-represented.
pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ %=#a-z0-9]{1,64}", "[^\\p{Cc}]{1,64}"]
}

pub(super) fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        "(DONE 06fq2v8k3n1zg 1 #[0-9]\n|STATS\n|\n| #5|OK){0,9}".prop_map(String::into_bytes),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Now),
        (0..=315_360_000_000_u64).prop_map(Start::Delay),
        (0..=5_975_883_311_103_u64).prop_map(Start::At),
    ]
}

/// What a worker has or a task takes up.
pub(super) fn amounts() -> impl Strategy<Value = Vec<(String, u64)>> {
    let amounts =
        prop::collection::btree_map("[a-z0-9._/-]{1,40}", 1..=1_000_000_000_000_u64, 0..=8);
    amounts.prop_map(|amounts| amounts.into_iter().collect())
}

/// What a submission can be, owned.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) kind: String,
    pub(super) texts: [Option<String>; 4],
    pub(super) after: Vec<TaskId>,
    pub(super) after_failure: Option<AfterFailure>,
    pub(super) serial: bool,
    pub(super) needs: Vec<String>,
    pub(super) res: Vec<(String, u64)>,
    pub(super) start: Start,
    pub(super) numbers: [Option<u64>; 5],
    pub(super) attempts: Option<Attempts>,
    pub(super) watch: bool,
    pub(super) payload: Vec<u8>,
}

impl Wanted {
    pub(super) fn submission(&self) -> Submission<'_> {
        let [queue, key, unique, trace] = self.texts.each_ref().map(|text| text.as_deref());
        let [expires_ms, timeout_ms, max_run_ms, backoff_ms, result_ttl_ms] = self.numbers;
        Submission {
            queue,
            key,
            after: &self.after,
            after_failure: self.after_failure.filter(|_| !self.after.is_empty()),
            serial: self.serial && key.is_some(),
            res: self.res.iter().map(|(name, amount)| (name.as_str(), *amount)).collect(),
            needs: self.needs.iter().map(String::as_str).collect(),
            start: self.start,
            expires_ms,
            timeout_ms,
            max_run_ms,
            attempts: self.attempts,
            backoff_ms,
            unique,
            unique_for_ms: unique.and(backoff_ms),
            result_ttl_ms,
            watch: self.watch,
            trace,
            ..Submission::new(&self.kind, &self.payload)
        }
    }

    pub(super) fn frame(&self) -> Frame {
        let mut out = Vec::new();
        self.submission().put(&mut out).unwrap();
        Frame::read(out.into()).unwrap()
    }
}

pub(super) fn wanted() -> impl Strategy<Value = Wanted> {
    let texts = (option::of(name()), option::of(text()), option::of(text()), option::of(text()));
    let number = || option::of(1..=86_400_000_u64);
    let attempts = option::of(prop_oneof![
        (1..=1000_u32).prop_map(Attempts::AtMost),
        Just(Attempts::Unlimited)
    ]);
    let numbers = (number(), number(), number(), number(), number());
    let needs = vec("[A-Za-z0-9._/-]{1,40}", 0..=16);
    let failures = vec![AfterFailure::Wait, AfterFailure::Cancel, AfterFailure::Run];
    let after = (vec(id(), 0..=100), option::of(prop::sample::select(failures)));
    let lists = (after, any::<bool>(), needs, amounts());
    (name(), texts, lists, start(), numbers, attempts, any::<bool>(), payload()).prop_map(
        |(
            kind,
            texts,
            ((after, after_failure), serial, needs, res),
            start,
            numbers,
            attempts,
            watch,
            payload,
        )| Wanted {
            kind,
            texts: texts.into(),
            after,
            after_failure,
            serial,
            needs,
            res,
            start,
            numbers: numbers.into(),
            attempts,
            watch,
            payload,
        },
    )
}
