"""N33: every package is pinned, and each pin has the hashes of its files."""

import re
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def test_N33_the_lock_file_has_hashes_for_what_is_pinned() -> None:
    lock = (ROOT / "requirements/lock.txt").read_text()
    assert pins(lock) == pins((ROOT / "requirements/constraints.txt").read_text()), "type: make lock"
    for entry in re.split(r"\n(?=[\w.-]+==)", lock.split("\n", 1)[1]):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_N33_what_the_project_asks_for_is_pinned_and_bad_wheels_are_excluded() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + list(chain(*project["optional-dependencies"].values()))
    names = {normal(re.match(r"[\w.-]+", line)[0]) for line in asked} - {"nanolab"}  # its own extras
    assert names <= pins((ROOT / "requirements/constraints.txt").read_text()).keys()
    lightning = next(line for line in asked if line.startswith("lightning"))
    assert "!=2.6.2" in lightning
    assert "!=2.6.3" in lightning
