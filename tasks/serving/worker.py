"""The thread that computes: it takes requests as they come and gives each token to whoever waits for it.

The event loop never computes, this thread never waits for a client. A request that comes while others are running joins
them before the next token; nobody waits for another one's end, only for room in the batch.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from errors import RunError
from models.continuous import Continuous, Request, Written, prompt_logprobs
from models.generation import evaluating

Event = Written | list[Written | None] | BaseException


class BusyError(RunError):
    """More requests wait than are let in."""


class StoppingError(RunError):
    """The server ends."""


@dataclass(eq=False)
class Job:
    """A request on its way. `echo`: what the model says of the prompt comes first. `prompt_only`: nothing else does."""

    batch: Continuous
    request: Request
    echo: bool = False
    prompt_only: bool = False
    left: int = 0  # continuations that have not ended
    given_up: bool = False
    events: "asyncio.Queue[Event]" = field(default_factory=asyncio.Queue)


class Worker:
    """Args:
    rows: continuations at once, of one model. waiting: requests that may wait for room.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, rows: int, waiting: int):
        self.loop, self.rows, self.most_waiting = loop, rows, waiting
        self.waiting: deque[Job] = deque()
        self.running: dict[Request, Job] = {}
        self.changed, self.closing = threading.Condition(), False
        self.thread = threading.Thread(target=self._work, name="generation", daemon=True)
        self.thread.start()

    # in the event loop ------------------------------------------------------------------------------------------------

    async def run(self, job: Job) -> AsyncGenerator[Written | list[Written | None], None]:
        """What comes of a job, as it comes; leaving early gives the job up.

        Raises:
            BusyError: too many wait. StoppingError: the server ends. RequestError: the model cannot do this.
        """
        with self.changed:
            if self.closing:
                raise StoppingError("the server is stopping")
            if len(self.waiting) >= self.most_waiting:
                raise BusyError(f"{self.most_waiting} requests are waiting already; try again in a while")
            self.waiting.append(job)
            self.changed.notify()
        job.left = (0 if job.prompt_only else job.request.n) + job.echo
        try:
            while job.left:
                event = await job.events.get()
                if isinstance(event, BaseException):
                    raise event
                job.left -= isinstance(event, list) or event.ended is not None
                yield event
        finally:
            if job.left:
                with self.changed:
                    job.given_up = True
                    self.changed.notify()

    def close(self) -> None:
        """Whoever waits is told; returns when the thread has ended."""
        with self.changed:
            self.closing = True
            self.changed.notify()
        self.thread.join()

    @property
    def busy(self) -> set[Continuous]:
        """What is in use: it must stay loaded."""
        with self.changed:
            return {job.batch for job in (*self.waiting, *self.running.values())}

    # in the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.closing or self.waiting or self.running)
                if self.closing:
                    for job in (*self.waiting, *self.running.values()):
                        self._tell(job, StoppingError("the server is stopping"))
                    return
                given_up = [job for job in self.running.values() if job.given_up]
            for job in given_up:
                job.batch.leave(job.request)
                self._forget(job)
            self._let_in()
            for batch in {job.batch: None for job in list(self.running.values())}:
                self._step(batch)

    def _let_in(self) -> None:
        """One request for each model between two tokens, in the order in which they came."""
        with self.changed:
            next_of: dict[Continuous, Job] = {}
            for job in list(self.waiting):
                if job.given_up:
                    self.waiting.remove(job)
                else:
                    next_of.setdefault(job.batch, job)
            chosen = [job for job in next_of.values() if job.batch.rows + job.request.n <= self.rows]
            for job in chosen:
                self.waiting.remove(job)
                self.running[job.request] = job
        for job in chosen:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        try:
            with evaluating(job.batch.model):
                if job.echo:
                    self._tell(job, prompt_logprobs(job.batch.model, job.request.prompt, top=job.request.top))
                if not job.prompt_only:
                    job.batch.join(job.request)
        except Exception as error:  # whatever it is, it is this request's alone
            self._tell(job, error)
            self._forget(job)
        if job.prompt_only:
            self._forget(job)

    def _step(self, batch: Continuous) -> None:
        try:
            with evaluating(batch.model):
                for written in batch.step():
                    job = self.running.get(written.request)
                    if job is not None:
                        self._tell(job, written)
        except Exception as error:  # such as no memory left for so many: all of them are told, the server goes on
            for job in [job for job in self.running.values() if job.batch is batch]:
                self._tell(job, error)
                self._forget(job)
            batch.batches.clear()
        going = {row.request for group in batch.batches for row in group.live}
        for job in [job for job in self.running.values() if job.batch is batch and job.request not in going]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        with self.changed:
            self.running.pop(job.request, None)

    def _tell(self, job: Job, event: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(job.events.put_nowait, event)
        except RuntimeError:  # the loop has ended: nobody listens
            job.given_up = True
