//! `wait`: the end of a run that will be run again.

use quorate_core::ids::Millis;
use quorate_core::limits::INTERESTS_MAX;
use quorate_core::recipe::Interest;

use crate::bindings::quorate::recipe::wait::{Host, Interest as Wanted};
use crate::state::RunState;
use crate::stop::Stop;

impl Host for RunState {
    fn park(&mut self, interests: Vec<Wanted>) -> wasmtime::Result<()> {
        self.enter()?;
        self.refuse_to_read_only("wait")?;
        let count = interests.len();
        if count > INTERESTS_MAX {
            let max = INTERESTS_MAX as u64;
            return Err(Stop::over_limit("interests of a park", count as u64, max).into());
        }
        let interests = interests.into_iter().map(|wanted| self.interest(wanted));
        let interests = interests.collect::<Result<Vec<_>, Stop>>()?;
        Err(Self::park(self, interests).into())
    }
}

impl RunState {
    fn interest(&self, wanted: Wanted) -> Result<Interest, Stop> {
        let path = |text: String| match self.manifest.resolve(&text) {
            Ok((path, _)) => Ok(path),
            Err(refusal) => Err(Stop::trapped(format!("it can not wait: {}", refusal.message))),
        };
        Ok(match wanted {
            Wanted::NodeChanged(text) => Interest::NodeChanged(path(text)?),
            Wanted::ChildrenChanged(text) => Interest::ChildrenChanged(path(text)?),
            Wanted::AtTime(time) => Interest::AtTime(Millis(time)),
        })
    }
}
