"""How many bytes came in on which TCP connections to a port, from the kernel (sock_diag), without touching them.

This is how the clock of every engine starts the same way: when it has received its first data from the broker, by the
kernel's word, whatever the engine itself calls its beginning.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST_DUMP: Final = 0x301
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
TCP_ESTABLISHED: Final = 1
INET_DIAG_INFO: Final = 2
"""The attribute that holds struct tcp_info."""
BYTES_RECEIVED_AT: Final = 128
"""Where tcp_info (linux/tcp.h) has tcpi_bytes_received, since Linux 4.1."""

HEADER: Final = struct.Struct("=IHHII")
REQUEST: Final = struct.Struct("=BBBxI48x")
MESSAGE: Final = struct.Struct(">4xHH44x5I")
"""inet_diag_msg, whose ports are in network order; the words at the end, of which the inode is the last, are not."""
ATTRIBUTE: Final = struct.Struct("=HH")


class Connection(NamedTuple):
    """An established TCP connection to the port, seen from the client's end."""

    inode: int
    bytes_received: int


def connections_to(port: int) -> list[Connection]:
    """All connections of this network namespace whose far end is `port`, IPv4 and IPv6."""
    found: list[Connection] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 1 << TCP_ESTABLISHED)
            netlink.send(HEADER.pack(HEADER.size + len(wanted), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + wanted)
            found.extend(parse(body, port) for body in _dump(netlink) if _far_port(body) == port)
    return found


def _dump(netlink: socket.socket) -> Iterator[bytes]:
    while True:
        data = netlink.recv(1 << 20)
        while data:
            length, kind, _, _, _ = HEADER.unpack_from(data)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                (error,) = struct.unpack_from("=i", data, HEADER.size)
                raise OSError(-error, f"sock_diag: {os.strerror(-error)}")
            yield data[HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _far_port(body: bytes) -> int:
    port: int = MESSAGE.unpack_from(body)[1]
    return port


def parse(body: bytes, port: int) -> Connection:
    """One inet_diag_msg with its attributes. `port` is for the error only."""
    (inode,) = struct.unpack_from("=I", body, MESSAGE.size - 4)
    at = MESSAGE.size
    while at + ATTRIBUTE.size <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, at)
        if kind == INET_DIAG_INFO and length >= ATTRIBUTE.size + BYTES_RECEIVED_AT + 8:
            (received,) = struct.unpack_from("=Q", body, at + ATTRIBUTE.size + BYTES_RECEIVED_AT)
            return Connection(inode, received)
        at += max(ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError(f"the kernel tells no received bytes of a connection to port {port}: Linux 4.1 or newer is needed")
