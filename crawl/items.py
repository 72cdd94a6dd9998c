"""What travels from the spider through the item pipelines: one item for each address that came to an end."""

from dataclasses import dataclass, field

from crawl.document import Document, Drop, Page
from crawl.queueing.ledger import Ending, Entry, Link


@dataclass
class Item:
    """One address and what is known of its end so far.

    Each pipeline fills in its part: the spider `page` or `ending`, extraction `result` and `links`, duplicates
    `result` again; the last one writes it down. `retry_s` instead of an ending puts the address back.
    """

    entry: Entry
    page: Page | None = None
    follow: bool = False  # are the links of the page wanted?
    result: Document | Drop | None = None
    links: list[Link] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    ending: Ending | None = None
    retry_s: float | None = None
    etag: str | None = None
    modified: str | None = None
    bytes: int = 0
    not_modified: bool = False
