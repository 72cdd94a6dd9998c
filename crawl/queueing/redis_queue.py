"""One queue for crawlers on several machines, in Redis: `crawl.queue=redis crawl.redis_key=NAME`.

scrapy-redis's own queue forgets a request once it is popped, so that a crawler that is killed takes its pages with
it. This one lends: a page that is taken has a lease, renewed while its crawler lives; when the lease runs out the
page is free again.

    NAME:dupefilter      set of all addresses ever queued            NAME:requests:HOST  sorted set, nearest to the
    start first NAME:leases          sorted set, page -> when its lease ends     NAME:owners         page -> crawler
    NAME:tries, NAME:next, NAME:hosts, NAME:done, NAME:settings

Each crawler keeps its results in its own folder (workers/<name>/); `python -m crawl merge FOLDER` puts them together.
A page is stored locally before Redis hears of it: a kill in between makes a second copy in another folder, which
merging removes.
"""

import json
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from scrapy_redis.connection import get_redis

from crawl.queueing.frontier import Frontier
from crawl.queueing.ledger import Ending, Entry, Link
from errors import RequestError, RunError
from strict_json import value_of

ADD = """
local added = 0
for i = 2, #ARGV, 3 do
  if redis.call('SADD', KEYS[1] .. ':dupefilter', ARGV[i]) == 1 then
    local host = ARGV[i + 2]
    redis.call('ZADD', KEYS[1] .. ':requests:' .. host, cjson.decode(ARGV[i + 1])[3], ARGV[i + 1])
    redis.call('SADD', KEYS[1] .. ':hosts', host)
    added = added + 1
  end
end
return added
"""
TAKE = """
local key, host, now, lease, pause, worker = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]),
tonumber(ARGV[4]), ARGV[5] for _, page in ipairs(redis.call('ZRANGEBYSCORE', key .. ':leases', '-inf', now, 'LIMIT',
0, 100)) do
  local entry = cjson.decode(page)
  redis.call('ZREM', key .. ':leases', page)
  redis.call('HDEL', key .. ':owners', page)
  redis.call('ZADD', key .. ':requests:' .. entry[5], entry[3], page)
  redis.call('SADD', key .. ':hosts', entry[5])
end
if now < tonumber(redis.call('HGET', key .. ':next', host) or 0) then return false end
local popped = redis.call('ZPOPMIN', key .. ':requests:' .. host)
if #popped == 0 then redis.call('SREM', key .. ':hosts', host) return false end
redis.call('HSET', key .. ':next', host, now + pause)
redis.call('ZADD', key .. ':leases', now + lease, popped[1])
redis.call('HSET', key .. ':owners', popped[1], worker)
return {popped[1], redis.call('HGET', key .. ':tries', popped[1]) or '0'}
"""
FINISH = """
redis.call('ZREM', KEYS[1] .. ':leases', ARGV[1])
redis.call('HDEL', KEYS[1] .. ':owners', ARGV[1])
redis.call('HDEL', KEYS[1] .. ':tries', ARGV[1])
return redis.call('INCRBY', KEYS[1] .. ':done', ARGV[2])
"""
WAITING = """
local n = redis.call('ZCARD', KEYS[1] .. ':leases')
for _, host in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':hosts')) do n = n + redis.call('ZCARD', KEYS[1] ..
':requests:' .. host) end return n
"""


