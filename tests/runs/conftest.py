"""Run folders written by hand, as for the reports."""

from tests.reports.conftest import write_run

__all__ = ["write_run"]
