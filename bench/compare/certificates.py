"""A CA of the benchmark's own, and certificates for the upstream and for the listeners of the proxies."""

import pathlib

from programs import run, tool

DAYS = "365"
SERVER_EXTENSIONS = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"


class Certificates:
    """Files: the CA, and one server's certificate and key, which name localhost and 127.0.0.1."""

    def __init__(self, folder):
        folder = pathlib.Path(folder) / "certs"
        folder.mkdir()
        openssl = tool("openssl")
        self.ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
        self.server, self.server_key = folder / "server.pem", folder / "server-key.pem"
        # HAProxy wants both in one file.
        self.both = folder / "both.pem"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run(openssl, "req", "-x509", *key, "-days", DAYS, "-subj", "/CN=bench CA", "-keyout", ca_key, "-out", self.ca)
        request, extensions = folder / "request.pem", folder / "extensions"
        extensions.write_text(SERVER_EXTENSIONS)
        run(openssl, "req", *key, "-subj", "/CN=localhost", "-keyout", self.server_key, "-out", request)
        signer = ["-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", DAYS]
        run(openssl, "x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", self.server)
        self.both.write_bytes(self.server.read_bytes() + self.server_key.read_bytes())
        self.server_key.chmod(0o600)
