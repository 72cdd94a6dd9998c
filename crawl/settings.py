"""The defaults of a crawl, read from conf/task/crawl.yaml, and the Scrapy settings that make it behave.

`CRAWL` holds what a user may set (`crawl.<key>=...`, or `-a <key>=...` with `scrapy crawl`); types: crawl/keys.py.
Everything below it is Scrapy's own vocabulary.
"""

from pathlib import Path

import strict_yaml

CRAWL: dict = strict_yaml.value_in(Path(__file__).resolve().parent.parent / "conf/task/crawl.yaml")["crawl"]

# ---- Scrapy ----
BOT_NAME = "nanolab-crawl"
SPIDER_MODULES = ["crawl.spiders"]
SCHEDULER = "crawl.queueing.scheduler.Scheduler"
TWISTED_DNS_RESOLVER = "crawl.web.guard.GuardedResolver"
# Only the web: a link to file:// or ftp:// has no handler even if it got this far.
DOWNLOAD_HANDLERS = {"file": None, "data": None, "ftp": None, "s3": None}
DOWNLOADER_MIDDLEWARES = {
    # ours: redirects and retries are entries of the frontier, so that each address is counted once
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
    "scrapy.downloadermiddlewares.redirect.RedirectMiddleware": None,
    "scrapy.downloadermiddlewares.redirect.MetaRefreshMiddleware": None,
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
    "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
    "crawl.web.guard.GuardMiddleware": 50,
    "crawl.web.robots.RobotsMiddleware": 100,
}
SPIDER_MIDDLEWARES = {
    "scrapy.spidermiddlewares.referer.RefererMiddleware": None,
    "scrapy.spidermiddlewares.depth.DepthMiddleware": None,
    "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware": None,
}
ITEM_PIPELINES = {
    "crawl.pipelines.ExtractPipeline": 100,
    "crawl.pipelines.StorePipeline": 300,
}
EXTENSIONS = {
    "scrapy.extensions.throttle.AutoThrottle": None,
    "crawl.web.manners.Throttle": 0,
    "crawl.progress.Progress": 500,
    "scrapy.extensions.telnet.TelnetConsole": None,
    "scrapy.extensions.remote_control.RemoteControl": None,
    "scrapy.extensions.logstats.LogStats": None,
    "scrapy.extensions.memusage.MemoryUsage": None,
}
HTTPERROR_ALLOW_ALL = True  # every status reaches the spider, and is counted
COOKIES_ENABLED = False  # no sessions: a crawler has no business having one
HTTPPROXY_ENABLED = False  # a proxy would resolve names behind the guard's back
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False
LOG_LEVEL = "WARNING"
LOG_VERSIONS: list = []
DOWNLOAD_WARNSIZE = 0
HTTPCACHE_DIR = "httpcache"
HTTPCACHE_IGNORE_HTTP_CODES = [408, 429, 500, 502, 503, 504]


def scrapy_settings(crawl: dict, folder: str) -> dict:
    """The Scrapy settings that follow from checked crawl settings.

    AutoThrottle starts at the least delay (it can only go up from there), and with no delay and no AutoThrottle
    nothing waits: that is for one's own machine and for benchmarks.
    """
    return {
        "CRAWL": crawl,
        "CRAWL_FOLDER": folder,
        "USER_AGENT": crawl["user_agent"].replace("{contact}", crawl["contact"] or ""),
        "CONCURRENT_REQUESTS": crawl["concurrency"],
        "CONCURRENT_REQUESTS_PER_DOMAIN": crawl["concurrency_per_domain"],
        "DOWNLOAD_DELAY": crawl["delay_s"],
        "DOWNLOAD_TIMEOUT": crawl["timeout_s"],
        "DOWNLOAD_MAXSIZE": crawl["max_page_bytes"],
        # always on: our subclass also keeps Crawl-delay; with autothrottle=false it changes nothing else
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": crawl["delay_s"],
        "AUTOTHROTTLE_TARGET_CONCURRENCY": crawl["autothrottle_concurrency"],
        "HTTPCACHE_ENABLED": crawl["http_cache"],
        "HTTPCACHE_DIR": f"{folder}/httpcache",
    }
