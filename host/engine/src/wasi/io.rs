//! `wasi:io`: standard streams and what to wait for. Input has ended, output never blocks, and what is not ready never will
//! be within a run.

use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};

use super::{function, interface, resource};
use crate::limits::OUTPUT_BYTES_MAX;
use crate::state::RunState;
use crate::stop::Stop;

/// `wasi:io/error.error`: never made, since no stream fails.
pub(super) enum StreamFailure {}
/// `wasi:io/poll.pollable`.
pub(super) enum Pollable {}
/// `wasi:io/streams.input-stream`: always at its end.
pub(super) enum InputStream {}
/// `wasi:io/streams.output-stream`.
pub(super) enum OutputStream {}

/// The numbers behind handles of output streams.
pub(super) const STDOUT: u32 = 1;
pub(super) const STDERR: u32 = 2;

/// The numbers behind handles of pollables: a clock that stands still makes them what they stay.
const READY: u32 = 0;
const NEVER: u32 = 1;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    /// Never made.
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<StreamFailure>),
    #[component(name = "closed")]
    Closed,
}

/// A pollable that is ready, or will not be in this run.
pub(super) fn pollable(is_ready: bool) -> Resource<Pollable> {
    Resource::new_own(if is_ready { READY } else { NEVER })
}

fn is_ready(pollable: &Resource<Pollable>) -> bool {
    pollable.rep() == READY
}

fn would_block() -> wasmtime::Error {
    let message = "it waits in wasi:io/poll for what does not come in this run, in which time stands still: \
                   recipes wait with quorate:recipe/wait.park";
    Stop::trapped(message).into()
}

pub(super) fn define(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    let mut errors = interface(linker, "io/error")?;
    resource::<StreamFailure>(&mut errors, "error")?;
    function(
        &mut errors,
        "[method]error.to-debug-string",
        |_, (_,): (Resource<StreamFailure>,)| -> wasmtime::Result<(String,)> {
            Err(Stop::trapped("there is no such error").into())
        },
    )?;
    define_poll(linker)?;
    let mut streams = interface(linker, "io/streams")?;
    resource::<InputStream>(&mut streams, "input-stream")?;
    resource::<OutputStream>(&mut streams, "output-stream")?;
    for name in ["read", "blocking-read"] {
        let name = format!("[method]input-stream.{name}");
        function(&mut streams, &name, |_, (_, _): (Resource<InputStream>, u64)| {
            Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
        })?;
    }
    for name in ["skip", "blocking-skip"] {
        let name = format!("[method]input-stream.{name}");
        function(&mut streams, &name, |_, (_, _): (Resource<InputStream>, u64)| {
            Ok((Err::<u64, _>(StreamError::Closed),))
        })?;
    }
    let name = "[method]input-stream.subscribe";
    function(&mut streams, name, |_, (_,): (Resource<InputStream>,)| Ok((pollable(true),)))?;
    define_output(linker)
}

fn define_poll(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    let mut polls = interface(linker, "io/poll")?;
    resource::<Pollable>(&mut polls, "pollable")?;
    function(&mut polls, "[method]pollable.ready", |_, (it,): (Resource<Pollable>,)| {
        Ok((is_ready(&it),))
    })?;
    function(&mut polls, "[method]pollable.block", |_, (it,): (Resource<Pollable>,)| {
        if is_ready(&it) { Ok(()) } else { Err(would_block()) }
    })?;
    function(&mut polls, "poll", |_, (all,): (Vec<Resource<Pollable>>,)| {
        let ready = (0_u32..).zip(&all).filter(|(_, it)| is_ready(it)).map(|(index, _)| index);
        let ready: Vec<u32> = ready.collect();
        if ready.is_empty() { Err(would_block()) } else { Ok((ready,)) }
    })
}

type Answer<T> = wasmtime::Result<(Result<T, StreamError>,)>;

fn define_output(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    type Stream = Resource<OutputStream>;
    let mut streams = interface(linker, "io/streams")?;
    let method = |name: &str| format!("[method]output-stream.{name}");
    function(&mut streams, &method("check-write"), |_, (_,): (Stream,)| -> Answer<u64> {
        Ok((Ok(OUTPUT_BYTES_MAX as u64),))
    })?;
    for name in ["write", "blocking-write-and-flush"] {
        function(
            &mut streams,
            &method(name),
            |state, (stream, contents): (Stream, Vec<u8>)| -> Answer<()> {
                within(contents.len() as u64)?;
                state.output(&stream, &contents)?;
                Ok((Ok(()),))
            },
        )?;
    }
    for name in ["write-zeroes", "blocking-write-zeroes-and-flush"] {
        function(
            &mut streams,
            &method(name),
            |state, (stream, count): (Stream, u64)| -> Answer<()> {
                let count = within(count)?;
                state.output(&stream, &[0; OUTPUT_BYTES_MAX][..count])?;
                Ok((Ok(()),))
            },
        )?;
    }
    for name in ["flush", "blocking-flush"] {
        function(&mut streams, &method(name), |_, (_,): (Stream,)| -> Answer<()> {
            Ok((Ok(()),))
        })?;
    }
    function(&mut streams, &method("subscribe"), |_, (_,): (Stream,)| Ok((pollable(true),)))?;
    for name in ["splice", "blocking-splice"] {
        function(
            &mut streams,
            &method(name),
            |_, (_, _, _): (Stream, Resource<InputStream>, u64)| -> Answer<u64> {
                Ok((Err(StreamError::Closed),))
            },
        )?;
    }
    Ok(())
}

/// What `check-write` permits; WASI has a guest trap that writes more.
fn within(bytes: u64) -> Result<usize, Stop> {
    let max = OUTPUT_BYTES_MAX;
    let within = usize::try_from(bytes).ok().filter(|bytes| *bytes <= max);
    within.ok_or_else(|| Stop::over_limit("bytes of one write to a stream", bytes, max as u64))
}

impl RunState {
    fn output(&mut self, stream: &Resource<OutputStream>, contents: &[u8]) -> Result<(), Stop> {
        let output = match stream.rep() {
            STDOUT => &mut self.stdout,
            STDERR => &mut self.stderr,
            _ => return Err(Stop::trapped("there is no such stream")),
        };
        output.write(contents, &mut self.lines);
        Ok(())
    }
}
