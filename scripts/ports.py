"""Ports for the programs of tests and benchmarks."""

import errno
import random
import socket

# Outside the range that systems take the ports of outgoing connections from (ip_local_port_range begins at 32768): between the look
# and the program that listens, one of those connections would be given the port.
_RANGE = range(10_000, 30_000)
_given = set()


def free_port():
    """A port that nothing listens on, at any address of this machine, and that was not given before."""
    while True:
        port = random.choice(_RANGE)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def free_ports(number):
    """As `free_port`."""
    return [free_port() for _ in range(number)]


def _is_free(port):
    with socket.socket() as listener:
        try:
            listener.bind(("0.0.0.0", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True
