//! Changes of the voters that nobody goes on with: their leader died between the two steps, or who had asked went away. The
//! leader ends them. It does not know who began them, nor why.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Raft, ServerState};
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

/// How often it is looked whether there is one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks and ends them; never ends itself. `changing` is held by whoever changes the members.
pub(crate) async fn finish(raft: Raft<TypeConfig, StateMachine>, changing: Arc<Mutex<()>>) {
    let metrics = raft.server_metrics();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let is_left = {
            let metrics = metrics.borrow_watched();
            let configs = metrics.membership_config.membership().get_joint_config().len();
            metrics.state == ServerState::Leader && configs > 1
        };
        let Ok(_changing) = changing.try_lock() else { continue };
        if !is_left {
            continue;
        }
        // Nothing is added: the step from both sets of voters to the later one. Those that only the earlier one has were
        // being removed.
        let nothing = ChangeMembers::AddVoterIds(std::collections::BTreeSet::new());
        match raft.change_membership(nothing, false).await {
            Ok(_) => {
                tracing::info!("a change of the voters that was left unfinished has been ended")
            }
            // Its first step is not committed: too few answer.
            Err(error) => tracing::debug!(%error, "a change of the voters stays unfinished"),
        }
    }
}
