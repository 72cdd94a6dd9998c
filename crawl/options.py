"""From what a user typed to checked settings: every wrong request is found here, before anything is asked of the
network.

`parse(["start_urls=[https://a.org]", "filters.too_short.on=false"])` -> nested dict; `check(nested)` -> complete
settings.
"""

import copy
import difflib
import glob
import importlib.util
import ipaddress
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crawl.settings import CRAWL
from errors import RequestError

# What a key that is null by default may hold.
NULLABLE: dict[str, type] = {
    "urls_file": str,
    "contact": str,
    "max_minutes": float,
    "previous": str,
    "redis_key": str,
    "worker": str,
}
CHOICES = {"spider": ("site", "sitemap", "feed", "urls", "warc"), "queue": ("local", "redis")}
# These may change when a crawl goes on; any other difference makes it another crawl.
MAY_CHANGE = {
    "max_pages", "max_bytes", "max_minutes", "contact", "user_agent", "delay_s", "max_crawl_delay_s", "autothrottle",
    "autothrottle_concurrency", "concurrency", "concurrency_per_domain", "retries", "retry_wait_s",
    "max_retry_after_s", "timeout_s", "max_redirects", "http_cache", "parquet", "shard_bytes", "processes",
    "extract_timeout_s", "progress_s", "redis_url", "worker", "lease_s",
}  # fmt: skip
# Positive numbers for which 0 makes sense.
MAY_BE_ZERO = {"max_depth", "delay_s", "retries", "retry_wait_s", "progress_s", "max_redirects", "max_retry_after_s"}


def parse(arguments: list[str]) -> dict:
    """`key=value` words as a nested dict of text values; dots go one level down.

    Raises RequestError for a word without `=`.
    """
    nested: dict = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise RequestError(f"Not an option: {argument!r}. Expected key=value, for instance max_pages=100.")
        place = nested
        *parents, last = key.removeprefix("crawl.").split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def check(given: dict) -> dict:
    """Complete settings from the given ones and the defaults.

    Raises RequestError for unknown keys (at any depth), values of a wrong type, and requests that cannot work.
    """
    settings = _merge(CRAWL, given, "")
    for key, choices in CHOICES.items():
        if settings[key] not in choices:
            raise RequestError(f"crawl.{key}={settings[key]}: expected one of {', '.join(choices)}.")
    _check_numbers(settings)
    _check_patterns(settings)
    _check_contact(settings)
    _check_sources(settings)
    _check_domains(settings)
    _check_extras(settings)
    return settings


def differences(old: dict, new: dict) -> list[str]:
    """The settings, as dotted keys, that make `new` another crawl than `old`."""
    return [f"{key}: was {_get(old, key)!r}, now {_get(new, key)!r}" for key in _leaves(new) if key.split(".")[0] not in MAY_CHANGE and _get(old, key) != _get(new, key)]  # fmt: skip  # noqa: E501


def _merge(defaults: dict, given: dict, prefix: str) -> dict:
    merged = copy.deepcopy(defaults)
    for key, value in given.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, list(defaults), n=1)
            hint = f" Did you mean crawl.{prefix}{near[0]}?" if near else f" Known keys: {', '.join(sorted(defaults))}."
            raise RequestError(f"Unknown key crawl.{prefix}{key}.{hint}")
        name = f"{prefix}{key}"
        if isinstance(defaults[key], dict) and isinstance(value, dict):
            merged[key] = _merge(defaults[key], value, f"{name}.")
        else:
            merged[key] = _coerce(name, value, defaults[key])
    return merged


def _coerce(name: str, value: Any, default: Any) -> Any:
    kind = NULLABLE.get(name, str) if default is None else type(default)
    if value is None or (isinstance(value, str) and value.lower() in ("null", "none")):
        if default is None:
            return None
        raise RequestError(f"crawl.{name}=null: expected {_words(kind)}.")
    try:
        if kind is list:
            return _as_list(value, default)
        if kind is dict:
            raise ValueError
        if kind is bool:
            return _as_bool(value)
        if kind is int:
            return _as_int(value)
        if kind is float:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        return str(value).strip("'\"")
    except (ValueError, TypeError, KeyError):
        raise RequestError(f"crawl.{name}={value}: expected {_words(kind)}.") from None


def _words(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", list: "a list such as [a,b]", str: "text", dict: "a section: set its keys one by one"}[kind]  # fmt: skip  # noqa: E501


def _as_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]


def _as_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError
    return int(str(value).replace("_", "")) if isinstance(value, str) else int(value)


def _as_list(value: Any, default: list) -> list:
    if isinstance(value, str):
        inner = value.strip()
        inner = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
        # a comma inside quotes, braces or parentheses belongs to the element: [a{2,3},'b,c']
        parts = re.findall(r"""(?:"[^"]*"|'[^']*'|\{[^}]*\}|\([^)]*\)|[^,])+""", inner)
        value = [part.strip().strip("'\"") for part in parts if part.strip()]
    elif isinstance(value, (bytes, dict)) or not hasattr(value, "__iter__"):
        raise ValueError
    kind = type(default[0]) if default else str
    return [kind(element) for element in value]


def _check_numbers(settings: dict) -> None:
    for key, default in CRAWL.items():
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if value < 0 or (value == 0 and key not in MAY_BE_ZERO):
            raise RequestError(f"crawl.{key}={value}: expected a number above 0 (default {default}).")


def _check_patterns(settings: dict) -> None:
    for key in ("include", "exclude"):
        for pattern in settings[key]:
            try:
                re.compile(pattern)
            except re.error as error:
                raise RequestError(
                    f"crawl.{key}: {pattern!r} is no regular expression ({error})."
                    f" To match it literally, write {re.escape(pattern)!r}."
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
    _check_private(settings)


def _check_private(settings: dict) -> None:
    if settings["allow_private"]:
        return
    from crawl.guard import is_private

    for url in settings["start_urls"]:
        host = urlsplit(url).hostname or ""
        try:
            private = is_private(ipaddress.ip_address(host))
        except ValueError:
            private = host == "localhost" or host.endswith(".localhost")
        if private:
            raise RequestError(
                f"crawl.start_urls: {url} is a private or loopback address."
                " If you mean it, add crawl.allow_private=true."
            )


def _check_domains(settings: dict) -> None:
    from crawl.urls import in_domains

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


def _leaves(settings: dict, prefix: str = "") -> list[str]:
    leaves = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append(f"{prefix}{key}")
    return leaves


def _get(settings: dict, dotted: str) -> Any:
    value: Any = settings
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
