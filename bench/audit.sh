#!/usr/bin/env bash
# What the audit trail costs, and whether it can be relied on: the release build under a steady load with and without a trail, in turn,
# and 200,000 requests at full speed while the gateway is killed ten times. Take the differences, not the figures.
#
#   bench/audit.sh            FAULT_RATE (1000) is the rate of the steady load in requests a second
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
export FAULT_RATE=${FAULT_RATE:-1000}
export OEGW_AUDIT_REQUESTS=${OEGW_AUDIT_REQUESTS:-200000} OEGW_AUDIT_KILLS=${OEGW_AUDIT_KILLS:-10}
if [ -z "${OPENEMR_GATEWAY:-}" ]; then
    scripts/prerequisites build
    cargo build --locked --release
    export OPENEMR_GATEWAY=${CARGO_TARGET_DIR:-$PWD/target}/release/openemr-gateway
fi
cargo test --locked --test it -- --test-threads=1 --nocapture audit::latency audit::killed 2>&1 |
    awk -F '|' '/^AUDIT\|/ { printf "round %s, sync %-8s %s\n", $2, $3, $4 } / recorded in / { print } /^test result|panicked/ { print }'
