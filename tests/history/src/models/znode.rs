//! One znode: its data and its version, there or not.

use crate::Model;

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Znode;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ZnodeCall {
    /// Creates it with this data.
    Create(u64),
    /// Sets its data, if it has this version.
    Set(u64, Option<u64>),
    /// Deletes it, if it has this version.
    Delete(Option<u64>),
    /// Reads it.
    Get,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ZnodeAnswer {
    /// It was done; the version after it, where there is one.
    Done(Option<u64>),
    /// Its data and version.
    Is(u64, u64),
    /// There is none.
    NoNode,
    /// There is one already.
    Exists,
    /// It has another version.
    BadVersion,
}

impl Model for Znode {
    /// Data and version.
    type State = Option<(u64, u64)>;
    type Input = ZnodeCall;
    type Output = ZnodeAnswer;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(
        &self,
        state: &Self::State,
        input: &ZnodeCall,
        output: Option<&ZnodeAnswer>,
    ) -> Option<Self::State> {
        let is_other = |wanted: &Option<u64>, has: u64| wanted.is_some_and(|wanted| wanted != has);
        let (answer, next) = match (input, *state) {
            (ZnodeCall::Create(data), None) => (ZnodeAnswer::Done(Some(0)), Some((*data, 0))),
            (ZnodeCall::Create(_), Some(_)) => (ZnodeAnswer::Exists, *state),
            (_, None) => (ZnodeAnswer::NoNode, None),
            (ZnodeCall::Set(_, wanted) | ZnodeCall::Delete(wanted), Some((_, version)))
                if is_other(wanted, version) =>
            {
                (ZnodeAnswer::BadVersion, *state)
            }
            (ZnodeCall::Set(data, _), Some((_, version))) => {
                (ZnodeAnswer::Done(Some(version + 1)), Some((*data, version + 1)))
            }
            (ZnodeCall::Delete(_), Some(_)) => (ZnodeAnswer::Done(None), None),
            (ZnodeCall::Get, Some((data, version))) => (ZnodeAnswer::Is(data, version), *state),
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }
}
