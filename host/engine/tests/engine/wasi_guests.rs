//! Guests that import WASI: one that calls it as it is, one that calls preview 1 through the adapter of other toolchains.

use bytes::Bytes;

use crate::support::{PRELUDE, adapted_component, component};

/// The functions that the guest calls, with the types that WASI gives them.
const WASI: &str = r"
    package wasi:io@0.2.0 {
        interface error { resource error; }
        interface poll {
            resource pollable { ready: func() -> bool; block: func(); }
            poll: func(in: list<borrow<pollable>>) -> list<u32>;
        }
        interface streams {
            use error.{error};
            use poll.{pollable};
            variant stream-error { last-operation-failed(error), closed }
            resource input-stream {
                blocking-read: func(len: u64) -> result<list<u8>, stream-error>;
                skip: func(len: u64) -> result<u64, stream-error>;
                subscribe: func() -> pollable;
            }
            resource output-stream {
                check-write: func() -> result<u64, stream-error>;
                write: func(contents: list<u8>) -> result<_, stream-error>;
                blocking-flush: func() -> result<_, stream-error>;
                write-zeroes: func(len: u64) -> result<_, stream-error>;
                blocking-splice: func(src: borrow<input-stream>, len: u64) -> result<u64, stream-error>;
            }
        }
    }
    package wasi:cli@0.2.3 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
            get-arguments: func() -> list<string>;
            initial-cwd: func() -> option<string>;
        }
        interface exit { exit: func(status: result); exit-with-code: func(status-code: u8); }
        interface stdin { use wasi:io/streams@0.2.0.{input-stream}; get-stdin: func() -> input-stream; }
        interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
        interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }
        interface terminal-input { resource terminal-input; }
        interface terminal-output { resource terminal-output; }
        interface terminal-stdin {
            use terminal-input.{terminal-input};
            get-terminal-stdin: func() -> option<terminal-input>;
        }
        interface terminal-stdout {
            use terminal-output.{terminal-output};
            get-terminal-stdout: func() -> option<terminal-output>;
        }
        interface terminal-stderr {
            use terminal-output.{terminal-output};
            get-terminal-stderr: func() -> option<terminal-output>;
        }
    }
    package wasi:clocks@0.2.12 {
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
            resolution: func() -> datetime;
        }
        interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            now: func() -> u64;
            resolution: func() -> u64;
            subscribe-instant: func(when: u64) -> pollable;
            subscribe-duration: func(when: u64) -> pollable;
        }
    }
    package wasi:random@0.2.77 {
        interface random { get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64; }
        interface insecure {
            get-insecure-random-bytes: func(len: u64) -> list<u8>;
            get-insecure-random-u64: func() -> u64;
        }
        interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
    }
    package wasi:filesystem@0.2.6 {
        interface types {
            resource descriptor { sync: func() -> result<_, u8>; }
        }
        interface preopens {
            use types.{descriptor};
            get-directories: func() -> list<tuple<descriptor, string>>;
        }
    }
";

const API: &str = r"
    package test:guest@0.1.0;
    interface api {
        environment: func() -> list<tuple<string, string>>;
        arguments: func() -> list<string>;
        cwd: func() -> option<string>;
        exit: func(status: result);
        exit-code: func(code: u8);
        stdin: func() -> u32;
        say: func(text: string);
        complain: func(text: string);
        say-and-trap: func(text: string);
        zeroes: func(count: u64);
        permitted: func() -> u64;
        splice: func() -> u32;
        terminals: func() -> u32;
        wall: func() -> tuple<u64, u32>;
        wall-resolution: func() -> tuple<u64, u32>;
        monotonic: func() -> u64;
        resolution: func() -> u64;
        ready-at: func(when: u64) -> bool;
        ready-in: func(length: u64) -> bool;
        block: func(length: u64);
        poll: func(length: u64, other: u64) -> list<u32>;
        poll-nothing: func() -> list<u32>;
        hoard: func();
        sleep-loop: func();
        random: func(count: u64) -> list<u8>;
        random-number: func() -> u64;
        insecure: func(count: u64) -> list<u8>;
        insecure-number: func() -> u64;
        seed: func() -> tuple<u64, u64>;
        directories: func() -> u32;
        sync: func(descriptor: u32);
    }
    world guest {
        import wasi:cli/environment@0.2.3;
        import wasi:cli/exit@0.2.3;
        import wasi:cli/stdin@0.2.3;
        import wasi:cli/stdout@0.2.3;
        import wasi:cli/stderr@0.2.3;
        import wasi:cli/terminal-stdin@0.2.3;
        import wasi:cli/terminal-stdout@0.2.3;
        import wasi:cli/terminal-stderr@0.2.3;
        import wasi:clocks/wall-clock@0.2.12;
        import wasi:clocks/monotonic-clock@0.2.12;
        import wasi:random/random@0.2.77;
        import wasi:random/insecure@0.2.77;
        import wasi:random/insecure-seed@0.2.77;
        import wasi:filesystem/types@0.2.6;
        import wasi:filesystem/preopens@0.2.6;
        export api;
    }
