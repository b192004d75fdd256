//! Runs of the simulator as tests: a few seeds hold what must hold, the same seed is the same run twice, and what is broken
//! on purpose is noticed.

use quorate_sim::mutant::{Mutant, Mutants};
use quorate_sim::run::{Options, Report, run};

fn traced(seed: u64) -> Report {
    run(seed, Options { is_traced: true, ..Options::default() })
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 59, 4_242] {
        let (first, second) = (traced(seed), traced(seed));
        let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
        assert!(first.trace.len() > 500, "a run in which nothing happens shows nothing");
    }
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(traced(7).trace, traced(8).trace);
}

#[test]
fn what_must_hold_holds_and_faults_happen() {
    let (mut crashes, mut repeated, mut pieces) = (0, 0, 0);
    for seed in 500..520 {
        let report = run(seed, Options::default());
        assert_eq!(report.failure, None, "again: quorate-sim --seed {seed} --trace");
        assert!(report.counts.replies > 0, "seed {seed}: nobody was answered");
        crashes += report.counts.crashes;
        repeated += report.counts.repeated;
        pieces += report.counts.pieces;
    }
    assert!(crashes > 0, "no member crashed in twenty runs");
    assert!(repeated > 0, "no message arrived again in twenty runs");
    assert!(pieces > 0, "no tree was sent in twenty runs");
}

/// The first seed that notices these mutants together.
fn noticed(mutants: &[Mutant], seeds_max: u64) -> Option<u64> {
    let options = Options { mutants: Mutants::of(mutants), ..Options::default() };
    (1..=seeds_max).find(|seed| run(*seed, options).failure.is_some())
}

#[test]
fn what_is_broken_on_purpose_is_noticed() {
    // Those that take long are in the table of docs/testing.md, which says after how many seeds each is noticed.
    let quick: [&[Mutant]; 8] = [
        &[Mutant::SkipSync],
        &[Mutant::AnswerBeforeCommit],
        &[Mutant::HeartbeatAlone],
        &[Mutant::LeaderRestore],
        &[Mutant::PreGrantForThem],
        &[Mutant::AnyBase],
        &[Mutant::StaleReads],
        &[Mutant::AnyStream, Mutant::Unchecked],
    ];
    for mutants in quick {
        assert!(noticed(mutants, 120).is_some(), "{mutants:?} is not noticed in 120 runs");
    }
}
