# `make help` lists the targets.

CARGO ?= cargo
SEEDS ?= 0..20000
FUZZ_SECONDS ?= 60

.PHONY: help run-example test lint doc fuzz seeds kills stalls bench redis-server

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

run-example: ## Counts the lines of every source file of this repository, one task a file.
	find . -name '*.rs' -not -path './target/*' | $(CARGO) run --release -- run -- wc -l {}

test: redis-server lint ## Checks formatting and lints, runs all tests, builds the documentation.
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --locked --no-deps --quiet

lint: ## Formatting, and clippy with warnings denied.
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## Builds and opens the documentation.
	$(CARGO) doc --no-deps --open

fuzz: ## Fuzzes each target for FUZZ_SECONDS (needs a nightly toolchain and cargo-fuzz).
	for target in codec message; do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

seeds: ## Runs the fault simulator over SEEDS (from..to).
	GANGER_SEEDS=$(SEEDS) $(CARGO) test --release --test sim sweep -- --ignored --nocapture

kills: redis-server ## Kills the scheduler three times under 100,000 tasks, on the embedded store and on Redis.
	$(CARGO) test --release --test it recovery -- --ignored --nocapture

stalls: ## Measures how long anybody waits while queries, changes of policies and many joins are dealt with.
	$(CARGO) test --release --lib stalls -- --ignored --nocapture --test-threads 1

bench: ## Measures throughput, latency and memory on every store.
	$(CARGO) build --release
	for store in memory: file: redis; do ./target/release/ganger bench --store $$store || exit 1; done

# The tests start their own Redis processes; the program has to be there.
redis-server:
	@command -v redis-server >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; \
	  else \
	    echo "the tests need redis-server (7.0 or later) on the PATH: install it and try again" >&2; exit 1; \
	  fi; }