";

/// (interface, function, core type), each imported as `$function` after its last dot or as named here.
const IMPORTS: [(&str, &str, &str, &str); 38] = [
    ("cli/environment@0.2.3", "get-environment", "environment", "(param i32)"),
    ("cli/environment@0.2.3", "get-arguments", "arguments", "(param i32)"),
    ("cli/environment@0.2.3", "initial-cwd", "cwd", "(param i32)"),
    ("cli/exit@0.2.3", "exit", "exit", "(param i32)"),
    ("cli/exit@0.2.3", "exit-with-code", "exit-code", "(param i32)"),
    ("cli/stdin@0.2.3", "get-stdin", "stdin", "(result i32)"),
    ("cli/stdout@0.2.3", "get-stdout", "stdout", "(result i32)"),
    ("cli/stderr@0.2.3", "get-stderr", "stderr", "(result i32)"),
    ("cli/terminal-stdin@0.2.3", "get-terminal-stdin", "terminal-in", "(param i32)"),
    ("cli/terminal-stdout@0.2.3", "get-terminal-stdout", "terminal-out", "(param i32)"),
    ("cli/terminal-stderr@0.2.3", "get-terminal-stderr", "terminal-err", "(param i32)"),
    ("io/poll@0.2.0", "[method]pollable.ready", "ready", "(param i32) (result i32)"),
    ("io/poll@0.2.0", "[method]pollable.block", "block", "(param i32)"),
    ("io/poll@0.2.0", "[resource-drop]pollable", "drop-pollable", "(param i32)"),
    ("io/poll@0.2.0", "poll", "poll", "(param i32 i32 i32)"),
    ("io/streams@0.2.0", "[method]input-stream.blocking-read", "read", "(param i32 i64 i32)"),
    ("io/streams@0.2.0", "[method]input-stream.skip", "skip", "(param i32 i64 i32)"),
    ("io/streams@0.2.0", "[method]input-stream.subscribe", "in-ready", "(param i32) (result i32)"),
    ("io/streams@0.2.0", "[resource-drop]input-stream", "drop-input", "(param i32)"),
    ("io/streams@0.2.0", "[method]output-stream.check-write", "check", "(param i32 i32)"),
    ("io/streams@0.2.0", "[method]output-stream.write", "write", "(param i32 i32 i32 i32)"),
    ("io/streams@0.2.0", "[method]output-stream.blocking-flush", "flush", "(param i32 i32)"),
    ("io/streams@0.2.0", "[method]output-stream.write-zeroes", "zeroes", "(param i32 i64 i32)"),
    (
        "io/streams@0.2.0",
        "[method]output-stream.blocking-splice",
        "splice",
        "(param i32 i32 i64 i32)",
    ),
    ("clocks/wall-clock@0.2.12", "now", "wall", "(param i32)"),
    ("clocks/wall-clock@0.2.12", "resolution", "wall-resolution", "(param i32)"),
    ("clocks/monotonic-clock@0.2.12", "now", "now", "(result i64)"),
    ("clocks/monotonic-clock@0.2.12", "resolution", "resolution", "(result i64)"),
    ("clocks/monotonic-clock@0.2.12", "subscribe-instant", "at", "(param i64) (result i32)"),
    ("clocks/monotonic-clock@0.2.12", "subscribe-duration", "in", "(param i64) (result i32)"),
    ("random/random@0.2.77", "get-random-bytes", "random", "(param i64 i32)"),
    ("random/random@0.2.77", "get-random-u64", "random-number", "(result i64)"),
    ("random/insecure@0.2.77", "get-insecure-random-bytes", "insecure", "(param i64 i32)"),
    ("random/insecure@0.2.77", "get-insecure-random-u64", "insecure-number", "(result i64)"),
    ("random/insecure-seed@0.2.77", "insecure-seed", "seed", "(param i32)"),
    ("filesystem/types@0.2.6", "[method]descriptor.sync", "sync", "(param i32 i32)"),
    ("filesystem/types@0.2.6", "[resource-drop]descriptor", "drop-descriptor", "(param i32)"),
    ("filesystem/preopens@0.2.6", "get-directories", "directories", "(param i32)"),
];

