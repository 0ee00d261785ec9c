#!/usr/bin/env bash
# The fault tests at a higher rate and for longer, against the release build, and a table of what came of them.
#
#   bench/faults.sh                       all of them
#   bench/faults.sh refresh_under_load    the modules of that name in tests/it/ alone
#
# FAULT_RATE (requests a second) and FAULT_SECONDS set how hard and how long; tests that need a rate of their own keep
# it. Ends with 1 if a test failed or a request was not answered as it should be.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
export FAULT_RATE=${FAULT_RATE:-3000} FAULT_SECONDS=${FAULT_SECONDS:-90}
target=${CARGO_TARGET_DIR:-$PWD/target}
log=$target/faults.log

scripts/prerequisites build
cargo build --locked --release
# The tests themselves stay in the quick build: only what they start is measured.
export OPENEMR_GATEWAY=$target/release/openemr-gateway

# The fault tests are those that send a load or print a row of their own; the module `load` tests the load itself.
if [ $# -eq 0 ]; then
    while read -r file; do
        module=${file#tests/it/}
        module=${module%.rs}
        set -- "$@" "${module//\//::}::"
    done < <(grep -rlE 'support::load|load_report' tests/it --include='*.rs' | grep -vE '^tests/it/(support/|load\.rs)' | sort)
fi
printf '%s requests a second for %s s where a test allows; the log is %s\n' "$FAULT_RATE" "$FAULT_SECONDS" "$log"

status=0
cargo test --locked --test it -- --test-threads=1 --nocapture "$@" 2>&1 | tee "$log" | awk -F '|' '
    function line(fault, sent, failed, stall) {
        printf "%-52s %14s %8s %14s\n", fault, sent, failed, stall
        fflush()
    }
    { at = index($0, "FAULT|") }
    at {
        if (!rows++) line("fault", "requests sent", "failed", "longest stall")
        $0 = substr($0, at)
        line($2, $3, $4, $5)
        failed += $4
    }
    END { exit failed > 0 || !rows }
' || status=1
if [ "$status" -ne 0 ]; then
    grep -E "^(error|test .*FAILED|thread '.*' .*panicked)" "$log" | sort -u >&2 || true
    printf 'not everything passed: see %s\n' "$log" >&2
fi
exit "$status"
