"""HAProxy: one thread. It writes its log to a file descriptor, which is a file."""

from programs import Program, run, tool

CONFIGURATION = """
global
    nbthread 1
    maxconn 12000
    # HAProxy would not start where there may not be two open files for each of these.
    no strict-limits
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 30m
    timeout server 1m
    timeout http-keep-alive 30m
    http-reuse always
frontend callers
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{tls_port} ssl crt {certificates.both} alpn h2,http/1.1 backlog 4096
    http-request replace-path ^/fhir(/.*)$ /apis/default/fhir\\1
    http-request set-header Host localhost
    http-request set-header Authorization "Bearer {token}"
    default_backend openemr
backend openemr
    server openemr 127.0.0.1:{upstream} ssl verify required ca-file {certificates.ca} sni str(localhost) verifyhost localhost
"""


def version(_place):
    return run(tool("haproxy"), "-v").split()[2]


def start(place, ports, cores=None, under=()):
    file = place.folder / f"haproxy-{ports[0]}.cfg"
    names = {"port": ports[0], "tls_port": ports[1], "upstream": place.upstream_port}
    file.write_text(CONFIGURATION.format(token=place.documents.token, certificates=place.certificates, **names))
    program = Program(f"haproxy-{ports[0]}", [*under, tool("haproxy"), "-db", "-f", file], place.folder, cores)
    program.await_port(ports[0])
    return program
