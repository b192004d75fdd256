# The two commands of the README are `make run` and `make test`; everything else here is what they need.
#
# One build of RocksDB and wasmtime serves both, and CI: one cargo profile, one target directory. The first build takes
# about 15 minutes on two quiet cores; later ones seconds.

export CARGO_TARGET_DIR ?= $(CURDIR)/target
RECIPES := $(CARGO_TARGET_DIR)/recipes
export QUORATE_GUEST_TARGET_DIR ?= $(CARGO_TARGET_DIR)/guests
NAMES := lock counter queue barrier election group
BIN := $(CARGO_TARGET_DIR)/debug
CARGO := cargo
LOCKED := --locked
SIM := --manifest-path tests/sim/Cargo.toml

.PHONY: help run cluster test setup recipes build lint fuzz sim unit clean

help:
	@echo 'make run    set this machine up, build, show three clients contending for a lock, and serve on 127.0.0.1:4747/udp'
	@echo 'make cluster  the same, with a cluster of three members on this machine, a process for each'
	@echo 'make test   set this machine up, build, and run every test'
	@echo 'make build  only the binary: $(BIN)/quorate'

run: build
	@$(BIN)/quorate dev --demo

cluster: build
	@$(BIN)/quorate dev --members 3

# Cheap steps first; each prints its time.
test:
	@.ci/steps setup recipes lint fuzz sim unit

# Packages, toolchain, guest toolchain: checks what is there, installs what is missing, says what it can not do.
setup:
	@.ci/setup

# Guests first: the binary carries the built-in recipes.
recipes: setup
	@recipes/build.sh $(RECIPES)
	@$(CARGO) build $(LOCKED) -q -p quorate-componentize
	@for name in $(NAMES); do \
	    if [ ! -f $(RECIPES)/$$name.wasm ] || [ $(RECIPES)/$$name.core.wasm -nt $(RECIPES)/$$name.wasm ]; then \
	        $(BIN)/componentize $(RECIPES)/$$name.core.wasm $(RECIPES)/$$name.wasm || exit 1; \
	    fi; \
	done

build: recipes
	@echo 'building quorate; the first time, RocksDB and wasmtime take about 15 minutes on two cores'
	$(CARGO) build $(LOCKED) -p quorate-server

lint: recipes
	$(CARGO) fmt --all --check
	$(CARGO) test $(LOCKED) -q -p quorate-tidy
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) fmt --check $(SIM)
	$(CARGO) clippy $(LOCKED) $(SIM) --all-targets -- -D warnings

# Each decoder of bytes from outside, for some seconds. Without a nightly toolchain it says so and does nothing.
FUZZ_SECONDS ?= 5
fuzz:
	@tests/fuzz/run.sh $(FUZZ_SECONDS)

# Whole clusters in one thread while everything goes wrong: its own tests, and 200 seeds.
SIM_SEEDS ?= 1..201
sim:
	$(CARGO) test $(LOCKED) -q $(SIM)
	$(CARGO) run $(LOCKED) -q $(SIM) -- --seeds $(SIM_SEEDS)

unit: recipes
	$(CARGO) build $(LOCKED) -q -p quorate-server --example older
	$(CARGO) test $(LOCKED) --workspace --all-targets
	$(CARGO) test $(LOCKED) --workspace --doc
	$(CARGO) test $(LOCKED) --manifest-path tests/history/second-opinion/Cargo.toml

clean:
	$(CARGO) clean
