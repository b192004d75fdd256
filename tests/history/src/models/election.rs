//! An election: one leader at most, terms only grow, and whoever asks is told who leads.

use crate::Model;

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Election;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ElectionCall {
    /// Waits to lead.
    Campaign,
    /// Leads if nobody does.
    TryCampaign,
    /// Stops to lead.
    Resign(u64),
    /// Who leads.
    Leader,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ElectionAnswer {
    /// Leads now, in this term.
    Elected(u64),
    /// Somebody leads.
    Led,
    /// Leads no more.
    Resigned,
    /// Does not lead in this term.
    NotLeading,
    /// The term of whoever leads.
    Leads(Option<u64>),
}

/// Who leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Leadership {
    /// The term of who leads; none for one that was never seen: any later term may be it.
    leads: Option<Option<u64>>,
    /// The highest term that was seen.
    last: u64,
}

impl Leadership {
    fn led_in(&self, term: Option<u64>) -> Self {
        Self { leads: Some(term), last: term.unwrap_or(self.last) }
    }

    /// Whether who leads may do so in this term.
    fn may_be(&self, term: u64) -> bool {
        self.leads.is_some_and(|leads| leads.map_or(term > self.last, |leads| leads == term))
    }
}

impl Model for Election {
    type State = Leadership;
    type Input = ElectionCall;
    type Output = ElectionAnswer;

    fn initial(&self) -> Leadership {
        Leadership::default()
    }

    fn step(
        &self,
        state: &Leadership,
        input: &ElectionCall,
        output: Option<&ElectionAnswer>,
    ) -> Option<Leadership> {
        use ElectionAnswer::{Elected, Leads, Led, NotLeading, Resigned};
        use ElectionCall::{Campaign, Leader, Resign, TryCampaign};
        let is_led = state.leads.is_some();
        match (input, output) {
            (Campaign | TryCampaign, Some(Elected(term))) => {
                (!is_led && *term > state.last).then(|| state.led_in(Some(*term)))
            }
            (TryCampaign, Some(Led)) => is_led.then(|| state.clone()),
            // Never seen: it waits for ever, which is to say that it takes no effect, or leads.
            (Campaign, None) => (!is_led).then(|| state.led_in(None)),
            (TryCampaign, None) => Some(if is_led { state.clone() } else { state.led_in(None) }),
            (Resign(term), Some(Resigned)) => {
                state.may_be(*term).then(|| Leadership { leads: None, last: state.last.max(*term) })
            }
            (Resign(term), Some(NotLeading)) => {
                (state.leads != Some(Some(*term))).then(|| state.clone())
            }
            (Resign(term), None) => Some(if state.may_be(*term) {
                Leadership { leads: None, last: state.last.max(*term) }
            } else {
                state.clone()
            }),
            (Leader, Some(Leads(None))) => (!is_led).then(|| state.clone()),
            (Leader, Some(Leads(Some(term)))) => {
                state.may_be(*term).then(|| state.led_in(Some(*term)))
            }
            (Leader, None) => Some(state.clone()),
            _ => None,
        }
    }
}
