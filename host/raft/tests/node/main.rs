//! A cluster of one on a real disk: what is acknowledged stays, what does not fit changes nothing, and who proposes is
//! told the truth.

mod history;
mod levels;
mod proposals;
mod restarts;
mod rig;
