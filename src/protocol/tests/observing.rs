//! What observers ask for and are told.

use proptest::option;
use proptest::prelude::*;

use super::frame;
use crate::message::observe::{EventFilter, HAPPENINGS};
use crate::protocol::{Answer, read_frame};

/// Any filter.
pub(super) fn filter() -> impl Strategy<Value = EventFilter> {
    let name = || option::of("[A-Za-z0-9._/-]{1,128}");
    let words = prop::sample::subsequence(HAPPENINGS.to_vec(), 0..HAPPENINGS.len());
    let what = words.prop_map(|words| words.into_iter().map(str::to_owned).collect());
    let numbers = (option::of(any::<u64>()), option::of(1000..=60_000_u64));
    (name(), name(), name(), what, numbers).prop_map(
        |(queue, kind, worker, what, (from, stats_ms))| EventFilter {
            queue,
            kind,
            worker,
            what,
            from,
            stats_ms,
        },
    )
}

#[test]
fn events_are_read_with_what_later_versions_add() {
    let text = "EVENT 7 exploded 06fq2v8k3n1zg 0 at=5 queue=q kind=k note=a%20b loud #4\nhalf\n";
    let Ok(Answer::Event(event)) = read_frame(&frame(text)) else { panic!("no event") };
    assert_eq!((event.seq, &*event.what, event.attempt, event.at_ms), (7, "exploded", 0, 5));
    assert_eq!((event.option("note").as_deref(), &*event.note()), (Some("a b"), &b"half"[..]));
    assert_eq!(event.options().count(), 4);
    assert_eq!(read_frame(&frame("GAP 3 9 for=good\n")), Ok(Answer::Gap(3, 9)));
    assert_eq!(read_frame(&frame("STATS #2\n{}\n")), Ok(Answer::Stats("{}".into())));
}

#[test]
fn events_that_lack_something_are_an_error() {
    for text in [
        "EVENT\n",
        "EVENT done 06fq2v8k3n1zg 1 at=5\n",
        "EVENT 7 done 06fq2v8k3n1zg 1\n",
        "EVENT 7 done zzz 1 at=5\n",
        "EVENT 7 done 06fq2v8k3n1zg x at=5\n",
        "GAP 3\n",
        "GAP 3 x\n",
    ] {
        assert!(read_frame(&frame(text)).is_err(), "{text}");
    }
}
