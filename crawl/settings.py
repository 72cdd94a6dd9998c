"""All defaults of a crawl, in one place, and the Scrapy settings that make it behave.

`CRAWL` holds what a user may set (`crawl.<key>=...`, or `-a <key>=...` with `scrapy crawl`); conf/task/crawl.yaml
repeats it with one line of help a key, and a test holds the two together. Everything below it is Scrapy's own
vocabulary.
"""

CRAWL: dict = {
    # What to crawl
    "start_urls": [],  # addresses to begin with; for sitemap and feed, those of sitemaps, feeds or sites
    "spider": "site",  # site | sitemap | feed | urls | warc
    "urls_file": None,  # spider=urls: a text file with one address a line
    "warc_files": [],  # spider=warc: paths or globs of WARC or WET files, .gz or not
    "allowed_domains": [],  # hosts that may be asked, subdomains included; [] = those of start_urls
    "include": [],  # regular expressions: follow only addresses in which one is found; [] = all
    "exclude": [],  # regular expressions: never ask for addresses in which one is found
    "max_depth": 20,  # links away from a start address
    "max_pages": 10_000,  # pages asked for, all outcomes but redirects counted
    "max_bytes": 10_000_000_000,  # bytes received, all pages together
    "max_minutes": None,  # stop after so long; the crawl can go on later
    # Traps
    "strip_params": [  # query parameters that do not change the page
        "utm_*",
        "fbclid",
        "gclid",
        "msclkid",
        "mc_cid",
        "mc_eid",
        "ref_src",
        "phpsessid",
        "jsessionid",
        "aspsessionid*",
        "sessionid",
        "session_id",
        "sid",
        "cfid",
        "cftoken",
        "zenid",
        "oscsid",
    ],
    "max_query_variants": 100,  # different queries followed for one path
    "max_calendar_pages": 100,  # addresses followed that differ only in a date, a year or a month
    "max_url_length": 1000,  # characters
    "max_path_segments": 20,  # parts of a path; more is a trap
    # Manners
    "contact": None,  # REQUIRED: an e-mail or web address where webmasters reach you; goes into the user agent
    "user_agent": "nanolab-crawl/1.0 (+{contact})",  # must hold {contact}
    "obey_robots": True,  # robots.txt, with Crawl-delay
    "obey_meta_robots": True,  # noindex and nofollow, in the page or in X-Robots-Tag
    "delay_s": 0.5,  # least time between two requests to one host; Crawl-delay and AutoThrottle can only raise it
    "max_crawl_delay_s": 60.0,  # a host that asks for more is not crawled
    "autothrottle": True,  # slow down as the server slows down
    "autothrottle_concurrency": 1.0,  # requests kept going at one host, on average
    "concurrency": 16,  # requests at a time
    "concurrency_per_domain": 4,  # requests at a time to one host
    "retries": 2,  # further tries after 408, 429, 5xx, time-outs and broken connections
    "retry_wait_s": 5.0,  # before the first retry, doubled each time; Retry-After goes before it
    "max_retry_after_s": 300.0,  # a host that asks for more is left alone for this run
    "timeout_s": 30.0,  # for one whole answer, first to last byte
    "max_page_bytes": 10_000_000,  # of one answer, both as sent and decompressed
    "max_redirects": 5,  # in a row
    "allow_private": False,  # crawl loopback and private addresses too
    "http_cache": False,  # keep every answer on disk and never ask twice (for development)
    "previous": None,  # folder of an earlier crawl: ask only for what changed since (ETag, Last-Modified)
    # What is kept
    "languages": [],  # ISO 639-1 codes; [] = all
    "keep_dropped": False,  # keep dropped documents in dropped/<reason>/
    "parquet": False,  # also write each shard as Parquet (needs pyarrow)
    "shard_bytes": 200_000_000,  # a new documents-*.jsonl begins after so many
    # How it runs
    "processes": 2,  # for extraction
    "extract_timeout_s": 20.0,  # for one page
    "progress_s": 5.0,  # seconds between progress lines; 0 = none
    "queue": "local",  # local | redis: share one queue between crawlers on several machines
    "redis_url": "redis://localhost:6379/0",  # queue=redis: where the server is
    "redis_key": None,  # name of the shared crawl; required with queue=redis
    "worker": None,  # queue=redis: name of this crawler, its folder inside the crawl's; default host name and process
    "lease_s": 120.0,  # queue=redis: a page taken by a crawler that falls silent is free again after this
}

# CLEANING (extraction, cleaning, filters, personal data, duplicates)
CRAWL |= {
    "extract": {
        "engine": "auto",  # auto: trafilatura for articles, else what a page declares; trafilatura; plain: never
    },
    "clean": {
        "mojibake": True,  # repair text that was decoded wrongly on its way to the page (ftfy)
        "boilerplate_lines": True,  # remove lines about cookies, JavaScript, copyright (after C4)
    },
    "mask": {  # replace personal data by |||EMAIL_ADDRESS||| and the like; a rough broom
        "email": False,  # e-mail addresses
        "phone": False,  # telephone numbers, where they are written as such
        "ip": False,  # public IP addresses
    },
    "filters": {  # what each bound means: conf/task/crawl.yaml; where it comes from: crawl/filters/
        "too_long": {"enabled": True, "max_chars": 2_000_000},
        "too_short": {"enabled": True, "min_words": 50},
        "lorem_ipsum": {"enabled": True, "max_share": 0.005},
        "curly_braces": {"enabled": False, "max_share": 0.025},
        "mean_word_length": {"enabled": True, "min_chars": 3.0, "max_chars": 10.0},
        "symbol_ratio": {"enabled": True, "max_share": 0.1},
        "bullet_lines": {"enabled": True, "max_share": 0.9},
        "ellipsis_lines": {"enabled": True, "max_share": 0.3},
        "sentence_ends": {"enabled": False, "min_share": 0.12},
        "short_lines": {"enabled": False, "max_share": 0.67, "chars": 30},
        "repeated_lines": {"enabled": True, "max_share": 0.3, "max_char_share": 0.2},
        "repeated_paragraphs": {"enabled": True, "max_share": 0.3, "max_char_share": 0.2},
        "letters_ratio": {"enabled": True, "min_share": 0.6},
        "stop_words": {"enabled": True, "min_words": 2},
        "top_ngrams": {"enabled": True, "max_char_share_2": 0.2, "max_char_share_3": 0.18, "max_char_share_4": 0.16},
        "repeated_ngrams": {"enabled": True, "words": 10, "max_char_share": 0.25},
    },
    "dedup": {
        "exact_duplicates": True,  # drop texts that are byte for byte the same
        "near_duplicates": True,  # drop texts that share most runs of 5 words (MinHash)
        "similarity": 0.8,  # share of equal MinHash values from which two texts count as the same
        "site_lines": 10,  # remove a line at the edge of a text that stood there on so many earlier pages; 0 = never
    },
}
# END OF CLEANING

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
