"""Pages that feeds name: RSS 0.9 to 2.0, RDF and Atom; a page that links to its feeds will do as a start."""

from collections.abc import Iterator

from lxml import etree, html
from scrapy.http import Response

from crawl.items import Item
from crawl.queueing.ledger import Link
from crawl.spiders.base import CrawlSpider

FEED_TYPES = ("application/rss+xml", "application/atom+xml", "application/rdf+xml")
ENTRIES = etree.XPath("//*[local-name()='item' or local-name()='entry']")


class FeedSpider(CrawlSpider):
    """Begins with feeds, asks for the pages of their entries."""

    name = "feed"
    follow = False

    def begin(self) -> Iterator[Link]:
        for link in super().begin():
            yield Link(link.url, kind="feed")

    def read_listing(self, item: Item, response: Response) -> None:
        # entities are not resolved and nothing is loaded: a feed is a stranger's XML
        parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False)
        try:
            root = etree.fromstring(response.body, parser=parser)
        except etree.LxmlError:  # nothing in it can be recovered
            root = None
        if root is None or etree.QName(root).localname.lower() not in ("rss", "rdf", "feed"):
            self._find_feeds(item, response)
            return
        for entry in ENTRIES(root):
            url = _link_of(entry)
            if url:
                self.list_link(item, url, response=response)

    def _find_feeds(self, item: Item, response: Response) -> None:
        try:
            links = list(html.document_fromstring(response.body).iter("link"))
        except (etree.LxmlError, ValueError):
            links = []
        for link in links:
            href = link.get("href")
            if href and link.get("type", "").lower() in FEED_TYPES:
                self.list_link(item, href, "feed", response)
        if not item.links:
            raise ValueError("neither RSS nor Atom, and no page with a link to one")


def _link_of(entry: etree._Element) -> str | None:
    """The address of the page of an entry: <link> of RSS, <link rel="alternate" href> of Atom, or a <guid> that is
    one.
    """
    guid = None
    for child in entry:
        if not isinstance(child.tag, str):
            continue
        name, text = etree.QName(child).localname, (child.text or "").strip()
        if name == "link" and child.get("href") and child.get("rel", "alternate") == "alternate":
            return child.get("href")
        if name == "link" and text:
            return text
        if name == "guid" and child.get("isPermaLink", "true") == "true" and text.startswith("http"):
            guid = text
    return guid
