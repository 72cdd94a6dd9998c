"""Follow the links of a site, nearest to the start first."""

from crawl.spiders.base import CrawlSpider


class SiteSpider(CrawlSpider):
    """Pages inside the allowed domains, by depth."""

    name = "site"
