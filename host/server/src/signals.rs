//! Signals that ask this process to end. It does not know what is to be ended.

use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Ctrl-C.
    Interrupt,
    /// From `kill`, or a service manager.
    Terminate,
    /// The terminal has gone.
    HangUp,
}

impl Ask {
    /// What rustix calls it.
    #[must_use]
    pub fn signal(self) -> rustix::process::Signal {
        match self {
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
            Self::HangUp => rustix::process::Signal::HUP,
        }
    }

    /// The exit code of a process that this signal has ended, as shells count.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        let number = self.signal().as_raw();
        ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }
}

/// From its making on, these signals do not end the process any more.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes them over. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn take() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("signals can not be received");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Ask {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Ask::Interrupt,
            Some(()) = self.terminate.recv() => Ask::Terminate,
            Some(()) = self.hang_up.recv() => Ask::HangUp,
            else => std::future::pending().await,
        }
    }
}
