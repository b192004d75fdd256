#!/bin/bash
# Breaks the code under test in a scratch copy, one line at a time, and says after how many seeds the simulator notices:
# tests/sim/mutants.sh [SEEDS [NAME...]]. One build holds all of them, each behind a variable of its environment; nothing of
# that is in the product. A name may be several, with commas, and mutants of the glue (--mutant) behind a slash: guards that
# stand behind each other are taken away together. Ends with 1 if one is not noticed.
set -eu
cd "$(dirname "$0")/../.."
seeds=${1:-300}
[ $# = 0 ] || shift

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git archive HEAD | tar -x -C "$scratch"

names=
# mutant NAME FILE FROM TO: where FROM stands in FILE, TO does, if the mutant is chosen. CHOSEN in TO says whether it is.
mutant() {
    names="$names $1"
    is="std::env::var(\"QUORATE_MUTANT\").is_ok_and(|all| all.split(',').any(|name| name == \"$1\"))"
    FROM=$3 TO=${4//CHOSEN/$is} perl -0pi -e '
        my $count = s/\Q$ENV{FROM}\E/$ENV{TO}/;
        END { exit($count == 1 ? 0 : 3) }
    ' "$scratch/$2" || { echo "mutants: $1: not found in $2: $3" >&2; exit 2; }
}

mutant no-duplicate-check host/core/src/session.rs \
    'if number <= session.last_write {' \
    'if number <= session.last_write { if CHOSEN { return Admission::Execute; }'
mutant forgotten-is-new host/core/src/session.rs \
    'let message = format!("the reply to write {number} of session {id} was acknowledged before");' \
    'if CHOSEN { return Admission::Execute; }
    let message = format!("the reply to write {number} of session {id} was acknowledged before");'
mutant apply-any-term host/core/src/apply.rs \
    'if entry.term != committed_in {' 'if entry.term != committed_in && !CHOSEN {'
mutant apply-on-any-base host/core/src/apply.rs \
    'if *base != meta.zxid {' 'if *base != meta.zxid && !CHOSEN {'
mutant apply-any-epoch host/core/src/apply.rs \
    'if (entry.term, entry.epoch) != (meta.term, meta.epoch) {' \
    'if (entry.term, entry.epoch) != (meta.term, meta.epoch) && !CHOSEN {'
mutant no-overlay-reset host/sequencer/src/sequencer.rs \
    'self.view().reset();' 'if !CHOSEN { self.view().reset(); }'
mutant no-epoch-raised host/sequencer/src/sequencer.rs \
    'self.epoch = self.epoch.next();' 'if !CHOSEN { self.epoch = self.epoch.next(); }'
mutant no-grace host/sequencer/src/sequencer.rs \
    'self.liveness.add(id, session.timeout_ms, now.monotonic_ms);' \
    'self.liveness.add(id, session.timeout_ms, now.monotonic_ms.saturating_sub(if CHOSEN { session.timeout_ms } else { 0 }));'
mutant superseded-goes-on host/sequencer/src/sequencer.rs \
    'if !self.is_ours(leadership) {
            self.be_superseded();
            return;
        }
        self.time' \
    'if !self.is_ours(leadership) && !CHOSEN {
            self.be_superseded();
            return;
        }
        self.time'
mutant held-answers-leave host/sequencer/src/sequencer/admission.rs \
    'self.held.push_back((self.zxid, output));' \
    'if CHOSEN { self.outputs.push_back(output); return; } self.held.push_back((self.zxid, output));'
mutant half-a-timeout host/sequencer/src/liveness.rs \
    'timeout_ms + timeout_ms / DRIFT_DIVISOR' \
    'if CHOSEN { timeout_ms / 2 } else { timeout_ms + timeout_ms / DRIFT_DIVISOR }'
mutant no-drift-margin host/sequencer/src/liveness.rs \
    'timeout_ms + timeout_ms / DRIFT_DIVISOR }' \
    'timeout_ms + if CHOSEN { 0 } else { timeout_ms / DRIFT_DIVISOR } }'

# Layered guards, taken away together.
names="$names apply-any-term/unconditional apply-any-epoch/unconditional apply-any-term,apply-any-epoch/unconditional"
names="$names superseded-goes-on/unconditional superseded-goes-on,apply-any-term/unconditional"
names="$names superseded-goes-on,apply-any-term,apply-any-epoch/unconditional"

target=${CARGO_TARGET_DIR:-$PWD/target}
CARGO_TARGET_DIR=$target cargo build --locked -q --manifest-path "$scratch/tests/sim/Cargo.toml"
simulator=$scratch/simulator
cp "$target/debug/quorate-sim" "$simulator"
survivors=0
for name in ${*:-$names}; do
    glue=()
    case $name in */*) glue=(--mutant "${name#*/}") ;; esac
    if said=$(QUORATE_MUTANT=${name%%/*} "$simulator" "${glue[@]}" --seeds "1..$((seeds + 1))" 2>&1); then
        survivors=$((survivors + 1))
        echo "$name: survived $seeds seeds"
    else
        echo "$name: $(printf '%s\n' "$said" | grep -m1 fails | cut -c1-160)"
    fi
done
[ "$survivors" = 0 ]
