"""From a list of sites to a clean corpus, every page accounted for. `python -m crawl key=value ...`; see README.md."""
