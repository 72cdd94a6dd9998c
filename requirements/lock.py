"""Writes lock.txt: each pin of constraints.txt with the SHA-256 of every file that the package index holds for it.

    make lock
    pip install --no-deps --require-hashes -r requirements/lock.txt    # refuses anything but those files

--no-deps: every dependency is listed. PyPI's CUDA build of torch asks for its own nvidia-* packages besides, which its
metadata pins. EXTRA holds files that PyPI has not.
"""

import re
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
INDEX = "https://pypi.org/simple"
LINK = re.compile(r"[^/\"]+/(?P<file>[^/#\"]+)#sha256=(?P<hash>[0-9a-f]{64})")
SUFFIX = r"(-.*\.whl|\.tar\.gz|\.zip)"
# the CPU build for Python 3.11 on Linux, from https://download.pytorch.org/whl/cpu
EXTRA = {"torch": ["6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"]}


def pins() -> dict[str, str]:
    lines = (HERE / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def hashes(name: str, version: str) -> list[str]:
    """Hashes of all files of one version, in order. Exits if the index has none."""
    url = f"{INDEX}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    with urllib.request.urlopen(url, timeout=60) as page:
        links = LINK.finditer(page.read().decode())
    spelled = "[-_.]+".join(re.split(r"[-_.]+", name))  # huggingface_hub or huggingface-hub
    wanted = re.compile(f"{spelled}-{re.escape(version)}{SUFFIX}", re.IGNORECASE)
    found = sorted({link["hash"] for link in links if wanted.fullmatch(link["file"])}) + EXTRA.get(name, [])
    if not found:
        sys.exit(f"{url} has no file of {name} {version}")
    return found


def main() -> None:
    head = "# Made by requirements/lock.py (make lock) from constraints.txt; do not edit.\n"
    lines = [
        " \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{value}" for value in hashes(name, version))])
        for name, version in pins().items()
    ]
    (HERE / "lock.txt").write_text(head + "\n".join(lines) + "\n")
    print(f"requirements/lock.txt: {len(lines)} packages")


if __name__ == "__main__":
    main()
