#!/bin/bash
# Builds recipes as core wasm modules.
#
#   recipes/build.sh [OUT_DIR]          the six of this repository, into target/recipes by default
#   recipes/build.sh OUT_DIR CRATE_DIR  the recipe in another crate
#
# Guests are built by rustup's wasm32-unknown-unknown where that is installed, else by Debian's packages. Set
# QUORATE_GUEST_TOOLCHAIN=rustup or =debian to insist on one. A core module becomes a component on the host, with
# `componentize IN OUT` (sdk/componentize).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
out=${1:-$root/target/recipes}
target=wasm32-unknown-unknown
if [ $# -ge 2 ]; then
    crates=$(cd "$2" && pwd)
    recipes=$(sed -n 's/^name *= *"\(.*\)"$/\1/p' "$crates/Cargo.toml" | head -n 1)
    locked=
    prefix=
else
    crates=$here
    recipes="lock counter queue barrier election group"
    locked=--locked
    prefix=quorate_recipe_
fi

say() { printf 'recipes: %s\n' "$*"; }
fail() { printf 'recipes: error: %s\n' "$*" >&2; exit 1; }

has_rustup_target() {
    command -v rustup >/dev/null 2>&1 || return 1
    (cd "$here" && rustup target list --installed 2>/dev/null) | grep -qx "$target"
}

# Debian's own cargo and rustc, whatever else comes first in PATH, with the sources of std to build it from.
has_debian() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && command -v wasm-ld >/dev/null 2>&1 &&
        [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std" ]
}

choose() {
    case "${QUORATE_GUEST_TOOLCHAIN:-any}" in
        rustup) has_rustup_target && echo rustup || echo none ;;
        debian) has_debian && echo debian || echo none ;;
        any) if has_rustup_target; then echo rustup; elif has_debian; then echo debian; else echo none; fi ;;
        *) echo unknown ;;
    esac
}

# Small stacks start faster. No path of this machine in what panics say.
flags="-C link-arg=-zstack-size=65536 --remap-path-prefix=$root=/quorate"
flags="$flags --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"

case $(choose) in
    rustup)
        say "building with rustup's $target"
        build() { cargo build "$@"; }
        ;;
    debian)
        say "building with Debian's rustc and wasm-ld ($(/usr/bin/rustc --version))"
        build() {
            env -u RUSTUP_TOOLCHAIN -u RUSTC_WRAPPER RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
                CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld \
                /usr/bin/cargo build -Zbuild-std=std,panic_abort "$@"
        }
        ;;
    unknown)
        fail "QUORATE_GUEST_TOOLCHAIN is \`$QUORATE_GUEST_TOOLCHAIN\`: rustup and debian are known" ;;
    *)
        fail "no toolchain for $target. Install one of these:
    rustup target add $target
    apt-get install rustc-web cargo-web rust-web-src lld" ;;
esac

# A directory of its own: the host's build and the guests' must not invalidate each other.
build_dir=${QUORATE_GUEST_TARGET_DIR:-$root/target/guest-build}
mkdir -p "$out"
(
    cd "$crates"
    unset CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS RUSTFLAGS
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$flags"
    build --release $locked --target "$target" --target-dir "$build_dir" --lib
)

for recipe in $recipes; do
    module=$build_dir/$target/release/$prefix$(printf %s "$recipe" | tr - _).wasm
    [ -f "$module" ] || fail "$module was not built"
    # Unchanged modules keep their time, so that what is made from them is not made again.
    if ! cmp -s "$module" "$out/$recipe.core.wasm"; then
        cp "$module" "$out/$recipe.core.wasm.new"
        mv "$out/$recipe.core.wasm.new" "$out/$recipe.core.wasm"
        say "$recipe: $(wc -c <"$out/$recipe.core.wasm") bytes"
    fi
done
say "modules are in $out"
