//! Every mutant is caught, and called by the name of the promise that it breaks.

use super::Mutant;

/// The mutants, and the invariants by which each may be caught.
const CAUGHT: [(Mutant, &[&str]); 34] = [
    (Mutant::AckBeforeApply, &["I29"]),
    (Mutant::DeliverBeforeCommit, &["I02", "I08"]),
    (Mutant::TornBatch, &["I29"]),
    (Mutant::LostTask, &["I29"]),
    (Mutant::LostResults, &["I14", "I29"]),
    (Mutant::SecondResult, &["I10"]),
    (Mutant::ForgedResult, &["I13"]),
    (Mutant::InventedTask, &["I03"]),
    (Mutant::SkippedAttempt, &["I09"]),
    (Mutant::Resurrection, &["I18"]),
    (Mutant::Vanishing, &["I01"]),
    (Mutant::MoreSlots, &["I06"]),
    (Mutant::AnyKind, &["I07"]),
    (Mutant::TwoHolders, &["I04"]),
    (Mutant::EndlessAttempts, &["I19"]),
    (Mutant::MisheardAttempt, &["I11"]),
    (Mutant::FailTakenForDone, &["I12", "I13"]),
    (Mutant::CancelTakenForGet, &["I21"]),
    (Mutant::HastyClock, &["I20"]),
    (Mutant::FastClock, &["I20", "I30", "W"]),
    (Mutant::ForgottenLines, &["I30"]),
    (Mutant::ForgottenRuns, &["I06", "I14", "I23"]),
    (Mutant::DeafToTime, &["Q01", "Q05"]),
    (Mutant::ForgedTask, &["I08"]),
    (Mutant::SpoiltPayload, &["I22"]),
    (Mutant::TwofoldTasks, &["I09"]),
    (Mutant::TwofoldResults, &["R"]),
    (Mutant::LostPushes, &["Q04"]),
    (Mutant::WrongState, &["I05"]),
    (Mutant::KindReplies, &["I14"]),
    (Mutant::SwappedReplies, &["R", "I02"]),
    (Mutant::ForgottenInstant, &["D11"]),
    (Mutant::StayingEntry, &["E01"]),
    (Mutant::HastyEntries, &["E01"]),
];

/// Seeds within which a mutant must be caught.
const SEEDS: u64 = 100;

#[test]
fn every_mutant_is_caught_by_name() {
    let mut missed = Vec::new();
    for (mutant, names) in CAUGHT {
        let caught = (0..SEEDS).find_map(|seed| Some((seed, crate::run(seed, Some(mutant)).1?)));
        let Some((seed, text)) = caught else {
            missed.push(format!("{mutant:?} is not caught"));
            continue;
        };
        let text = text.lines().next().unwrap_or_default();
        eprintln!("{mutant:?}, seed {seed}: {text}");
        if !names.iter().any(|name| text.starts_with(&format!("{name}: "))) {
            missed.push(format!("{mutant:?} is caught by seed {seed} as {text}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