class RedisQueue:
    """The queue half of a frontier, shared; the ledger half stays local."""

    def __init__(self, frontier: Frontier, settings: dict, worker: str, pace: dict[str, float]):
        """Raises RequestError when Redis cannot be reached, or holds a crawl of that name with other settings."""
        self.frontier, self.settings, self.worker, self.pace = frontier, settings, worker, pace
        self.key, self.lease = settings["redis_key"], settings["lease_s"]
        self.pages_of: dict[int, str] = {}  # entry -> page as Redis knows it
        self.renewed = time.time()
        try:
            self.server: Any = get_redis(url=settings["redis_url"], decode_responses=True)
            self.server.ping()
        except Exception as error:
            raise RequestError(
                f"crawl.redis_url={settings['redis_url']}: cannot reach Redis there ({error})."
            ) from None
        self.scripts = {name: self.server.register_script(text) for name, text in (("add", ADD), ("take", TAKE), ("finish", FINISH), ("waiting", WAITING))}  # fmt: skip  # noqa: E501
        self._check_settings()
        self._forget_unfinished()
        self.pages = int(self.server.get(f"{self.key}:done") or 0)

    def _check_settings(self) -> None:
        from crawl.options import differences

        mine = json.dumps(self.settings)
        if not self.server.set(f"{self.key}:settings", mine, nx=True):
            changed = differences(value_of(self.server.get(f"{self.key}:settings")), self.settings)
            if changed:
                raise RequestError(
                    f"Redis holds another crawl named {self.key}:\n  "
                    + "\n  ".join(changed)
                    + "\nGive another crawl.redis_key."
                )

    def _forget_unfinished(self) -> None:
        """Pages that this crawler had taken when it was killed come back through their leases, perhaps to another."""
        self.frontier.connection.execute("DELETE FROM pages WHERE state = 0")
        self.frontier.read_outcomes()
        self.frontier.commit()

    @property
    def in_flight(self) -> int:
        """Pages that this crawler has taken."""
        return len(self.pages_of)

    def add(self, links: Iterable[Link]) -> int:
        """Queue what nobody has queued before."""
        words: list[str] = []
        for link in links:
            if link.depth and (kind := self.frontier.trapped(link.url)):
                self.frontier.skipped[kind] += 1
                continue
            host = urlsplit(link.url).hostname or ""
            name = link.url if link.redirects else self.frontier.name(link.url)
            words += [name, json.dumps([link.url, link.kind, link.depth, link.redirects, host]), host]
        return self._run("add", "", *words) if words else 0

    def hosts(self) -> list[str]:
        """Hosts with pages waiting, in no order; also keeps the leases of this crawler alive."""
        now = time.time()
        if now - self.renewed > self.lease / 4:
            self.renewed = now
            if self.pages_of:
                self.server.zadd(f"{self.key}:leases", dict.fromkeys(self.pages_of.values(), now + self.lease), xx=True)
        found = list(self.server.smembers(f"{self.key}:hosts"))
        return found or [""]  # taking from no host still brings back what was lent and lost

    def take(self, host: str) -> Entry | None:
        """Borrow the next page of a host, with the host's pace kept over all crawlers."""
        pause = max(self.settings["delay_s"], self.pace.get(host, 0.0))
        taken = self._run("take", host, time.time(), self.lease, pause, self.worker)
        if not taken:
            return None
        page, tries = taken
        url, kind, depth, redirects, _ = value_of(page)
        self.frontier.add([Link(url, 0, kind, redirects)])
        entry = self.frontier.entry(url)
        if entry is None:  # this crawler did it, and was killed before Redis heard of it
            self._run("finish", page, 0)
            return None
        entry.depth, entry.tries = depth, int(tries)
        self.pages_of[entry.id] = page
        return entry

    def finish(
        self, entry: Entry, ending: Ending, links: Iterable[Link] = (), skipped: dict[str, int] | None = None
    ) -> None:
        """Links first, then the local ledger, then the end of the lease: a kill at any point loses nothing."""
        page = self.pages_of.pop(entry.id)
        if self.server.hget(f"{self.key}:owners", page) != self.worker:
            self.frontier.undo(entry)  # too slow: the lease ran out and another crawler has the page
            return
        self.add(links)
        self.frontier.finish(entry, ending, (), skipped)
        counts = ending.outcome in ("kept", "dropped", "failed") and ending.reason != "redirect"
        self.pages = int(self._run("finish", page, int(counts)))

    def retry(self, entry: Entry, wait_s: float) -> None:
        """A lease that ends when it is time to try again."""
        page = self.pages_of.pop(entry.id)
        self.frontier.undo(entry)
        self.server.hincrby(f"{self.key}:tries", page, 1)
        self.server.zadd(f"{self.key}:leases", {page: time.time() + wait_s}, xx=True)

    def waiting(self, left_alone: list[str]) -> int:
        """Pages that are queued, or with other crawlers, who may die or find more."""
        ignored = sum(self.server.zcard(f"{self.key}:requests:{host}") for host in left_alone)
        return int(self._run("waiting")) - self.in_flight - ignored

    def _run(self, name: str, *words: Any) -> Any:
        try:
            return self.scripts[name](keys=[self.key], args=list(words))
        except Exception as error:
            raise RunError(f"Redis at {self.settings['redis_url']} failed: {error}") from error
