"""task=crawl: from a list of sites to a clean corpus, every page accounted for; the work is in crawl/."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from crawl.runner import run as run_crawl


def crawl(cfg: DictConfig, run: Any) -> None:
    """Crawls into the run folder, or goes on with the crawl that is there (resume=RUN_DIR).

    Raises:
        RequestError: a crawl that cannot work: no start address, no contact, a pattern that is no regular expression,
        ... RunError: the crawl cannot go on: a full disk, Redis gone.
        Interrupted: SIGINT or SIGTERM, after saving.
    """
    settings = OmegaConf.to_container(cfg.crawl, resolve=True)
    assert isinstance(settings, dict)
    manifest = run_crawl(settings, run.path)  # type: ignore[arg-type]
    counts = {
        key: manifest[key]
        for key in ("status", "fetched", "kept", "dropped", "failed", "refused", "queued", "words", "characters")
    }
    run.results["crawl"] = counts
    print(
        f"{counts['fetched']} fetched, {counts['kept']} kept, {counts['words']:,} words. Look at {run.path}/report.html"
    )
    print(f"Train on it: python run.py data=crawl data.path={run.path}")
