"""Listening sockets on loopback, and a clear word when a port is taken."""

import errno
import socket
from contextlib import closing

_ATTEMPTS = 20


class PortTakenError(Exception):
    """Another program listens on this port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is taken by another program")
        self.port = port


def listen(port: int) -> list[socket.socket]:
    """Open `port` on 127.0.0.1, and on ::1 where the machine has it, so that `localhost` always arrives.

    Port 0 chooses one that is free on both. Raises PortTakenError.
    """
    for _ in range(_ATTEMPTS):
        first = _bind(socket.AF_INET, "127.0.0.1", port)
        chosen: int = first.getsockname()[1]
        try:
            second = _bind(socket.AF_INET6, "::1", chosen)
        except PortTakenError:
            first.close()
            if port:
                raise
        except OSError:  # no IPv6 here
            return [first]
        else:
            return [first, second]
    raise PortTakenError(port)


def check_free(*ports: int) -> None:
    """Raise PortTakenError for the first of these ports that cannot be listened on."""
    for port in ports:
        for listener in listen(port):
            listener.close()


def free_port() -> int:
    """Find a port that is free now, for programs that must be told one."""
    with closing(_bind(socket.AF_INET, "127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # Named, because asyncio sends small answers at once (TCP_NODELAY) only on sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(port) from error
        raise
    return listener
