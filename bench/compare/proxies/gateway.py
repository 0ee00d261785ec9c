"""openemr-gateway: as shipped, passing through with an access log, and bare."""

import json
import pathlib
import re

from openemr_documents import TYPES
from programs import Program, run

SCOPES = [*(f"system/{name}.read" for name in TYPES), "system/Patient.write"]
POLICY = ["system/Patient.crus", *(f"system/{name}.rs" for name in TYPES if name != "Patient")]
VARIANTS = {
    "as shipped": "repairs, an access line, metrics, a client with an API key and a policy, the audit trail",
    "pass_through, access log": "no repairs, no clients, no audit trail",
    "bare": "no repairs, no clients, no audit trail, no access line",
}


def new_key(gateway):
    """An API key, and its SHA-256 as it stands in the configuration."""
    printed = run(gateway, "access", "new-key", "bench")
    return re.search(r"\boegw_\w[\w-]*", printed)[0], re.search(r"sha256:[0-9a-f]{64}", printed)[0]


def configuration(place, variant, ports, threads=1):
    """The configuration of a variant, as the operator of a large installation would write it: what is not named has its default."""
    tls = {"certificate": str(place.certificates.server), "private_key": str(place.certificates.server_key)}
    folder = pathlib.Path(place.folder) / f"gateway-{ports[0]}"
    folder.mkdir()
    base = f"https://127.0.0.1:{place.upstream_port}"
    config = {
        "listen": [{"address": f"127.0.0.1:{ports[0]}"}, {"address": f"127.0.0.1:{ports[1]}", "tls": tls}],
        "sites": {
            "default": {
                "fhir_base": f"{base}/apis/default/fhir",
                "token_url": f"{base}/oauth2/default/token",
                "client_id": "bench",
                "private_key": str(place.documents.key),
                "jwks": str(place.documents.jwks),
                "ca_file": str(place.certificates.ca),
                "scopes": SCOPES,
                # More requests are under way than an OpenEMR has workers.
                "in_flight": {"most": 512},
                "forced_refreshes": {"daily": 100000},
                "bulk_data": {"folder": str(folder / "bulk")},
            }
        },
        "limits": {"connections": 30000, "connections_per_address": 30000, "keepalive_requests": 100000000, "keepalive_timeout": "30m"},
        "log": {"to": "file", "file": {"path": str(folder / "access.log"), "max_size": None}},
        "server": {"threads": threads, "upgrade_sock": str(folder / "upgrade.sock"), "pid_file": str(folder / "pid")},
    }
    if variant == "as shipped":
        config["admin"] = {"address": f"127.0.0.1:{ports[2]}"}
        config["access"] = {
            "clients": {"bench": {"policy": "bench", "api_keys": [place.key_digest]}},
            "policies": {"bench": {"scopes": POLICY, "local": ["force_refresh"]}},
        }
        config["audit"] = {"folder": str(folder / "audit"), "ids_key": str(folder / "ids.key"), "checkpoint_key": str(folder / "checkpoint.key")}
    else:
        config["sites"]["default"]["conformance"] = "pass_through"
        if variant == "bare":
            config["log"]["level"] = "warn"
    return config


def start(place, variant, ports, cores=None, under=(), change=None, threads=1):
    """Starts the gateway; `under` is a program that it runs under, and `change` alters its configuration."""
    config = configuration(place, variant, ports, threads)
    if change:
        change(config)
    file = pathlib.Path(place.folder) / f"gateway-{ports[0]}.yaml"
    file.write_text(json.dumps(config, indent=1))
    program = Program(f"gateway-{ports[0]}", [*under, place.gateway, "serve", "--config", file], place.folder, cores)
    program.await_port(ports[0])
    return program
