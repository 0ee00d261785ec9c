"""nginx: one worker, kept connections, an access log that is written in blocks of 64 KiB or once a second."""

from programs import Program, run, tool

CONFIGURATION = """
daemon off;
master_process {master};
worker_processes {threads};
pid {folder}/nginx-{port}.pid;
error_log {folder}/nginx-{port}.error.log;
events {{ worker_connections 16384; }}
http {{
    access_log {folder}/nginx-{port}.access.log combined buffer=64k flush=1s;
    keepalive_requests 100000000;
    keepalive_timeout 30m;
    client_max_body_size 64m;
    client_body_buffer_size 128k;
    large_client_header_buffers 8 16k;
    client_body_temp_path {folder}/nginx-{port}-temp; fastcgi_temp_path {folder}/nginx-{port}-temp;
    uwsgi_temp_path {folder}/nginx-{port}-temp; scgi_temp_path {folder}/nginx-{port}-temp; proxy_temp_path {folder}/nginx-{port}-temp;
    # Answers of 200 KB pass through memory alone, longer ones as fast as the client takes them.
    proxy_buffer_size 16k;
    proxy_buffers 32 16k;
    proxy_busy_buffers_size 64k;
    proxy_max_temp_file_size 0;
    upstream openemr {{
        server 127.0.0.1:{upstream};
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        http2_max_concurrent_streams 128;
        ssl_certificate {certificates.server};
        ssl_certificate_key {certificates.server_key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location /fhir/ {{ proxy_pass https://openemr/apis/default/fhir/; }}
        location = /fhir/Patient {{ proxy_pass https://openemr/apis/default/fhir/Patient; }}
        proxy_http_version 1.1;
        proxy_set_header Host localhost;
        proxy_set_header Connection "";
        proxy_set_header Authorization "Bearer {token}";
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {certificates.ca};
        proxy_ssl_server_name on;
        proxy_ssl_name localhost;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
    }}
}}
"""


def version(_place):
    return run(tool("nginx"), "-v").split("/")[-1].strip()


def start(place, ports, cores=None, under=(), threads=1):
    """Starts nginx; under another program it is one process, without a master."""
    file = place.folder / f"nginx-{ports[0]}.conf"
    names = {"folder": place.folder, "port": ports[0], "tls_port": ports[1], "threads": threads, "master": "off" if under else "on"}
    file.write_text(
        CONFIGURATION.format(upstream=place.upstream_port, token=place.documents.token, certificates=place.certificates, **names)
    )
    program = Program(f"nginx-{ports[0]}", [*under, tool("nginx"), "-p", place.folder, "-c", file], place.folder, cores)
    program.await_port(ports[0])
    return program
