"""Wrong requests end with exit status 2 and plain words, before anything is asked of the network."""

import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from crawl.__main__ import main
from crawl.options import check, parse
from crawl.settings import CRAWL
from crawl.spiders.warc import Stoppable, StoppedError
from errors import RequestError
from tests.crawl.helpers import refused

GOOD = {"start_urls": ["http://a.org/"], "contact": "me@a.org"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"start_urls": []}, "No start address"),
        ({"contact": None}, "crawl.contact is missing"),
        ({"contact": "me"}, "neither an e-mail address nor a web address"),
        ({"include": ["["]}, "no regular expression"),
        ({"include": ["a{99999999999}"]}, "no regular expression"),
        ({"exclude": ["(" * 9000 + ")" * 9000]}, "no regular expression"),
        ({"exclude": ["*a"]}, "no regular expression"),
        ({"start_urls": ["ftp://a.org"]}, "no web address"),
        ({"start_urls": ["a.org"]}, "no web address"),
        ({"allowed_domains": ["b.org"]}, "lies outside crawl.allowed_domains=[b.org]"),
        ({"allowed_domains": ["http://a.org"]}, "no host name"),
        ({"start_urls": ["http://127.0.0.1/"]}, "crawl.allow_private=true"),
        ({"start_urls": ["http://localhost/"]}, "crawl.allow_private=true"),
        ({"max_pages": 0}, "a whole number (1 or more)"),
        ({"delay_s": math.nan}, "a number (0 or more)"),
        ({"processes": -1}, "a whole number (1 or more)"),
        ({"dedup": {"similarity": 1.5}}, "a number (0 to 1)"),
        ({"filters": {"short_lines": {"max_share": -0.1}}}, "a number (0 or more)"),
        ({"filters": True}, "is a section"),
        ({"contact": ""}, "crawl.contact= is empty"),
        ({"max_pages": "many"}, "a whole number"),
        ({"max_pages": 1.5}, "a whole number"),
        ({"keep_dropped": "perhaps"}, "true or false"),
        ({"start_urls": None}, "a list"),
        ({"max_depht": 3}, "Did you mean crawl.max_depth?"),
        ({"filters": {"too_shrt": {"enabled": False}}}, "Did you mean crawl.filters.too_short?"),
        ({"spider": "spyder"}, "expected one of: site, sitemap, feed, urls, warc"),
        ({"spider": "urls"}, "reads addresses from a file"),
        ({"spider": "warc", "warc_files": ["/no/such/*"]}, "matches none"),
        ({"user_agent": "Mozilla/5.0"}, "must hold {contact}"),
        ({"queue": "redis"}, "crawl.queue=redis shares one crawl between crawlers"),
        ({"urls_file": "a.txt"}, "crawl.urls_file=a.txt is for crawl.spider=urls, and crawl.spider is site"),
        ({"warc_files": ["a"]}, "crawl.warc_files=['a'] is for crawl.spider=warc"),
        ({"redis_key": "k"}, "crawl.redis_key=k is for crawl.queue=redis"),
        ({"worker": "w"}, "crawl.worker=w is for crawl.queue=redis"),
        ({"lease_s": 5}, "crawl.lease_s=5"),
        ({"redis_url": "redis://a"}, "crawl.redis_url=redis://a is for crawl.queue=redis"),
        (
            {"autothrottle": False, "autothrottle_concurrency": 2.0},
            "crawl.autothrottle_concurrency=2.0 is for crawl.autothrottle=true, and crawl.autothrottle is false",
        ),
        ({"spider": "warc", "warc_files": [__file__]}, "leave crawl.start_urls out"),
        ({"previous": "/no/such/folder"}, "holds no earlier crawl"),
    ],
)
def test_N2_wrong_requests(given: dict, words: str) -> None:
    with pytest.raises(RequestError, match=re.escape(words)):
        check(GOOD | given)


@pytest.mark.parametrize(
    "words",
    [
        ["max_pages=10"],
        ["start_urls=[http://a.org]", "contact=-"],
        ["start_urls=[http://a.org]", "include=[(]"],
        ["nonsense"],
    ],
)
def test_exit_status_2_without_traceback(tmp_path: Path, words: list[str]) -> None:
    assert refused(tmp_path / "out", *words)
    assert not (tmp_path / "out").exists(), "a wrong request leaves nothing behind"


def test_words_become_values() -> None:
    settings = parse(
        [
            "start_urls=[http://a.org/x?q=1&r=2,http://b.org]",
            "contact=me@a.org",
            "include=['/a{2,3}','/b']",
            "exclude=[/c{2,3}$,x|y]",
            "languages=en,de",
            "warc_files=/data/*.gz",
            "crawl.max_pages=1_000",
            "delay_s=2",
            "filters.too_short.enabled=false",
            "redis_key=7",
        ]
    )
    assert settings["start_urls"] == ["http://a.org/x?q=1&r=2", "http://b.org"]
    assert settings["include"] == ["/a{2,3}", "/b"]
    assert settings["exclude"] == ["/c{2,3}$", "x|y"]
    assert settings["languages"] == ["en", "de"]
    assert settings["warc_files"] == ["/data/*.gz"]
    assert settings["max_pages"] == 1000
    assert settings["delay_s"] == 2
    assert settings["filters"]["too_short"] == {"enabled": False, "min_words": 50}
    assert settings["redis_key"] == "7"
    settings |= {"warc_files": [], "redis_key": None}  # of other spiders and queues
    assert settings == check(settings), "complete settings stay as they are"
    assert set(settings) == set(CRAWL)
    with pytest.raises(RequestError, match=r"Did you mean crawl\.max_pages\?"):
        parse(["max_pges=3"])


def test_a_dollar_in_a_pattern_is_one() -> None:
    assert check(GOOD | {"include": ["a${x}"]})["include"] == ["a${x}"]


def test_F18_merging_nothing_is_not_merging_the_working_folder(capsys):
    assert main(["merge", ""]) == 2
    assert "merge FOLDER" in capsys.readouterr().err


def test_F25_a_warc_file_is_a_plain_file(tmp_path):
    """A device has no end, a pipe no beginning, and reading either left no moment for Ctrl-C."""
    os.mkfifo(tmp_path / "a.warc")
    (tmp_path / "b.warc").mkdir()
    for name, words in (("a.warc", "is a pipe or a device"), ("b.warc", "is a folder")):
        with pytest.raises(RequestError, match=words):
            check({"spider": "warc", "warc_files": [str(tmp_path / name)]})
    with pytest.raises(RequestError, match="is a pipe or a device"):
        check({"spider": "warc", "warc_files": ["/dev/zero"]})


def test_F20_a_line_of_gigabytes_keeps_nobody_from_stopping(tmp_path):
    (tmp_path / "a.warc").write_bytes(b"0" * 1000)
    state = SimpleNamespace(stopping=None)
    with Stoppable(str(tmp_path / "a.warc"), state) as stream:
        assert stream.read(10) == b"0" * 10
        state.stopping = "interrupted"
        with pytest.raises(StoppedError):
            stream.read(10)
