#!/bin/bash
# Fuzzes: tests/fuzz/run.sh [SECONDS [TARGET...]], 5 s for each of all targets if nothing is named. Corpora stay in the target
# directory, so each run goes on where the last one ended. Needs a nightly toolchain and a C++ compiler; without them it
# says so and succeeds.
set -eu
cd "$(dirname "$0")"
seconds=${1:-5}
[ $# = 0 ] || shift

skip() { printf 'fuzz: skipped: %s\n' "$*"; exit 0; }
rustup run nightly cargo --version >/dev/null 2>&1 || skip 'no nightly toolchain (rustup toolchain install nightly)'
command -v clang++ >/dev/null 2>&1 || skip 'no clang++'

target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}/fuzz
host=$(rustup run nightly rustc -vV | sed -n 's/^host: //p')
# Counters of edges and of comparisons, and the address sanitizer, by whose hooks the fuzzer sees large allocations.
# Only for the target: build scripts and macros are not instrumented.
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
flags="$flags -Ccodegen-units=1 -Zsanitizer=address --cfg fuzzing"
RUSTFLAGS=$flags CARGO_TARGET_DIR=$target CXX=${CXX:-clang++} \
    rustup run nightly cargo build --locked -q --target "$host" --bins
bin=$target/$host/debug

[ $# -gt 0 ] || set -- $(sed -n 's|^path = "targets/\(.*\)\.rs"|\1|p' Cargo.toml)
"$bin/seeds" "$target/corpus"
for name in "$@"; do
    mkdir -p "$target/corpus/$name" "$target/artifacts/$name"
    # Bytes of one input, MB of one allocation: inputs are short, and decoders allocate a small multiple of them.
    if ! "$bin/$name" "$target/corpus/$name" -artifact_prefix="$target/artifacts/$name/" -max_total_time="$seconds" \
        -max_len=16384 -timeout=10 -malloc_limit_mb=32 -print_final_stats=1 >"$target/$name.log" 2>&1; then
        tail -n 60 "$target/$name.log"
        printf 'fuzz: %s failed; run the input again with\n    %s %s/artifacts/%s/...\n' "$name" "$bin/$name" "$target" "$name"
        exit 1
    fi
    printf 'fuzz: %-14s %s runs\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: //p' "$target/$name.log")"
done