/// Calls each function, of as many versions of WASI 0.2 as there are packages.
#[expect(clippy::too_many_lines, reason = "one guest, as text")]
pub fn direct() -> Bytes {
    let imports = IMPORTS.map(|(interface, function, name, kind)| {
        format!(r#"(import "wasi:{interface}" "{function}" (func ${name} {kind}))"#)
    });
    let imports = imports.join("\n");
    let api = "test:guest/api@0.1.0#";
    let fields = format!(
        r#"
        {imports}
        {PRELUDE}
        (func (export "{api}environment") (result i32)
          (call $environment (i32.const 1024)) (i32.const 1024))
        (func (export "{api}arguments") (result i32)
          (call $arguments (i32.const 1024)) (i32.const 1024))
        (func (export "{api}cwd") (result i32) (call $cwd (i32.const 1024)) (i32.const 1024))
        (func (export "{api}exit") (param i32) (call $exit (local.get 0)))
        (func (export "{api}exit-code") (param i32) (call $exit-code (local.get 0)))
        ;; Whether it is ready, and the cases of what read and skip return.
        (func (export "{api}stdin") (result i32)
          (local $in i32) (local $told i32)
          (local.set $in (call $stdin))
          (local.set $told (call $ready (call $in-ready (local.get $in))))
          (call $read (local.get $in) (i64.const 10) (i32.const 1024))
          (call $skip (local.get $in) (i64.const 10) (i32.const 1048))
          (call $drop-input (local.get $in))
          (i32.add (i32.mul (local.get $told) (i32.const 10000))
            (i32.add
              (i32.add (i32.mul (i32.load8_u (i32.const 1024)) (i32.const 1000))
                (i32.mul (i32.load8_u (i32.const 1028)) (i32.const 100)))
              (i32.add (i32.mul (i32.load8_u (i32.const 1048)) (i32.const 10))
                (i32.load8_u (i32.const 1056))))))
        (func $put (param i32 i32 i32)
          (call $write (local.get 0) (local.get 1) (local.get 2) (i32.const 1024))
          (if (i32.load8_u (i32.const 1024)) (then unreachable))
          (call $flush (local.get 0) (i32.const 1024))
          (if (i32.load8_u (i32.const 1024)) (then unreachable)))
        (func (export "{api}say") (param i32 i32)
          (call $put (call $stdout) (local.get 0) (local.get 1)))
        (func (export "{api}complain") (param i32 i32)
          (call $put (call $stderr) (local.get 0) (local.get 1)))
        (func (export "{api}say-and-trap") (param i32 i32)
          (call $put (call $stdout) (local.get 0) (local.get 1)) unreachable)
        (func (export "{api}zeroes") (param i64)
          (call $zeroes (call $stdout) (local.get 0) (i32.const 1024)))
        (func (export "{api}permitted") (result i64)
          (call $check (call $stdout) (i32.const 1024)) (i64.load (i32.const 1032)))
        (func (export "{api}splice") (result i32)
          (call $splice (call $stdout) (call $stdin) (i64.const 5) (i32.const 1024))
          (i32.add (i32.mul (i32.load8_u (i32.const 1024)) (i32.const 10))
            (i32.load8_u (i32.const 1032))))
        (func (export "{api}terminals") (result i32)
          (call $terminal-in (i32.const 1024))
          (call $terminal-out (i32.const 1032))
          (call $terminal-err (i32.const 1040))
          (i32.add (i32.load8_u (i32.const 1024))
            (i32.add (i32.load8_u (i32.const 1032)) (i32.load8_u (i32.const 1040)))))
        (func (export "{api}wall") (result i32) (call $wall (i32.const 1024)) (i32.const 1024))
        (func (export "{api}wall-resolution") (result i32)
          (call $wall-resolution (i32.const 1024)) (i32.const 1024))
        (func (export "{api}monotonic") (result i64) (call $now))
        (func (export "{api}resolution") (result i64) (call $resolution))
        (func (export "{api}ready-at") (param i64) (result i32)
          (call $ready (call $at (local.get 0))))
        (func (export "{api}ready-in") (param i64) (result i32)
          (local $it i32)
          (local.set $it (call $in (local.get 0)))
          (call $ready (local.get $it))
          (call $drop-pollable (local.get $it)))
        (func (export "{api}block") (param i64) (call $block (call $in (local.get 0))))
        (func (export "{api}poll") (param i64 i64) (result i32)
          (i32.store (i32.const 3072) (call $in (local.get 0)))
          (i32.store (i32.const 3076) (call $in (local.get 1)))
          (call $poll (i32.const 3072) (i32.const 2) (i32.const 1024)) (i32.const 1024))
        (func (export "{api}poll-nothing") (result i32)
          (call $poll (i32.const 3072) (i32.const 0) (i32.const 1024)) (i32.const 1024))
        (func (export "{api}hoard")
          (loop $more (drop (call $in (i64.const 0))) (br $more)))
        (func (export "{api}sleep-loop")
          (loop $more (br_if $more (i64.lt_u (call $now) (i64.const -1)))))
        (func (export "{api}random") (param i64) (result i32)
          (call $random (local.get 0) (i32.const 1024)) (i32.const 1024))
        (func (export "{api}random-number") (result i64) (call $random-number))
        (func (export "{api}insecure") (param i64) (result i32)
          (call $insecure (local.get 0) (i32.const 1024)) (i32.const 1024))
        (func (export "{api}insecure-number") (result i64) (call $insecure-number))
        (func (export "{api}seed") (result i32) (call $seed (i32.const 1024)) (i32.const 1024))
        (func (export "{api}directories") (result i32)
          (call $directories (i32.const 1024)) (i32.load (i32.const 1028)))
        ;; Of a handle that the guest never got.
        (func (export "{api}sync") (param i32) (call $sync (local.get 0) (i32.const 1024)))"#
    );
    component(&format!("{API}{WASI}"), &fields)
}

/// What libraries of other toolchains do, over preview 1: the adapter turns it into calls of WASI 0.2.
#[expect(clippy::too_many_lines, reason = "one guest, as text")]
pub fn adapted() -> Bytes {
    let wit = r"
        package test:guest@0.1.0;
        interface api {
            print: func(text: string) -> u32;
            time: func(clock: u32) -> u64;
            random: func() -> u64;
            environment: func() -> u32;
            read: func() -> u32;
            open: func() -> u32;
            sleep: func(nanoseconds: u64) -> u32;
            exit: func(code: u32);
        }
        world guest { export api; }
    ";
    let api = "test:guest/api@0.1.0#";
    let fields = format!(
        r#"
        (import "wasi_snapshot_preview1" "fd_write"
          (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read"
          (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get"
          (func $clock_time_get (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get"
          (func $random_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get"
          (func $environ_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get"
          (func $args_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get"
          (func $fd_prestat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
          (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff"
          (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        {PRELUDE}
        (data (i32.const 2048) "/etc/passwd")
        (func (export "{api}print") (param i32 i32) (result i32)
          (i32.store (i32.const 3072) (local.get 0))
          (i32.store (i32.const 3076) (local.get 1))
          (call $fd_write (i32.const 1) (i32.const 3072) (i32.const 1) (i32.const 3080)))
        (func (export "{api}time") (param i32) (result i64)
          (drop (call $clock_time_get (local.get 0) (i64.const 1) (i32.const 3072)))
          (i64.load (i32.const 3072)))
        (func (export "{api}random") (result i64)
          (drop (call $random_get (i32.const 3072) (i32.const 8)))
          (i64.load (i32.const 3072)))
        (func (export "{api}environment") (result i32)
          (drop (call $environ_sizes_get (i32.const 3072) (i32.const 3076)))
          (drop (call $args_sizes_get (i32.const 3080) (i32.const 3084)))
          (i32.add (i32.load (i32.const 3072)) (i32.load (i32.const 3080))))
        (func (export "{api}read") (result i32)
          (i32.store (i32.const 3072) (i32.const 4096))
          (i32.store (i32.const 3076) (i32.const 100))
          (i32.add (i32.mul (i32.const 1000)
              (call $fd_read (i32.const 0) (i32.const 3072) (i32.const 1) (i32.const 3080)))
            (i32.load (i32.const 3080))))
        ;; The error numbers of looking for a directory and of opening a file in it.
        (func (export "{api}open") (result i32)
          (i32.add
            (i32.mul (i32.const 1000) (call $fd_prestat_get (i32.const 3) (i32.const 3072)))
            (call $path_open (i32.const 3) (i32.const 0) (i32.const 2048) (i32.const 11)
              (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 3072))))
        (func (export "{api}sleep") (param i64) (result i32)
          ;; A subscription to the monotonic clock, relative.
          (memory.fill (i32.const 3072) (i32.const 0) (i32.const 48))
          (i32.store (i32.const 3088) (i32.const 1))
          (i64.store (i32.const 3096) (local.get 0))
          (call $poll_oneoff (i32.const 3072) (i32.const 4096) (i32.const 1) (i32.const 3200)))
        (func (export "{api}exit") (param i32) (call $proc_exit (local.get 0)))"#
    );
    adapted_component(wit, &fields)
}
