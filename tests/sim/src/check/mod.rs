//! What must hold of a run (DESIGN section 4): each invariant is a file, sees what happened, and says when it is broken. It
//! knows nothing of the simulation that makes things happen.

pub mod agreement;
pub mod ephemerals;
pub mod event;
pub mod freshness;
pub mod heartbeats;
pub mod linearizable;
pub mod locks;
pub mod sequences;
pub mod sessions;
pub mod steady;
pub mod votes;
pub mod watches;
pub mod zxids;

use event::Event;

/// Something that must hold.
pub trait Invariant {
    /// Its name, for whoever reads of its breach.
    fn name(&self) -> &'static str;

    /// Takes notice of what happened at this moment of the world, in nanoseconds.
    ///
    /// # Errors
    /// What is wrong with it.
    fn see(&mut self, event: &Event, at_ns: u64) -> Result<(), String>;

    /// Nothing more happens.
    ///
    /// # Errors
    /// What is wrong with the whole.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// All invariants over one run.
pub struct Oracle {
    agreement: agreement::Agreement,
    sessions: sessions::Sessions,
    linearizable: linearizable::Linearizable,
    others: Vec<Box<dyn Invariant>>,
    /// What was broken first.
    broken: Option<String>,
}

impl Oracle {
    /// For a cluster whose members begin with this tree.
    #[must_use]
    pub fn new(beginning: crate::raft::disk::TreeImage) -> Self {
        let others: Vec<Box<dyn Invariant>> = vec![
            Box::<zxids::Zxids>::default(),
            Box::<ephemerals::Ephemerals>::default(),
            Box::<sequences::Sequences>::default(),
            Box::<locks::Locks>::default(),
            Box::<heartbeats::Heartbeats>::default(),
            Box::<freshness::Freshness>::default(),
            Box::<votes::Votes>::default(),
            Box::<steady::Steady>::default(),
            Box::<watches::Watches>::default(),
        ];
        Self {
            agreement: agreement::Agreement::new(&beginning),
            sessions: sessions::Sessions::default(),
            linearizable: linearizable::Linearizable::default(),
            others,
            broken: None,
        }
    }

    /// Takes notice of what happened.
    pub fn see(&mut self, event: &Event, at_ns: u64) {
        if self.broken.is_some() {
            return;
        }
        let agreed = self.agreement.see(event, at_ns);
        self.note(self.agreement.name(), agreed);
        self.show(event, at_ns);
        while let Some(committed) = self.agreement.poll_committed() {
            self.show(&committed, at_ns);
        }
    }

    fn show(&mut self, event: &Event, at_ns: u64) {
        let results: Vec<_> = self.all().map(|one| (one.name(), one.see(event, at_ns))).collect();
        for (name, result) in results {
            self.note(name, result);
        }
    }

    /// All but the one that says what is committed.
    fn all(&mut self) -> impl Iterator<Item = &mut dyn Invariant> {
        let sessions: &mut dyn Invariant = &mut self.sessions;
        let linearizable: &mut dyn Invariant = &mut self.linearizable;
        let others = self.others.iter_mut().map(|one| -> &mut dyn Invariant { &mut **one });
        others.chain([sessions, linearizable])
    }

    fn note(&mut self, name: &str, result: Result<(), String>) {
        if let (Err(why), None) = (result, &self.broken) {
            self.broken = Some(format!("{name}: {why}"));
        }
    }

    /// Nothing more happens.
    pub fn finish(&mut self) {
        let results: Vec<_> = self.all().map(|one| (one.name(), one.finish())).collect();
        for (name, result) in results {
            self.note(name, result);
        }
    }

    /// What was broken first.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Sessions that expired.
    #[must_use]
    pub fn sessions(&self) -> &sessions::Sessions {
        &self.sessions
    }

    /// Histories of objects.
    #[must_use]
    pub fn linearizable(&self) -> &linearizable::Linearizable {
        &self.linearizable
    }

    /// What the log holds so far.
    #[must_use]
    pub fn agreement(&self) -> &agreement::Agreement {
        &self.agreement
    }
}
