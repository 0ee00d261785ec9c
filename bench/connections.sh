#!/usr/bin/env bash
# Ordinary clients beside 10,000 idle connections and 1,000 that send a byte a second, half of them of a head, half of a body: how long
# the ordinary ones wait without and with them, and what an idle connection takes of memory. Over HTTP and over HTTPS, the release
# build; about four minutes.
#
#   bench/connections.sh      CONNECTIONS_IDLE (10000), CONNECTIONS_SLOW (1000), CONNECTIONS_RATE (200 requests a second),
#                             CONNECTIONS_SECONDS (20 for each of the phases)
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
log=$target/connections.log
export PATH="$PATH:$HOME/.cargo/bin"
export CONNECTIONS_IDLE=${CONNECTIONS_IDLE:-10000} CONNECTIONS_SLOW=${CONNECTIONS_SLOW:-1000}
export CONNECTIONS_RATE=${CONNECTIONS_RATE:-200} CONNECTIONS_SECONDS=${CONNECTIONS_SECONDS:-20}
# The clients are one process, the gateway is another, and each has a file for every connection.
needed=$((CONNECTIONS_IDLE + CONNECTIONS_SLOW + 1000))
if ! ulimit -Sn "$needed" 2>/dev/null; then
    echo "error: $needed open files are needed, and $(ulimit -Hn) are allowed" >&2
    echo "  raise the limit (ulimit -Hn $needed as root, or LimitNOFILE= of the service), or lower CONNECTIONS_IDLE" >&2
    exit 1
fi
if [ -z "${OPENEMR_GATEWAY:-}" ]; then
    scripts/prerequisites build
    cargo build --locked --release
    export OPENEMR_GATEWAY=$target/release/openemr-gateway
fi
echo "The whole output is kept in $log."
echo "Ordinary clients: $CONNECTIONS_RATE reads a second over 16 connections of their own, without TLS. Times in ms."
cargo test --locked --test it -- --test-threads=1 --nocapture limits::connections 2>&1 | tee "$log" | awk -F '|' '
    { at = index($0, "CONNECTIONS|") }
    at {
        if (!rows++) printf "%-6s %-24s %8s %8s %8s %8s %12s %8s\n", "", "", "requests", "p50", "p99", "max", "p99 / alone", "% of CPU"
        $0 = substr($0, at)
        if (NF > 3) printf "%-6s %-24s %8s %8s %8s %8s %12s %8s\n", $2, $3, $4, $5, $6, $7, $8, $9
        else printf "%-6s %s\n", $2, $3
        fflush()
    }
    /^test result|panicked/ { print }
    END { exit !rows }'
