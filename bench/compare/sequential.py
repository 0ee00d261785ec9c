"""Requests one after the other on one connection: the same work each time, for what is counted and not timed."""

import contextlib
import socket

from programs import until


class Caller:
    """A kept connection to a proxy."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def ask(self, request):
        """The status and the length of the body of one answer."""
        self._socket.sendall(request)
        head = self._until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if fields.get("transfer-encoding", "").lower() == "chunked":
            length = self._chunks()
        else:
            length = int(fields.get("content-length", 0))
            self._take(length)
        return int(lines[0].split()[1]), length

    def _more(self):
        piece = self._socket.recv(1 << 18)
        if not piece:
            raise ConnectionError("the proxy has closed the connection")
        self._rest += piece

    def _until(self, mark):
        while (at := self._rest.find(mark)) < 0:
            self._more()
        found, self._rest = self._rest[:at], self._rest[at + len(mark) :]
        return found

    def _take(self, length):
        while len(self._rest) < length:
            self._more()
        self._rest = self._rest[length:]

    def _chunks(self):
        total = 0
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            self._take(size + 2)
            total += size
        self._until(b"\r\n")
        return total

    def close(self):
        self._socket.close()


def await_answer(port, asked, name):
    """Waits until a proxy has passed on a request, and so has what it needs for that: a token, a connection to the upstream."""

    def has_answered():
        with contextlib.suppress(OSError), contextlib.closing(Caller(port)) as caller:
            return caller.ask(asked)[0] == 200

    until(has_answered, f"{name} answers a request")


def request(path, fields, body=None):
    """A request as bytes."""
    head = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: localhost"]
    head += [f"{name}: {value}" for name, value in fields.items()]
    if body is not None:
        head += ["Content-Type: application/fhir+json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")
