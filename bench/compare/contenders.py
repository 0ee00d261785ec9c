"""What is compared, in the order of the tables: a name, and how it is started."""

from dataclasses import dataclass
from typing import Callable

import proxies.caddy
import proxies.envoy
import proxies.gateway
import proxies.haproxy
import proxies.nginx
import proxies.python


@dataclass(frozen=True)
class Contender:
    """A proxy: its name in the tables, `start(place, ports, cores, under)`, which gives a Program."""

    name: str
    start: Callable
    # A process has a listener for HTTP or for HTTPS: it is started with `is_tls` for HTTPS.
    one_listener: bool = False
    # Whether it speaks HTTP/2 with callers.
    http2: bool = True
    is_gateway: bool = False
    # It answers some hundred requests a second.
    is_slow: bool = False


def gateway(variant):
    def start(place, ports, cores=None, under=(), **options):
        return proxies.gateway.start(place, variant, ports, cores, under, **options)

    return Contender(f"openemr-gateway, {variant}", start, is_gateway=True)


SHIPPED = gateway("as shipped")
LOGGED = gateway("pass_through, access log")
BARE = gateway("bare")
NGINX = Contender("nginx", proxies.nginx.start)
PYTHON = Contender("FastAPI + httpx", proxies.python.start, one_listener=True, http2=False, is_slow=True)

CONTENDERS = (
    NGINX,
    Contender("HAProxy", proxies.haproxy.start),
    SHIPPED,
    LOGGED,
    BARE,
    Contender("Envoy", proxies.envoy.start),
    Contender("Caddy", proxies.caddy.start),
    PYTHON,
)
VERSIONS = {
    "nginx": proxies.nginx.version,
    "HAProxy": proxies.haproxy.version,
    "Envoy": proxies.envoy.version,
    "Caddy": proxies.caddy.version,
    "FastAPI + httpx": proxies.python.version,
}
