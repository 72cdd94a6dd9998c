"""`python -m crawl start_urls=[https://example.org] contact=me@example.org [output=FOLDER] [key=value ...]`

Prints where the corpus lies. Exit status: 0 finished (a spent budget counts as that), 1 failed, 2 wrong request,
130/143 interrupted. `python -m crawl merge FOLDER` puts the workers of a shared crawl (queue=redis) together. `python
-m crawl --help` lists all settings.
"""

import sys
from pathlib import Path

import stopping
from commands import word
from crawl.options import ROOT, parse
from crawl.runner import run
from errors import Interrupted, RequestError, RunError
from strict_json import object_in

__all__ = ["run"]


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(__doc__)
            print(_all_settings())
            return 0
        if arguments[0] == "merge":
            return _merge(arguments[1:])
        summary, folder = _crawl(arguments)
    except RequestError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except Interrupted as stop:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return 128 + stop.signum
    print(_words(summary, folder))
    return 0


def _crawl(arguments: list[str]) -> tuple[dict, Path]:
    if arguments[0] == "--settings":
        if len(arguments) != 3:
            raise RequestError("--settings is for the program itself: type key=value, see python -m crawl --help.")
        folder = Path(arguments[2])
        return run(object_in(arguments[1]), folder), folder
    outputs = [word.partition("=")[2] for word in arguments if word.startswith("output=")]
    folder = Path((outputs or ["outputs/crawl/corpus"])[-1])
    if outputs and not outputs[-1].strip():
        raise RequestError("output= is empty, as an unset shell variable leaves it: expected a folder.")
    return run(parse([word for word in arguments if not word.startswith("output=")]), folder), folder


def _all_settings() -> str:
    """With their help, as run.py --help task=crawl shows them."""
    from launcher.cli import FLAGS
    from launcher.help.screens import help_text
    from launcher.lab import Lab

    return help_text(["task=crawl"], Lab(ROOT), FLAGS)


def _merge(arguments: list[str]) -> int:
    from crawl.queueing.merge import merge

    if len(arguments) != 1 or not arguments[0].strip():
        raise RequestError("Type python -m crawl merge FOLDER, with the folder that holds workers/.")
    print(_words(merge(Path(arguments[0])), Path(arguments[0])))
    return 0


def _words(summary: dict, folder: Path) -> str:
    dropped, failed = sum(summary["dropped"].values()), sum(summary["failed"].values())
    more = (
        f"; {summary['queued']} addresses left ({summary['stopped_by'] or 'hosts asked to be left alone'})"
        if summary["queued"]
        else ""
    )
    return (
        f"{summary['fetched']} fetched = {summary['kept']} kept + {dropped} dropped + {failed} failed{more}\n"
        f"Look at {folder}/report.html, read {folder}/README.md, train with data=crawl {word(f'data.path={folder}')}"
    )


if __name__ == "__main__":
    stopping.listen()
    sys.exit(main(sys.argv[1:]))
