"""OpenEMR's part: nginx over TLS, with answers of the sandbox in files, for requests that have the access token.

Answers come in chunks of 8 KiB, as those of PHP-FPM behind Apache, or with Content-Length. nginx chunks what passes a filter that may
change its length; the one for server-side includes looks for `<!--#`, which is in none of these files.
"""

import json
import pathlib
import signal
import time

from openemr_documents import TYPES
from programs import Program, family, tool, until

# What OpenEMR adds to each answer, besides Date and Content-Type.
FIELDS = """
        add_header Cache-Control "max-age=0, private, must-revalidate, no-cache, private";
        add_header Set-Cookie "apiOpenEMR=_4-M-mAxbCs_VR24Hn8xDWYDO_cCqDhNy1CisSAZREIIsrF-; path=/apis/; secure; HttpOnly; SameSite=Strict";
        add_header Strict-Transport-Security "max-age=31536000; includeSubDomains; preload";
        add_header X-XSS-Protection "1; mode=block";
"""

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/upstream.pid;
error_log {folder}/upstream.error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type application/json;
    etag off;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_max_body_size 64m;
    client_body_buffer_size 128k;
    large_client_header_buffers 8 16k;
    open_file_cache max=16;
    {chunked}
    client_body_temp_path {folder}/upstream-temp; proxy_temp_path {folder}/upstream-temp; fastcgi_temp_path {folder}/upstream-temp;
    uwsgi_temp_path {folder}/upstream-temp; scgi_temp_path {folder}/upstream-temp;
    map_hash_bucket_size 4096;
    map $http_authorization $is_good {{ default 0; "Bearer {token}" 1; }}
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {certificates.server};
        ssl_certificate_key {certificates.server_key};
        ssl_protocols TLSv1.2 TLSv1.3;
        root {folder}/www;
        {fields}
        location = /apis/default/fhir/metadata {{ rewrite ^ /metadata break; }}
        location = /apis/default/fhir/.well-known/smart-configuration {{ rewrite ^ /smart break; }}
        location = /oauth2/default/token {{ return 200 '{granted}'; }}
        location /apis/default/fhir/ {{
            if ($is_good = 0) {{ return 401; }}
            if ($request_method = POST) {{ return 201 '{created}'; }}
            rewrite ^/apis/default/fhir/Patient$ /bundle break;
            rewrite ^/apis/default/fhir/Patient/ /patient break;
        }}
        location /apis/default/fhir/Binary/ {{
            if ($is_good = 0) {{ return 401; }}
            default_type application/fhir+ndjson;
            rewrite ^ /ndjson break;
        }}
    }}
}}
"""


class Upstream:
    """The upstream. It runs on `cores` until it is ended."""

    def __init__(self, folder, documents, certificates, port, cores=None):
        self.folder, self.documents, self.certificates, self.port = pathlib.Path(folder), documents, certificates, port
        self.ca = certificates.ca
        documents.write(self.folder / "www")
        self._file = self.folder / "upstream.conf"
        self._write(chunked=True)
        self.program = Program("upstream", [tool("nginx"), "-p", self.folder, "-c", self._file], self.folder, cores)
        self.program.await_port(port)

    def _write(self, chunked):
        scopes = " ".join([*(f"system/{name}.read" for name in TYPES), "system/Patient.write"])
        granted = {"access_token": self.documents.token, "token_type": "Bearer", "expires_in": 86400, "scope": scopes}
        filters = "sendfile off; output_buffers 8 8k;"
        if chunked:
            filters += " ssi on; ssi_types application/json application/fhir+ndjson;"
        text = CONFIGURATION.format(
            folder=self.folder,
            port=self.port,
            certificates=self.certificates,
            token=self.documents.token,
            granted=json.dumps(granted),
            created=json.dumps({"pid": 7, "uuid": self.documents.patient_id}),
            fields=FIELDS,
            chunked=filters,
        )
        self._file.write_text(text)

    def answer(self, chunked):
        """Answers in chunks or with lengths from now on. Connections that are open are closed once they are idle."""
        self._write(chunked)
        before = set(family(self.program.pid)[1:])
        self.program.process.send_signal(signal.SIGHUP)

        def is_replaced():
            workers = set(family(self.program.pid)[1:])
            return workers and not workers & before

        until(is_replaced, "the upstream has new workers alone")
        # The proxies see that their connections were closed.
        time.sleep(0.5)

    def end(self):
        self.program.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
