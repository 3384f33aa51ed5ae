# The index of what can be done here: `make help`.
.DEFAULT_GOAL := help
CARGO ?= cargo
# Packages outside the workspace: protocols as others write them.
EXAMPLES := examples/counter examples/ring
NODE := $(or $(CARGO_TARGET_DIR),target)/release/node
STATIC := $(or $(CARGO_TARGET_DIR),target)/docker/node-release

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the binary, target/release/node
	$(CARGO) build --release --bin node

kv: build ## Start three servers of the key-value store, and talk to them
	@scripts/kv.sh

kv-demo: build ## Show, unattended, a GET that is answered and one that is refused
	@scripts/kv-demo.sh

clocks: build ## Start four nodes that call each other, and watch their Lamport clocks
	@scripts/clocks.sh

clocks-demo: build ## Show, unattended, four clocks and a restart, and judge them
	@scripts/clocks-demo.sh

election: build ## Start four nodes that elect a coordinator, to watch and to kill
	@scripts/election.sh

election-demo: N ?= 4
election-demo: build ## Kill and restart the coordinator of N nodes, and judge the elections (N=4)
	@scripts/election-demo.sh $(N)

lottery: build ## Hold the lottery with generated bets, or with those of a folder (BETS=dir)
	@scripts/lottery.sh "$(BETS)"

programs: build ## Break two programs in Python: one that is right, and one that forgets
	@$(NODE) sim glomers/3c --bin examples/programs/python/broadcast.py --seeds 1..5
	@! $(NODE) sim glomers/3c --bin examples/programs/python/broadcast_forgets.py --seeds 1..5

studio: build ## Run, fork and compare scenarios in a browser (SCENARIO=kv-linearizable)
	@$(NODE) studio $(SCENARIO)

grade: build ## Grade the sample class: run/class.csv, and a report for each
	@$(NODE) grade all examples/course/submissions --assignment examples/course/assignment.toml \
	  --no-hidden -o run/class.csv --results run/results; cat run/class.csv

board: build ## Start the bulletin system, eight nodes, and talk in it (PORT=10501)
	@scripts/board.sh

board-demo: build ## Show, unattended, its clocks come together, its coordinator and a server die
	@scripts/board-demo.sh

check: build ## Check every config of configs/
	@find configs -name '*.toml' -not -path 'configs/sim/*' -exec $(NODE) check {} + > /dev/null && echo "all configs are right"

bench: build ## Measure the key-value store, calls between two nodes, and the bulletin system's proxy
	@scripts/bench-kv.sh
	@scripts/bench-clocks.sh
	@scripts/bench-board.sh

bench-page: ## Measure the page of node explain in headless Chromium: size, pictures a second, a run of 3.6 million events
	@cargo build --release --quiet -p node && scripts/bench-page.py

docker-image: ## Build the static binary and the image node:latest
	@scripts/docker-image.sh

docker-kv: N ?= 3
docker-kv: docker-image ## Run the store in N containers, break one, and judge (N=3)
	@NODE=$(STATIC) scripts/docker-demo.sh kv $(N)

docker-election: N ?= 4
docker-election: docker-image ## Run an election in N containers, kill the coordinator (N=4)
	@NODE=$(STATIC) scripts/docker-demo.sh election $(N)

docker-lottery: N ?= 5
docker-lottery: docker-image ## Hold the lottery with N agencies in containers, and judge (N=5)
	@NODE=$(STATIC) scripts/docker-demo.sh lottery $(N)

docker-board: N ?= 3
docker-board: docker-image ## Run the bulletin system with N servers in containers (N=3)
	@NODE=$(STATIC) scripts/docker-demo.sh board $(N)

docker-echo: docker-image ## Ask the echo server with netcat, from inside its network
	@NODE=$(STATIC) scripts/docker-demo.sh echo 1

test: ## Run all tests
	@for example in $(EXAMPLES); do \
	  $(CARGO) test --manifest-path $$example/Cargo.toml --target-dir target/examples && \
	  $(CARGO) test --manifest-path $$example/Cargo.toml --target-dir target/examples --features node || exit 1; \
	done
	$(CARGO) test --features mutants --test mutants --test explore_mutants -- --nocapture
	$(CARGO) test --workspace --all-targets

fuzz: FUZZ_SECONDS ?= 10
fuzz: ## Fuzz each target for a few seconds, with cargo fuzz (FUZZ_SECONDS=10)
	@scripts/fuzz.sh $(FUZZ_SECONDS)

lint: ## Check form and style
	$(CARGO) fmt --all --check
	@for example in $(EXAMPLES); do $(CARGO) fmt --manifest-path $$example/Cargo.toml --check || exit 1; done
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --features mutants --test mutants --test explore_mutants -- -D warnings
	@for example in $(EXAMPLES); do \
	  $(CARGO) clippy --manifest-path $$example/Cargo.toml --target-dir target/examples \
	    --all-targets --features node -- -D warnings || exit 1; \
	done

clean: ## Remove what was built and what ran
	$(CARGO) clean
	rm -rf run

.PHONY: help build kv kv-demo clocks clocks-demo election election-demo lottery programs studio grade board board-demo check bench bench-page docker-image docker-kv docker-election docker-lottery docker-board docker-echo test fuzz lint clean
