"""Pages that sitemaps name: sitemap.xml, indexes of sitemaps, .gz, plain lists, and the Sitemap lines of robots.txt."""

import struct
import zlib
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from scrapy.http import Response
from scrapy.utils.gz import gunzip
from scrapy.utils.sitemap import Sitemap

from crawl.items import Item
from crawl.queueing.ledger import Link
from crawl.spiders.base import LISTING_BYTES, CrawlSpider


class SitemapSpider(CrawlSpider):
    """Begins with sitemaps, or with sites, whose robots.txt and /sitemap.xml are then read."""

    name = "sitemap"
    follow = False

    def begin(self) -> Iterator[Link]:
        for link in super().begin():
            path = urlsplit(link.url).path
            if path.endswith((".xml", ".gz", ".txt")) or "sitemap" in path:
                yield Link(link.url, kind="sitemap")
            else:
                yield Link(urljoin(link.url, "/robots.txt"), kind="sitemap")
                yield Link(urljoin(link.url, "/sitemap.xml"), kind="sitemap")

    def read_listing(self, item: Item, response: Response) -> None:
        body = response.body
        if body[:2] == b"\x1f\x8b":
            try:
                body = gunzip(body, max_size=LISTING_BYTES)
            except (OSError, EOFError, struct.error, zlib.error) as error:
                raise ValueError(f"broken gzip ({error})") from None
        if response.url.endswith("/robots.txt"):
            for line in body.decode("utf-8", "replace").splitlines():
                name, _, url = line.partition(":")
                if name.strip().lower() == "sitemap":
                    self.list_link(item, url, "sitemap", response)
        elif body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            self._read_xml(item, body)
        else:
            for line in body.decode("utf-8-sig", "replace").splitlines():
                if line.strip():
                    self.list_link(item, line)

    def _read_xml(self, item: Item, body: bytes) -> None:
        try:
            sitemap = Sitemap(body)
            entries = list(sitemap)
        except Exception as error:  # lxml's own errors, and AttributeError for XML without a root
            raise ValueError(f"broken XML ({error})") from None
        if sitemap.type not in ("sitemapindex", "urlset"):
            raise ValueError(f"its root is <{sitemap.type}>, not <urlset> or <sitemapindex>")
        for entry in entries:
            if "loc" in entry:
                self.list_link(item, entry["loc"], "sitemap" if sitemap.type == "sitemapindex" else "page")
