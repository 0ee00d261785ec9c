"""Envoy: one worker thread (`--concurrency 1`), the default format of its access log."""

import json

from programs import Program, run

TYPES = "type.googleapis.com/envoy.extensions"


def listener(name, port, place, is_tls):
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{TYPES}.access_loggers.file.v3.FileAccessLog",
                    "path": str(place.folder / f"envoy-{port}.access.log"),
                },
            }
        ],
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "openemr",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/fhir"},
                            "route": {"cluster": "openemr", "prefix_rewrite": "/apis/default/fhir", "host_rewrite_literal": "localhost"},
                            "request_headers_to_add": [
                                {
                                    "header": {"key": "authorization", "value": f"Bearer {place.documents.token}"},
                                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                                }
                            ],
                        }
                    ],
                }
            ]
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if is_tls:
        certificate = {
            "certificate_chain": {"filename": str(place.certificates.server)},
            "private_key": {"filename": str(place.certificates.server_key)},
        }
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]},
            },
        }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": name, "address": address, "filter_chains": [chain]}


def configuration(place, ports):
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": place.upstream_port}}}}
    many = {"max_connections": 30000, "max_pending_requests": 30000, "max_requests": 30000}
    name = [{"san_type": "DNS", "matcher": {"exact": "localhost"}}]
    validation = {"trusted_ca": {"filename": str(place.certificates.ca)}, "match_typed_subject_alt_names": name}
    cluster = {
        "name": "openemr",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [many]},
        "load_assignment": {"cluster_name": "openemr", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {"validation_context": validation},
            },
        },
    }
    listeners = [listener("http", ports[0], place, False), listener("https", ports[1], place, True)]
    return {"static_resources": {"listeners": listeners, "clusters": [cluster]}}


def binary(place):
    """The program itself: what the package has in its place is a script that starts it."""
    [found] = place.packages.parent.glob("lib/python*/site-packages/envoy/_bin/envoy")
    return found


def version(place):
    return run(binary(place), "--version").split("/")[-4]


def start(place, ports, cores=None, under=()):
    file = place.folder / f"envoy-{ports[0]}.json"
    file.write_text(json.dumps(configuration(place, ports), indent=1))
    command = [*under, binary(place), "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    program = Program(f"envoy-{ports[0]}", command, place.folder, cores)
    program.await_port(ports[0])
    return program
