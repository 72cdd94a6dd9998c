"""A progress bar for text that goes by: shown only where it takes longer than a second."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm


def counted(texts: Iterable[str], what: str) -> Iterator[str]:
    """`texts`, with the number of characters on the screen while they go by."""
    with tqdm(unit=" characters", unit_scale=True, desc=what, delay=1.0, file=sys.stderr, leave=False) as bar:
        for text in texts:
            bar.update(len(text))
            yield text
