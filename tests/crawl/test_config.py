"""conf/task/crawl.yaml repeats crawl/settings.py, with a line of help for each key; the two may not drift apart."""

from pathlib import Path

import yaml

from crawl.checks import MAY_BE_ZERO
from crawl.options import MAY_CHANGE, NULLABLE
from crawl.settings import CRAWL

FILE = Path(__file__).resolve().parents[2] / "conf" / "task" / "crawl.yaml"


def test_yaml_holds_the_defaults() -> None:
    assert yaml.safe_load(FILE.read_text("utf-8"))["crawl"] == CRAWL


def test_every_key_has_help() -> None:
    lines = FILE.read_text("utf-8").split("crawl:\n", 1)[1].splitlines()
    bare = [
        line for line in lines if line.strip() and not line.strip().startswith("#") and "  # " not in line.rstrip("# ")
    ]
    assert bare == []


def test_lists_of_keys_name_keys() -> None:
    assert MAY_CHANGE | MAY_BE_ZERO | set(NULLABLE) <= set(CRAWL)
    assert {key for key, value in CRAWL.items() if value is None} == set(NULLABLE)
