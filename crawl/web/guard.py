"""A hostile page must not make the crawler knock at doors inside: private and loopback addresses are refused.

Checked three times, because each check alone can be fooled: literal addresses before the request (GuardMiddleware),
what a name resolves to at the moment of connecting (GuardedResolver; also stops DNS rebinding), and the peer that
answered.
"""

import ipaddress
from typing import Any, ClassVar

from scrapy.exceptions import IgnoreRequest
from scrapy.resolver import CachingHostnameResolver, dnscache
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

from crawl.web.addresses import is_private, literal_is_private


class Refused(IgnoreRequest):
    """An address that this crawl does not ask for; `reason` is the key under `refused` in manifest.json."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@implementer(IResolutionReceiver)
class _PublicOnly:
    """Stands between the resolver and who asked it, and lets only public addresses through."""

    def __init__(self, receiver: Any, host: str, refused: set[str]):
        self.receiver, self.host, self.refused = receiver, host, refused

    def resolutionBegan(self, resolution: Any) -> None:
        self.receiver.resolutionBegan(resolution)

    def addressResolved(self, address: Any) -> None:
        if is_private(ipaddress.ip_address(address.host.split("%")[0])):
            self.refused.add(self.host)
        else:
            self.receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self.receiver.resolutionComplete()


class GuardedResolver(CachingHostnameResolver):
    """Scrapy's resolver (IPv4 and IPv6), which does not see private addresses unless the crawl allows them."""

    # Scrapy makes one resolver a process, before it knows the settings of a spider: GuardMiddleware sets this.
    allow_private = False
    refused: ClassVar[set[str]] = set()  # names that led inside; bounded by the hosts of the crawl

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *args: Any, **kwargs: Any) -> Any:
        if not self.allow_private:
            resolutionReceiver = _PublicOnly(resolutionReceiver, hostName, self.refused)
        return super().resolveHostName(resolutionReceiver, hostName, *args, **kwargs)


class GuardMiddleware:
    """Refuses literal private addresses before, and private peers after, a request; robots.txt included."""

    def __init__(self, crawler: Any):
        self.allow_private = GuardedResolver.allow_private = crawler.settings["CRAWL"]["allow_private"]
        GuardedResolver.refused.clear()
        dnscache.clear()

    @classmethod
    def from_crawler(cls, crawler: Any) -> "GuardMiddleware":
        return cls(crawler)

    def process_request(self, request: Any) -> None:
        """Raises Refused for an address that is no web address or lies inside."""
        if not request.url.startswith(("http://", "https://")):
            raise Refused("not_http")
        if not self.allow_private and literal_is_private(request.url):
            raise Refused("private_address")

    def process_response(self, request: Any, response: Any) -> Any:
        """Raises Refused when the peer that answered lies inside."""
        if not self.allow_private and response.ip_address is not None and is_private(response.ip_address):
            raise Refused("private_address")
        return response
