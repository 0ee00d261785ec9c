#!/usr/bin/env bash
# What a request costs: CPU time of the gateway, with its repairs and without, and of nginx doing the forwarding alone, in
# one run on one machine. Take the ratios, not the figures.
#
#   bench/cost.sh            5 s a row; COST_SECONDS sets it
#
# Needs nginx, wrk, jq and curl. OpenEMR's part is played by an nginx that has three answers of the sandbox's in files.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
seconds=${COST_SECONDS:-5}
for tool in nginx wrk jq curl; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing; install nginx, wrk, jq and curl" >&2; exit 1; }
done
scripts/prerequisites build
cargo build --locked --release
gateway=$PWD/${CARGO_TARGET_DIR:-target}/release/openemr-gateway

folder=$(mktemp -d)
# The workers of nginx are another user.
chmod 755 "$folder"
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for name in openemr plain; do
        if [ -e "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
    done
    rm -rf "$folder"
}
trap finish EXIT
cd "$folder"

await() {
    for _ in $(seq 100); do curl -sf -o /dev/null "$1" && return; sleep 0.1; done
    echo "error: no answer at $1" >&2
    exit 1
}

# serve NAME PORT FHIR_PORT CONFORMANCE: a gateway with one thread.
serve() {
    cat > "$1.yaml" <<YAML
listen: [{ address: "127.0.0.1:$2" }]
sites:
  default:
    fhir_base: http://127.0.0.1:$3/apis/default/fhir
    token_url: http://127.0.0.1:19300/oauth2/default/token
    client_id: cost
    private_key: keys/private_key.pem
    jwks: keys/jwks.json
    scopes: [system/Patient.read]
    conformance: $4
    in_flight: { most: 500 }
    bulk_data: { folder: $1-bulk }
log: { level: warn }
server: { threads: 1, upgrade_sock: $folder/$1.sock, pid_file: $folder/$1.pidfile }
YAML
    "$gateway" serve --config "$1.yaml" 2>>gateway.log &
    started+=($!)
    await "http://127.0.0.1:$2/ready"
}

"$gateway" keys generate --out keys >/dev/null
"$gateway" sandbox --listen 127.0.0.1:19300 --patients 300 --client-id cost --jwks keys/jwks.json >/dev/null 2>&1 &
started+=($!)
await http://127.0.0.1:19300/apis/default/fhir/metadata

mkdir www
serve collector 19301 19300 pass_through
curl -sf http://127.0.0.1:19301/fhir/metadata -o www/metadata
curl -sf 'http://127.0.0.1:19301/fhir/Patient?_count=80' -o www/bundle
id=$(jq -r '.entry[0].resource.id' www/bundle)
curl -sf "http://127.0.0.1:19301/fhir/Patient/$id" -o www/patient
sed -i 's#127\.0\.0\.1:19300#127.0.0.1:19310#g' www/*

http='access_log off; keepalive_requests 100000000; default_type application/json; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;'
conf() {
    printf 'worker_processes 1; pid %s/%s.pid; error_log %s/%s.log; events { worker_connections 2048; }\nhttp { %s\n%s\n}\n' \
        "$folder" "$1" "$folder" "$1" "$http" "$2" > "$1.conf"
    nginx -p "$folder" -c "$folder/$1.conf" 2>/dev/null
}
conf openemr "server { listen 127.0.0.1:19310; root $folder/www;
  location = /apis/default/fhir/metadata { rewrite ^ /metadata break; }
  location = /apis/default/fhir/Patient { rewrite ^ /bundle break; }
  location /apis/default/fhir/Patient/ { rewrite ^ /patient break; } }"
# shellcheck disable=SC2016 # nginx's variables
conf plain 'upstream openemr { server 127.0.0.1:19310; keepalive 64; }
  server { listen 127.0.0.1:19320; location / { proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_set_header Authorization "Bearer x"; rewrite ^/fhir(.*)$ /apis/default/fhir$1 break; proxy_pass http://openemr; } }'
await http://127.0.0.1:19310/apis/default/fhir/metadata
serve repair 19302 19310 repair
repair=${started[-1]}
serve pass_through 19303 19310 pass_through
pass_through=${started[-1]}
plain=$(pgrep -P "$(cat plain.pid)" | head -n 1)

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
row() {
    local before after report answers
    before=$(ticks "$2")
    report=$(wrk -t1 -c32 -d"${seconds}s" "$3")
    after=$(ticks "$2")
    ! grep -q 'Non-2xx\|Socket errors' <<<"$report" || { echo "error: $3 was not answered" >&2; exit 1; }
    answers=$(awk '/requests in/ { print $1 }' <<<"$report")
    awk -v name="$1" -v n="$answers" -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "  %-28s %8d answers  %7.1f us of CPU each\n", name, n, t * 1e6 / hz / n }'
}
for path in "Patient/$id" Patient; do
    [ "$path" = Patient ] && file=bundle || file=patient
    echo "$(stat -c %s "www/$file") bytes:"
    row 'nginx, forwarding alone' "$plain" "http://127.0.0.1:19320/fhir/$path"
    row 'gateway, pass_through' "$pass_through" "http://127.0.0.1:19303/fhir/$path"
    row 'gateway, repair' "$repair" "http://127.0.0.1:19302/fhir/$path"
done
