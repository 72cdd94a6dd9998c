"""metrics.csv: one row per logged step, training and validation of the same step in one row.

Lightning's CSVLogger deletes the file it finds; this one goes on after a resume, without a row twice or a row missing.
"""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from bounds import NonNegativeInt


class MetricsCSV(Logger):
    """Writes `run_dir`/metrics.csv. Rows after `start_step` left by a run that was killed are dropped first."""

    def __init__(self, *, run_dir: str | Path, start_step: NonNegativeInt):
        super().__init__()
        self.path = Path(run_dir) / "metrics.csv"
        self._columns = ["step"]
        self._pending: dict[str, Any] = {}
        self._last_step: int | None = None
        if self.path.exists():
            rows = [row for row in self._read() if int(row["step"]) <= start_step]
            self._rewrite(rows)
            self._last_step = int(rows[-1]["step"]) if rows else None

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The composed config in .hydra/ is the record."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self._pending and self._pending["step"] != step:
            self.save()
        self._pending |= {"step": step} | metrics

    def save(self) -> None:
        """Write the pending row: appended, or merged into the last one if that is of the same step."""
        row, self._pending = self._pending, {}
        if not row:
            return
        new = [name for name in row if name not in self._columns]
        if new or row["step"] == self._last_step:
            rows = self._read() if self.path.exists() else []
            last = rows.pop() if row["step"] == self._last_step else {}
            self._columns += new
            self._rewrite([*rows, last | row])
        else:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        self._last_step = row["step"]

    def finalize(self, status: str) -> None:
        self.save()

    def _read(self) -> list[dict[str, str]]:
        with open(self.path, newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if (row["step"] or "").isdigit() and None not in row.values()]
            self._columns = list(reader.fieldnames or ["step"])
        return rows

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "w", newline="") as file:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(rows)
            os.replace(temporary, self.path)
        except OSError:  # a full disk: the rows of before stay, and nothing else
            temporary.unlink(missing_ok=True)
            raise
