//! The guests: small core modules, as worlds in WIT and fields in text. Where a function has a structured result, the guest
//! returns the address at which the host's own answer lies.

use bytes::Bytes;

use crate::support::{PRELUDE, component};

/// `echo` returns its argument, a record of every kind of type. Records this large are passed by address, so the guest gives
/// the address back.
pub fn echo() -> Bytes {
    let wit = r"
        package test:guest@0.1.0;
        interface api {
            enum color { red, green, blue }
            flags rights { read, write, execute, browse, grant, keep, share, log, audit, stop }
            variant shape { point, circle(f64), path(list<tuple<s32, s32>>), named(option<string>) }
            record inner { a: option<option<u8>>, b: result<_, string>, c: result<u64>, d: result }
            record everything {
                yes: bool,
                i1: s8, n1: u8, i2: s16, n2: u16, i4: s32, n4: u32, i8: s64, n8: u64,
                f4: f32, f8: f64, letter: char, text: string,
                bytes: list<u8>, words: list<string>, floats: list<f64>,
                pair: tuple<u8, string>, color: color, rights: rights,
                shape: shape, shapes: list<shape>, inner: inner, inners: list<inner>,
                deep: list<list<option<tuple<char, f32>>>>,
            }
            echo: func(value: everything) -> everything;
            nothing: func();
        }
        world guest { export api; }
    ";
    let fields = format!(
        r#"{PRELUDE}
        (func (export "test:guest/api@0.1.0#echo") (param i32) (result i32) (local.get 0))
        (func (export "test:guest/api@0.1.0#nothing"))"#
    );
    component(wit, &fields)
}

/// Calls of the tree, each passed through.
#[expect(clippy::too_many_lines, reason = "one guest, as text")]
pub fn tree() -> Bytes {
    let wit = r"
        package test:guest@0.1.0;
        interface api {
            use quorate:recipe/types@0.1.0.{error};
            use quorate:recipe/tree@0.1.0.{node};
            use quorate:recipe/blobs@0.1.0.{blob};
            put: func(path: string, data: list<u8>) -> result<string, error>;
            enqueue: func(path: string, data: list<u8>) -> result<string, error>;
            hold: func(path: string, data: list<u8>) -> result<string, error>;
            get: func(path: string) -> result<node, error>;
            delete: func(path: string) -> result<_, error>;
            children: func(path: string) -> result<list<string>, error>;
            store: func(path: string, data: blob) -> result<string, error>;
            lend: func(path: string, data: borrow<blob>) -> result<string, error>;
            fetch: func(path: string) -> result<blob, error>;
            leak: func(path: string) -> bool;
            hoard: func(path: string);
            put-and-refuse: func(path: string) -> result<_, string>;
        }
        world guest { include quorate:recipe/imports@0.1.0; export api; }
    ";
    let api = "test:guest/api@0.1.0#";
    let fields = format!(
        r#"
        (import "quorate:recipe/tree@0.1.0" "create"
          (func $create (param i32 i32 i32 i32 i32 i64 i32 i32 i32)))
        (import "quorate:recipe/tree@0.1.0" "create-blob"
          (func $create-blob (param i32 i32 i32 i32 i64 i32 i32 i32)))
        (import "quorate:recipe/tree@0.1.0" "get" (func $get (param i32 i32 i32)))
        (import "quorate:recipe/tree@0.1.0" "get-blob" (func $get-blob (param i32 i32 i32)))
        (import "quorate:recipe/tree@0.1.0" "delete"
          (func $delete (param i32 i32 i32 i64 i32)))
        (import "quorate:recipe/tree@0.1.0" "children"
          (func $children (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (import "quorate:recipe/blobs@0.1.0" "[resource-drop]blob" (func $drop (param i32)))
        {PRELUDE}
        (data (i32.const 2048) "refused by the guest")
        (func (export "{api}put") (param i32 i32 i32 i32) (result i32)
          (call $create (local.get 0) (local.get 1) (local.get 2) (local.get 3)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 1) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}enqueue") (param i32 i32 i32 i32) (result i32)
          (call $create (local.get 0) (local.get 1) (local.get 2) (local.get 3)
            (i32.const 0) (i64.const 0) (i32.const 1) (i32.const 0) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}hold") (param i32 i32 i32 i32) (result i32)
          (call $create (local.get 0) (local.get 1) (local.get 2) (local.get 3)
            (i32.const 2) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}get") (param i32 i32) (result i32)
          (call $get (local.get 0) (local.get 1) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}delete") (param i32 i32) (result i32)
          (call $delete (local.get 0) (local.get 1) (i32.const 0) (i64.const 0) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}children") (param i32 i32) (result i32)
          (call $children (local.get 0) (local.get 1)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}store") (param i32 i32 i32) (result i32)
          (call $create-blob (local.get 0) (local.get 1) (local.get 2)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 1) (i32.const 1024))
          (call $drop (local.get 2))
          (i32.const 1024))
        (func (export "{api}lend") (param i32 i32 i32) (result i32)
          (call $create-blob (local.get 0) (local.get 1) (local.get 2)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 1) (i32.const 1024))
          (call $drop (local.get 2))
          (i32.const 1024))
        (func (export "{api}fetch") (param i32 i32) (result i32)
          (call $get-blob (local.get 0) (local.get 1) (i32.const 1024))
          (i32.const 1024))
        (func (export "{api}leak") (param i32 i32) (result i32)
          (call $get-blob (local.get 0) (local.get 1) (i32.const 1024))
          (i32.const 1))
        (func (export "{api}hoard") (param i32 i32)
          (loop $more
            (call $get-blob (local.get 0) (local.get 1) (i32.const 1024))
            (br $more)))
        (func (export "{api}put-and-refuse") (param i32 i32) (result i32)
          (call $create (local.get 0) (local.get 1) (i32.const 0) (i32.const 0)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 1) (i32.const 1024))
          (i32.store8 (i32.const 1024) (i32.const 1))
          (i32.store (i32.const 1028) (i32.const 2048))
          (i32.store (i32.const 1032) (i32.const 20))
          (i32.const 1024))"#
    );
    component(wit, &fields)
}

