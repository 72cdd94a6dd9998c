"""run.log on a disk that may be full: what cannot be written down is lost, the run is not. What is said once."""

import logging
import sys
from contextlib import suppress
from pathlib import Path


class RunLog(logging.FileHandler):
    """Says once that nothing is written down any more, in one line."""

    def __init__(self, file: Path):
        super().__init__(file, encoding="utf-8", errors="backslashreplace", delay=True)
        self.told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it could not even be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.told:
            self.told = True
            print(f"{self.baseFilename} cannot be written ({error.strerror}): going on without it", file=sys.stderr)

    def close(self) -> None:
        with suppress(OSError):  # what was not written before is not written now
            super().close()


class SaidOnce(logging.Filter):
    """Data is walked several times; what its readers say of it is said once a run."""

    def __init__(self) -> None:
        super().__init__("datamodules.reading")
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True  # of others
        text, before = record.getMessage(), len(self.said)
        self.said.add(text)
        return len(self.said) > before
