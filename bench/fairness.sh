#!/usr/bin/env bash
# Polite clients among greedy ones, in front of an OpenEMR of five workers (and of 16 that become 4), under several limits on requests
# in flight: what OpenEMR gets done, and how long the polite ones wait. The release build; about ten minutes.
#
#   bench/fairness.sh                                     the table
#   FAIRNESS_SECONDS=60 bench/fairness.sh                 longer phases, for a p99 that is more than the maximum
#   FAIRNESS_OPEN=4 bench/fairness.sh                     each greedy client keeps four requests open
#   FAIRNESS_BY_KEY=1 bench/fairness.sh                   clients are told apart by API keys, all at one address
#   FAIRNESS_SETTINGS='mine {most: 12}' bench/fairness.sh one limit alone: lines of a name and `in_flight` in YAML
#
# FAIRNESS_GREEDY (64), FAIRNESS_POLITE (24: each asks for a quarter of its share, and several give more samples of the same),
# FAIRNESS_WARM_UP (5 s, not counted) and FAIRNESS_SCENARIO (mixed or reads; else both) can be set, too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
log=$target/fairness.log
export PATH="$PATH:$HOME/.cargo/bin"
export FAIRNESS_SETTINGS=${FAIRNESS_SETTINGS:-'
    none {most: 10000, most_of_a_client: 10000, adaptive: false}
    fixed-4 {most: 4, adaptive: false}
    fixed-5 {most: 5, adaptive: false}
    fixed-6 {most: 6, adaptive: false}
    fixed-8 {most: 8, adaptive: false}
    fixed-16 {most: 16, adaptive: false}
    fixed-32 {most: 32, adaptive: false}
    adaptive {most: 32}'}
if [ -z "${OPENEMR_GATEWAY:-}" ]; then
    scripts/prerequisites build
    cargo build --locked --release
    export OPENEMR_GATEWAY=$target/release/openemr-gateway
fi
echo "The whole output is kept in $log."
echo "Times of the polite clients: count: p50/p99/max in ms. busy: workers' seconds a second behind answers with 200."
cargo test --locked --test it -- --test-threads=1 --nocapture limits::fairness 2>&1 | tee "$log" | awk -F '|' '
    function line(scenario, workers, setting, answers, busy, rejected, failed, own, all, read, observations, encounters) {
        printf "%-6s %-8s %-15s %9s %6s %7s %6s %6s  %-22s %-22s %-20s %s\n", scenario, workers, setting, answers, busy, rejected,
            failed, own, all, read, observations, encounters
        fflush()
    }
    { at = index($0, "FAIRNESS|") }
    at {
        if (!rows++)
            line("", "workers", "in_flight", "answers/s", "busy/s", "503", "failed", "own503", "polite", "reads", "Observations", "Encounters")
        $0 = substr($0, at)
        line($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        if ($4 !~ /alone/ && $4 ~ /^fixed/ && $6 > best[$2, $3]) { best[$2, $3] = $6; name[$2, $3] = $4; order[++count] = $2 SUBSEP $3 }
    }
    /^test result|panicked/ { print }
    END {
        for (at = 1; at <= count; at++) {
            key = order[at]
            if (!(key in told)) { told[key] = 1; split(key, part, SUBSEP); printf "best fixed limit, %s with %s workers: %s (%s busy/s)\n", part[1], part[2], name[key], best[key] }
        }
        exit !rows
    }'
