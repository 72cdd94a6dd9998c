"""Requests that cannot work, each found before anything is asked of the network and said in plain words."""

import glob
import importlib.util
import re
from pathlib import Path
from urllib.parse import urlsplit

import folders
from bounds import expression
from crawl.settings import CRAWL
from crawl.web.addresses import literal_is_private
from crawl.web.urls import in_domains
from errors import RequestError

# what is read only where another key has a value
READ_WITH: dict[tuple[str, object], tuple[str, ...]] = {
    ("spider", "urls"): ("urls_file",),
    ("spider", "warc"): ("warc_files",),
    ("queue", "redis"): ("redis_url", "redis_key", "worker", "lease_s"),
    ("autothrottle", True): ("autothrottle_concurrency",),
}


def check_all(settings: dict) -> None:
    """Raises RequestError for the first thing that is wrong with complete settings."""
    _check_patterns(settings)
    _check_sources(settings)
    _check_contact(settings)
    _check_private(settings)
    _check_domains(settings)
    _check_extras(settings)
    _check_beside(settings)


def _check_beside(settings: dict) -> None:
    """Raises RequestError for a key that was changed and that nothing reads beside the others."""
    for (key, value), names in READ_WITH.items():
        for name in names if settings[key] != value else ():
            if settings[name] != CRAWL[name]:
                raise RequestError(
                    f"crawl.{name}={settings[name]} is for crawl.{key}={said(value)}, and crawl.{key} is "
                    f"{said(settings[key])}.\nType crawl.{key}={said(value)}, or leave crawl.{name} out."
                )
    if settings["spider"] == "warc" and settings["start_urls"]:
        raise RequestError("crawl.spider=warc reads local files and asks for no address: leave crawl.start_urls out.")


def said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_patterns(settings: dict) -> None:
    for key in ("include", "exclude"):
        for pattern in settings[key]:
            try:
                expression(pattern)
            except ValueError as error:
                raise RequestError(
                    f"crawl.{key}: {pattern!r:.200} is no regular expression ({error})."
                    f" To match it literally, write {re.escape(pattern)!r:.200}."
                ) from None


def _check_contact(settings: dict) -> None:
    contact = settings["contact"]
    if settings["spider"] == "warc" and not contact:
        return  # reads local files, asks nobody
    example = "crawl.contact=me@example.org or crawl.contact=https://example.org/about-my-crawler"
    if not contact:
        raise RequestError(f"crawl.contact is missing: an address where webmasters reach you. Type {example}.")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+|https?://[^\s/]+\.\S+", contact):
        raise RequestError(f"crawl.contact={contact} is neither an e-mail address nor a web address. Type {example}.")
    if "{contact}" not in settings["user_agent"]:
        raise RequestError(
            f"crawl.user_agent={settings['user_agent']!r} must hold {{contact}}: an honest crawler says whose it is."
        )


def _check_sources(settings: dict) -> None:
    spider = settings["spider"]
    if spider == "warc":
        files = [name for pattern in settings["warc_files"] for name in sorted(glob.glob(pattern))]
        if not files:
            raise RequestError(
                f"crawl.spider=warc reads local files, and crawl.warc_files={settings['warc_files']} matches none."
            )
        for name in files:
            if Path(name).is_dir():
                raise RequestError(f"crawl.warc_files: {name} is a folder. Type crawl.warc_files=['{name}/*.warc.gz'].")
            folders.refuse_pipes(Path(name), key="crawl.warc_files")
        return
    if spider == "urls":
        if not settings["urls_file"] or not Path(settings["urls_file"]).is_file():
            raise RequestError(
                f"crawl.spider=urls reads addresses from a file; crawl.urls_file={settings['urls_file']} is none."
            )
        if not settings["start_urls"]:
            lines = Path(settings["urls_file"]).read_text("utf-8", "replace").splitlines()
            if not any(line.strip() and not line.startswith("#") for line in lines):
                raise RequestError(f"crawl.urls_file={settings['urls_file']} holds no address.")
    elif not settings["start_urls"]:
        raise RequestError("No start address. Type crawl.start_urls=[https://example.org].")
    for url in settings["start_urls"]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(f"crawl.start_urls: {url!r} is no web address; expected http://... or https://...")


def _check_private(settings: dict) -> None:
    if settings["allow_private"]:
        return
    for url in settings["start_urls"]:
        if literal_is_private(url):
            raise RequestError(
                f"crawl.start_urls: {url} is a private or loopback address."
                " If you mean it, add crawl.allow_private=true."
            )


def _check_domains(settings: dict) -> None:
    for domain in settings["allowed_domains"]:
        if "/" in domain or ":" in domain or not domain:
            raise RequestError(
                f"crawl.allowed_domains: {domain!r} is no host name; expected for instance docs.python.org."
            )
    if settings["allowed_domains"]:
        for url in settings["start_urls"]:
            host = urlsplit(url).hostname or ""
            if not in_domains(host, settings["allowed_domains"]):
                allowed = ", ".join(settings["allowed_domains"])
                raise RequestError(
                    f"Start address {url} lies outside crawl.allowed_domains=[{allowed}]."
                    f" Add {host} to it, or leave it out."
                )


def _check_extras(settings: dict) -> None:
    def need(module: str, why: str) -> None:
        if importlib.util.find_spec(module) is None:
            raise RequestError(f"{why} needs the package {module}, which is not installed. Type pip install {module}.")

    if settings["parquet"]:
        need("pyarrow", "crawl.parquet=true")
    if settings["spider"] == "warc":
        need("warcio", "crawl.spider=warc")
    if settings["queue"] == "redis":
        need("scrapy_redis", "crawl.queue=redis")
        if not settings["redis_key"]:
            raise RequestError(
                "crawl.queue=redis shares one crawl between crawlers: name it with crawl.redis_key=my_crawl."
            )
        if settings["spider"] == "warc":
            raise RequestError("crawl.queue=redis shares addresses to ask for; crawl.spider=warc asks for none.")
    if settings["previous"] and not (Path(settings["previous"]) / "crawl.sqlite").is_file():
        raise RequestError(f"crawl.previous={settings['previous']} holds no earlier crawl (no crawl.sqlite in it).")
