"""Which addresses lie inside: pure, so that a wrong request is found without loading Scrapy."""

import ipaddress
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_private(address: Address) -> bool:
    """Is it anything but an ordinary public address (loopback, private, link-local, multicast, or one of these in
    disguise)?
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):  # NAT64: IPv4 in the last four bytes
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_private(inner)
    return not address.is_global or address.is_multicast or address.is_reserved


def literal_is_private(url: str) -> bool:
    """Does the address name a private host outright?"""
    host = urlsplit(url).hostname or ""
    try:
        return is_private(ipaddress.ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