const VARIOUS_WIT: &str = r"
        package test:guest@0.1.0;
        interface api {
            await-node: func(path: string) -> string;
            await-much: func();
            remember-much: func();
            count: func() -> u64;
            fail: func() -> result<u64, u64>;
            trap: func();
            spin: func();
            grow: func();
            recurse: func(depth: u32) -> u32;
            chatter: func();
            shout: func(times: u32);
            long-list: func() -> list<u64>;
            long-text: func() -> string;
            bad-char: func() -> char;
            sum: func(numbers: list<u8>) -> u32;
            who: func() -> u64;
        }
        interface other { count: func() -> u64; }
        world guest {
            include quorate:recipe/imports@0.1.0;
            export api;
            export other;
            export plain: func() -> u32;
            export init: func(script: string);
        }
    ";

/// Waits, counts its calls, and misbehaves.
#[expect(clippy::too_many_lines, reason = "one guest, as text")]
pub fn various() -> Bytes {
    let api = "test:guest/api@0.1.0#";
    let fields = format!(
        r#"
        (import "quorate:recipe/call@0.1.0" "now" (func $now (result i64)))
        (import "quorate:recipe/call@0.1.0" "id" (func $id (param i32)))
        (import "quorate:recipe/call@0.1.0" "state" (func $state (param i32)))
        (import "quorate:recipe/call@0.1.0" "set-state" (func $set-state (param i32 i32)))
        (import "quorate:recipe/call@0.1.0" "set-timeout" (func $set-timeout (param i64)))
        (import "quorate:recipe/wait@0.1.0" "park" (func $park (param i32 i32)))
        (import "quorate:recipe/log@0.1.0" "write" (func $log (param i32 i32 i32)))
        {PRELUDE}
        (global $calls (mut i64) (i64.const 0))
        (data (i32.const 2048) "woken")
        (data (i32.const 2064) "a line of the guest")
        ;; Parks in the first run, with a timeout and a state; answers "woken" once it has a state.
        (func (export "{api}await-node") (param i32 i32) (result i32)
          (call $state (i32.const 1024))
          (if (i32.eqz (i32.load (i32.const 1028))) (then
            (call $set-timeout (i64.const 5000))
            (call $set-state (i32.const 2048) (i32.const 3))
            (i32.store8 (i32.const 3072) (i32.const 0))
            (i32.store (i32.const 3080) (local.get 0))
            (i32.store (i32.const 3084) (local.get 1))
            (call $park (i32.const 3072) (i32.const 1))
            unreachable))
          (i32.store (i32.const 1024) (i32.const 2048))
          (i32.store (i32.const 1028) (i32.const 5))
          (i32.const 1024))
        (func (export "{api}await-much")
          (call $park (i32.const 3072) (i32.const 65)))
        (func (export "{api}remember-much")
          (call $set-state (i32.const 4096) (i32.const 1025)))
        (func $count (export "{api}count") (result i64)
          (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
          (global.get $calls))
        (func (export "test:guest/other@0.1.0#count") (result i64) (call $count))
        (func (export "plain") (result i32) (i32.const 42))
        (func (export "init") (param i32 i32))
        (func (export "{api}fail") (result i32)
          (drop (call $count))
          (i32.store8 (i32.const 1024) (i32.const 1))
          (i64.store (i32.const 1032) (i64.const 13))
          (i32.const 1024))
        (func (export "{api}trap") unreachable)
        (func (export "{api}spin") (loop $more (br $more)))
        (func (export "{api}grow")
          (loop $more (drop (memory.grow (i32.const 16))) (br $more)))
        (func $recurse (export "{api}recurse") (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
          (i32.add (i32.const 1) (call $recurse (i32.sub (local.get 0) (i32.const 1)))))
        (func (export "{api}chatter")
          (loop $more (drop (call $now)) (br $more)))
        (func (export "{api}shout") (param i32)
          (loop $more
            (call $log (i32.const 1) (i32.const 2064) (i32.const 19))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if $more (local.get 0))))
        (func (export "{api}long-list") (result i32)
          (i32.store (i32.const 1024) (i32.const 8))
          (i32.store (i32.const 1028) (i32.const 500000))
          (i32.const 1024))
        (func (export "{api}long-text") (result i32)
          (i32.store (i32.const 1024) (i32.const 65536))
          (i32.store (i32.const 1028) (i32.const 2000000))
          (i32.const 1024))
        (func (export "{api}bad-char") (result i32) (i32.const 0xd800))
        (func (export "{api}sum") (param i32 i32) (result i32)
          (local $sum i32)
          (loop $more
            (if (local.get 1) (then
              (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
              (local.set $sum (i32.add (local.get $sum)
                (i32.load8_u (i32.add (local.get 0) (local.get 1)))))
              (br $more))))
          (local.get $sum))
        (func (export "{api}who") (result i64)
          (call $id (i32.const 1024))
          (i64.load (i32.const 1024)))"#
    );
    component(VARIOUS_WIT, &fields)
}

/// Exports `migrate`, which creates `/from-N`, and fails for the version before that is 9.
pub fn migrating() -> Bytes {
    let wit = r"
        package test:guest@0.1.0;
        world guest {
            include quorate:recipe/imports@0.1.0;
            export migrate: func(previous: u64) -> result<_, string>;
            export plain: func() -> u32;
        }
    ";
    let fields = format!(
        r#"
        (import "quorate:recipe/tree@0.1.0" "create"
          (func $create (param i32 i32 i32 i32 i32 i64 i32 i32 i32)))
        {PRELUDE}
        (data (i32.const 2048) "/from-0")
        (data (i32.const 2064) "too old")
        (func (export "migrate") (param i64) (result i32)
          (i32.store8 (i32.const 2054)
            (i32.add (i32.const 48) (i32.wrap_i64 (local.get 0))))
          (call $create (i32.const 2048) (i32.const 7) (i32.const 0) (i32.const 0)
            (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
          (i32.store8 (i32.const 1024) (i64.eq (local.get 0) (i64.const 9)))
          (i32.store (i32.const 1028) (i32.const 2064))
          (i32.store (i32.const 1032) (i32.const 7))
          (i32.const 1024))
        (func (export "plain") (result i32) (i32.const 42))"#
    );
    component(wit, &fields)
}
