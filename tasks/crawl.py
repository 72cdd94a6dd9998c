"""task=crawl: from a list of sites to a clean corpus, every page accounted for; the work is in crawl/."""

from importlib.util import find_spec

from omegaconf import DictConfig, OmegaConf

from commands import run_py
from crawl.keys import Crawl
from errors import RequestError
from launcher.jobs.run_folder import RunFolder

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ()

NEEDED = ("scrapy", "lxml", "trafilatura", "ftfy", "py3langid")  # of the extra `crawl`; the others are named where used


def crawl(cfg: DictConfig, run: RunFolder) -> None:
    """Crawls into the run folder, or goes on with the crawl that is there (resume=RUN_DIR).

    Raises:
        RequestError: a crawl that cannot work: no start address, no contact, a pattern that is no regular expression,
            packages that are not installed.
        RunError: the crawl cannot go on: a full disk, Redis gone.
        Interrupted: SIGINT or SIGTERM, after saving.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise RequestError(
            f"task=crawl needs packages that are not installed: {', '.join(missing)}."
            "\nType: pip install -c requirements/constraints.txt -e '.[crawl]'"
        )
    from crawl.runner import run as run_crawl

    settings: Crawl = OmegaConf.to_container(cfg.crawl, resolve=True)  # type: ignore[assignment]
    manifest = run_crawl(dict(settings), run.path)
    counts = {
        key: manifest[key]
        for key in ("status", "fetched", "kept", "dropped", "failed", "refused", "queued", "words", "characters")
    }
    run.results["crawl"] = counts
    print(
        f"{counts['fetched']} fetched, {counts['kept']} kept, {counts['words']:,} words. Look at {run.path}/report.html"
    )
    print(f"Train on it: {run_py('data=crawl', f'data.path={run.path}')}")
