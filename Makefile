# Two commands do everything: `make demo` and `make test`. Both share one build, without optimisation.

SHELL := bash
# Where rustup puts cargo; a fresh install is not in every shell's PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

target_dir := $(or $(CARGO_TARGET_DIR),target)
gateway := $(target_dir)/debug/openemr-gateway
# Most tests wait for a clock, not for a processor: more of them run at once than there are processors.
export RUST_TEST_THREADS ?= 4

# Where the FHIR clients of others are run.
clients := tests/clients

test_steps := format lints build unit examples end-to-end postman clients

.DEFAULT_GOAL := help
.PHONY: help demo test check ci lint postman clients build clean prerequisites prerequisites-check prerequisites-test prerequisites-ci

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: prerequisites ## The gateway in front of a sandbox, on http://localhost:8000 (LISTEN=address:port for another place)
	@exec scripts/demo "$(gateway)" $(if $(LISTEN),"$(LISTEN)")

test: prerequisites-test ## Everything: format, lints, all tests, the Postman collection and the FHIR clients of others
	@scripts/steps $(test_steps)

check: prerequisites-check ## Format, lints and unit tests: for the loop while working
	@scripts/steps format lints unit

# Dependencies last: installing cargo-deny takes minutes where it is missing. The status page is tested if there is a browser; with
# REQUIRE_CHROMIUM=1 there has to be one.
ci: prerequisites-ci ## What CI runs: make test, shellcheck, documentation, --no-default-features, dependencies
	@scripts/steps shell $(test_steps) documentation no-sandbox dependencies

lint: prerequisites-check ## Format and lints
	@scripts/steps format lints

postman: prerequisites-test postman/node_modules/.installed ## The Postman collection against a demo of its own
	cargo build --locked
	node postman/run.js "$(gateway)"

# CLIENTS="bulk http2" runs some of them.
clients: prerequisites-test $(clients)/node_modules/.installed $(clients)/.venv/.installed ## FHIR clients and validators of others against the demo
	cargo build --locked
	node $(clients)/run.js "$(gateway)" $(clients)/.venv/bin/python $(CLIENTS)

build: prerequisites ## The program to install, optimised: target/release/openemr-gateway (5 to 15 minutes)
	@echo "This builds the gateway with all optimisations: 5 to 15 minutes on two cores, the last of them at the gateway itself."
	cargo build --locked --release
	@scripts/strip "$(target_dir)/release/openemr-gateway"

clean: ## Remove what was built and downloaded
	rm -rf "$(target_dir)" postman/node_modules $(clients)/node_modules $(clients)/.venv

prerequisites:
	@scripts/prerequisites build

prerequisites-check:
	@scripts/prerequisites check

prerequisites-test:
	@scripts/prerequisites test

prerequisites-ci:
	@scripts/prerequisites ci

# Node.js and Python themselves are no files to depend on: they have to be there before their packages, hence the
# order-only prerequisites.
%/node_modules/.installed: %/package.json %/package-lock.json | prerequisites-test
	cd $* && npm ci --no-audit --no-fund --loglevel=error --fetch-timeout=60000 --fetch-retries=3 </dev/null
	@touch $@

$(clients)/.venv/.installed: $(clients)/requirements.txt | prerequisites-test
	rm -rf $(clients)/.venv
	python3 -m venv $(clients)/.venv
	$(clients)/.venv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary :all: --timeout 60 --retries 3 -r $< </dev/null
	@touch $@
