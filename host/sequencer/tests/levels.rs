//! The feature level: raised once all members know a higher one, whatever happens to the entry that raises it, and never
//! twice.

use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::Term;
use quorate_core::level::Level;
use quorate_core::limits;
use quorate_core::request::LifetimeKind;
use quorate_core::transaction::{Entry, EntryBody};
use quorate_sequencer::{Input, Leadership};

use crate::harness::World;
use crate::harness::client::{create, set};

/// A leader hears what all members know.
fn know(world: &mut World, member: usize, term: Term, level: u32) {
    let leadership = Leadership { term };
    let known = Input::MembersKnow { leadership, level: Level(level) };
    world.members[member].sequencer.handle(known, world.now);
}

fn level(world: &World, member: usize) -> Level {
    world.members[member].tree.level()
}

fn changes(entry: &Entry) -> Vec<&Change> {
    let EntryBody::Batch { transactions, .. } = &entry.body else { return Vec::new() };
    transactions.iter().flat_map(|transaction| &transaction.changes).collect()
}

fn raises(entry: &Entry) -> bool {
    changes(entry).iter().any(|change| matches!(change, Change::LevelRaised { .. }))
}

/// Entries of the log that raise the level, taken or not.
fn raises_logged(world: &World) -> usize {
    world.log.iter().filter(|logged| raises(&logged.entry)).count()
}

#[test]
fn a_raise_is_the_last_change_of_its_entry() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    know(&mut world, 0, Term(1), 2);
    world.step(0);
    world.send(0, set("/n", "x"));
    world.step(0);
    let entries = world.batches(0);
    let all: Vec<Vec<&Change>> = entries.iter().map(|entry| changes(entry)).collect();
    assert!(matches!(all[0][..], [Change::LevelRaised { level: Level(2) }]), "{all:?}");
    assert!(matches!(all[1][..], [Change::NodeCreated { .. }]), "{all:?}");
    world.settle();
    assert_eq!(level(&world, 0), Level(2));
    assert_eq!(raises_logged(&world), 1);
}

#[test]
fn a_leader_that_was_told_before_it_leads_raises_the_level_before_anything_else() {
    let mut world = World::new(1);
    know(&mut world, 0, Term(1), 2);
    world.elect(0, 0);
    world.settle();
    assert!(matches!(world.log[0].entry.body, EntryBody::Barrier));
    assert!(raises(&world.log[1].entry));
    assert_eq!(level(&world, 0), Level(2));
}

#[test]
fn what_members_said_under_another_leadership_raises_nothing() {
    let mut world = World::ready(2, 0);
    world.elect(1, 0);
    world.settle();
    know(&mut world, 1, Term(1), 2);
    world.settle();
    assert_eq!(level(&world, 1), Level::FIRST);
    know(&mut world, 1, Term(2), 2);
    world.settle();
    assert_eq!([level(&world, 0), level(&world, 1)], [Level(2); 2]);
}

#[test]
fn a_raise_that_was_refused_comes_again_in_the_next_epoch() {
    let mut world = World::ready(1, 0);
    know(&mut world, 0, Term(1), 2);
    world.step(0);
    assert!(raises(world.batches(0)[0]));
    assert!(world.refuse(0) && world.tell(0));
    world.settle();
    assert_eq!(level(&world, 0), Level(2));
    assert_eq!(raises_logged(&world), 1);
}

#[test]
fn a_raise_that_a_fail_over_loses_is_made_by_the_next_leader_when_it_is_told() {
    let mut world = World::ready(2, 0);
    know(&mut world, 0, Term(1), 2);
    world.step(0);
    assert!(world.append(0));
    world.elect(1, 0);
    world.settle();
    assert_eq!([level(&world, 0), level(&world, 1)], [Level::FIRST; 2], "it was cut from the log");
    know(&mut world, 1, Term(2), 2);
    world.settle();
    assert_eq!([level(&world, 0), level(&world, 1)], [Level(2); 2]);
    assert_eq!(raises_logged(&world), 1);
}

#[test]
fn a_raise_that_outlives_its_leader_is_not_made_again() {
    let mut world = World::ready(2, 0);
    know(&mut world, 0, Term(1), 2);
    world.step(0);
    assert!(world.append(0));
    world.elect(1, 1);
    know(&mut world, 1, Term(2), 2);
    world.settle();
    assert_eq!([level(&world, 0), level(&world, 1)], [Level(2); 2]);
    assert_eq!(raises_logged(&world), 1);
}

#[test]
fn the_level_never_falls() {
    let mut world = World::ready(1, 0);
    for known in [2, 1, 2, 4, 3] {
        know(&mut world, 0, Term(1), known);
        world.settle();
    }
    assert_eq!(level(&world, 0), Level(4));
    assert_eq!(raises_logged(&world), 2);
}

#[test]
fn a_raise_waits_for_a_place_in_the_pipeline_and_fits_its_entry() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    for number in 0..limits::BATCHES_IN_FLIGHT_MAX + limits::BATCH_TRANSACTIONS_MAX {
        world.send(0, set("/n", &number.to_string()));
        if number < limits::BATCHES_IN_FLIGHT_MAX {
            world.step(0);
        }
    }
    world.step(0);
    know(&mut world, 0, Term(1), 2);
    world.step(0);
    assert_eq!(world.batches(0).len(), limits::BATCHES_IN_FLIGHT_MAX);
    assert!(!world.batches(0).into_iter().any(raises));
    world.settle();
    assert_eq!(level(&world, 0), Level(2));
    for logged in &world.log {
        let EntryBody::Batch { transactions, .. } = &logged.entry.body else { continue };
        assert!(transactions.len() <= limits::BATCH_TRANSACTIONS_MAX, "members would not read it");
    }
}
