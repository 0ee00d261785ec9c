"""Caddy: one processor for Go (`GOMAXPROCS=1`), its access log in JSON."""

from programs import Program, run

CONFIGURATION = """
{{
    admin off
    auto_https off
    persist_config off
    storage file_system {folder}/caddy-{port}
    log default {{
        output file {folder}/caddy-{port}.log
        level WARN
        exclude http.log.access
    }}
    servers {{
        protocols h1 h2
        timeouts {{
            idle 30m
        }}
    }}
}}
(job) {{
    log {{
        output file {folder}/caddy-{port}.access.log {{
            roll_disabled
        }}
    }}
    route /fhir/* {{
        uri strip_prefix /fhir
        rewrite * /apis/default/fhir{{uri}}
        reverse_proxy https://127.0.0.1:{upstream} {{
            header_up Host localhost
            header_up Authorization "Bearer {token}"
            transport http {{
                versions 1.1
                keepalive 90s
                keepalive_idle_conns 512
                keepalive_idle_conns_per_host 512
                tls_server_name localhost
                tls_trust_pool file {certificates.ca}
            }}
        }}
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    import job
}}
https://:{tls_port} {{
    bind 127.0.0.1
    tls {certificates.server} {certificates.server_key}
    import job
}}
"""


def version(place):
    return run(place.packages / "caddy", "version").split()[0].lstrip("v")


def start(place, ports, cores=None, under=()):
    file = place.folder / f"caddy-{ports[0]}.caddyfile"
    names = {"folder": place.folder, "port": ports[0], "tls_port": ports[1], "upstream": place.upstream_port}
    file.write_text(CONFIGURATION.format(token=place.documents.token, certificates=place.certificates, **names))
    command = [*under, place.packages / "caddy", "run", "--config", file, "--adapter", "caddyfile"]
    environment = {"GOMAXPROCS": "1", "HOME": str(place.folder)}
    program = Program(f"caddy-{ports[0]}", command, place.folder, cores, environment)
    program.await_port(ports[0])
    return program
