"""The connections of this process, as the kernel knows them: what a library says of its own may be wrong."""

from __future__ import annotations

import os
import socket


def sockets_to(port: int) -> list[socket.socket]:
    """Duplicates of the sockets that are connected to ``port``; the caller closes them."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        try:
            peer = sock.getpeername()
        except OSError:
            peer = None
        if isinstance(peer, tuple) and peer[1] == port:
            found.append(sock)
        else:
            sock.close()
    return found


def open_sockets_to(port: int) -> int:
    """How many connections there are to ``port``."""
    sockets = sockets_to(port)
    for sock in sockets:
        sock.close()
    return len(sockets)
