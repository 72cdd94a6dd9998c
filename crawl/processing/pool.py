"""Worker processes for extraction that hostile pages cannot take down.

A page that kills its worker (memory, a crash in C) or hangs beyond its time costs itself: the pool is made anew, and
the pages that were on their way with it are done again, one at a time, so that only the guilty one fails.
"""

import asyncio
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import stopping
from crawl.document import Page
from crawl.processing import worker
from errors import RunError


class ExtractError(Exception):
    """The page could not be worked on; `reason` is its key under `failed`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Pool:
    """`await run(page, follow)` in another process."""

    def __init__(self, settings: dict, domains: list[str]):
        self.settings, self.domains = settings, domains
        self.pool = self._make()
        self.alone = asyncio.Lock()  # second tries go one by one
        self.closed = False

    def _make(self) -> ProcessPoolExecutor:
        with stopping.blocked():  # multiprocessing starts a helper here
            return ProcessPoolExecutor(
                max_workers=self.settings["processes"],
                mp_context=multiprocessing.get_context("spawn"),  # a fork would copy the reactor's threads and locks
                initializer=worker.start,
                initargs=(self.settings, self.domains, os.getpid()),
            )

    async def warm_up(self) -> None:
        """Start the processes now, while the first pages are on their way.

        Raises RunError when they cannot start at all, for instance because a package is missing.
        """
        try:
            with stopping.blocked():  # a signal to the whole group would end them as they start
                started = asyncio.get_running_loop().run_in_executor(self.pool, os.getpid)
            await started
        except (BrokenProcessPool, asyncio.CancelledError):
            if self.closed or stopping.asked():
                return  # a crawl with nothing to do ends before its processes have begun
            raise RunError("The extraction processes cannot start; see the messages above. Is the extra installed: pip install -e .[crawl]?") from None  # fmt: skip  # noqa: E501

    async def run(self, page: Page, follow: bool) -> worker.Worked:
        """Links and text of a page.

        Raises ExtractError when the page takes too long, or takes its process down twice.
        """
        try:
            try:
                return await self._try(page, follow)
            except BrokenProcessPool:
                async with self.alone:
                    return await self._try(page, follow)
        except BrokenProcessPool:
            raise ExtractError("extractor_crashed") from None
        except (worker.TooSlowError, TimeoutError):
            raise ExtractError("extractor_timeout") from None

    async def _try(self, page: Page, follow: bool) -> worker.Worked:
        pool = self.pool
        try:
            with stopping.blocked():  # it may start a process
                future = asyncio.get_running_loop().run_in_executor(pool, worker.work, page, follow)
            # waiting for a free process counts too, hence a wide bound: it is for code that no signal can interrupt
            return await asyncio.wait_for(future, 60 + 4 * self.settings["extract_timeout_s"])
        except (BrokenProcessPool, TimeoutError):
            self._renew(pool)
            raise

    def _renew(self, broken: ProcessPoolExecutor) -> None:
        if self.pool is broken:
            self._stop(broken)
            self.pool = self._make()

    def close(self) -> None:
        """Stop the processes; what they were doing is dropped."""
        self.closed = True
        self._stop(self.pool)

    @staticmethod
    def _stop(pool: ProcessPoolExecutor) -> None:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
