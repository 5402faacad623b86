"""Which addresses are the public internet's: what callers name is fetched from there and nowhere else."""

import ipaddress
import socket
from typing import Any

_UNICAST = ipaddress.IPv6Network("2000::/3")
_TUNNELS = tuple(map(ipaddress.IPv6Network, ("2002::/16", "2001::/32")))  # 6to4 and Teredo: an IPv4 address is inside


class NotPublic(OSError):
    """The address is not one of the public internet; no connection was made."""


def is_public(address: str) -> bool:
    """Tell whether an IP address may be reached by anybody: not this machine, not its network, no group, no tunnel."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed not in _UNICAST or any(parsed in tunnel for tunnel in _TUNNELS)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def public_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an entry of `getaddrinfo`. It is asked for every single connection, after names have
    become numbers: a name that is looked up again, or leads elsewhere by then, passes no other way.

    Raises:
        NotPublic: the entry is not of the public internet.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(host):
        raise NotPublic(f"{host} is not a public address")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made
