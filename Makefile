# Two commands do everything: `make demo` and `make test`. Both share one build.

SHELL := bash
# Where rustup puts cargo; a fresh install is not in every shell's PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

target_dir := $(or $(CARGO_TARGET_DIR),target)
gateway := $(target_dir)/debug/openemr-gateway
# Most tests wait for a clock, not for a processor: more of them at once than there are processors.
export RUST_TEST_THREADS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test build lint postman clean prerequisites prerequisites-test

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: prerequisites ## The gateway in front of a stand-in for OpenEMR, on http://localhost:8000 (LISTEN=address:port for another place)
	cargo build --locked
	@exec "$(gateway)" demo $(if $(LISTEN),--listen $(LISTEN))

test: lint ## Everything: format, lints, tests, the Postman collection against the demo
	cargo test --locked
	@$(MAKE) --no-print-directory postman

lint: prerequisites-test ## Format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

postman: prerequisites-test postman/node_modules/.installed ## The Postman collection against a demo of its own
	cargo build --locked
	node postman/run.js "$(gateway)"

build: prerequisites ## The program to install, optimised: target/release/openemr-gateway (takes minutes)
	cargo build --locked --release

clean: ## Remove what was built and downloaded
	rm -rf "$(target_dir)" postman/node_modules

prerequisites:
	@scripts/prerequisites build

prerequisites-test:
	@scripts/prerequisites test

# Node.js itself is no file to depend on: it has to be there before npm runs, hence the order-only prerequisite.
postman/node_modules/.installed: postman/package.json postman/package-lock.json | prerequisites-test
	cd postman && npm ci --no-audit --no-fund --loglevel=error --fetch-timeout=60000 --fetch-retries=3 </dev/null
	@touch $@
