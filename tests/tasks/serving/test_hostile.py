"""2,000 requests made to hurt: the server answers each in its own words, others meanwhile, and grows by nothing."""

import ctypes
import gc
import http.client
import json
import os
import random
import socket
import threading
import time

import psutil
import pytest

from tests.tasks.serving.door import Door, run_folder
from tests.tasks.serving.test_gate import ASKED, ask

REQUESTS, SLOW = 2000, 200
TEXTS = [
    "",
    "\ud800",
    "\x00",
    "a" * 70_000,
    "\u202e\u0301" * 500,
    "\U0001f600" * 300,
    "<script>alert(1)</script>",
    "\ufffd",
]
VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    -0.0,
    2**63,
    10**400,
    "1",
    [],
    {},
    [[]],
    [{}],
    "\udc00",
    float("nan"),
    [1] * 9999,
]
FIELDS = [
    *("model", "prompt", "messages", "max_tokens", "temperature", "top_p", "top_k", "n", "seed", "stop", "stream"),
    *("logprobs", "echo", "tools", "response_format", "stream_options", "logit_bias", "__proto__", "a" * 500),
]
PATHS = [
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
    "/v1/models/x",
    "/page",
    "/api/curves",
    "/%00",
    "/",
]

NO_HTTP = [
    *(b"\x16\x03\x01\x02", b"GET / HTTP/9\r\n\r\n", b"GET /" + b"a" * 90_000, bytes(range(256))),
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
]


def body(made: random.Random) -> bytes:
    kind = made.randrange(8)
    if kind == 0:
        return os.urandom(made.randrange(2000))
    if kind == 1:
        return b"[" * made.randrange(1, 200_000)
    if kind == 2:
        return b'{"a":' * 5000 + b"1" + b"}" * 5000
    if kind == 3:
        return b'{"prompt": "' + b"x" * made.choice([10, 300_000, 3_000_000]) + b'"}'
    asked = dict(ASKED) if made.random() < 0.7 else {"messages": [{"role": "user", "content": made.choice(TEXTS)}]}
    for _ in range(made.randrange(4)):
        asked[made.choice(FIELDS)] = made.choice([*VALUES, *TEXTS])
    return json.dumps(asked).encode("utf-8", "surrogatepass")


def one(door, made: random.Random) -> int | None:
    """A request of any kind; the status, None where the wire was cut."""
    wire = http.client.HTTPConnection("127.0.0.1", door.port, timeout=120)
    try:
        wire.request(made.choice(["POST"] * 8 + ["GET", "PUT", "DELETE"]), made.choice(PATHS), body(made))
        if made.random() < 0.2:
            return None  # and does not wait for the answer
        answer = wire.getresponse()
        answer.read(None if made.random() < 0.9 else 10)
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        wire.close()


def raw(door, made: random.Random) -> None:
    """Bytes that are no HTTP."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=60) as wire:
        wire.sendall(made.choice(NO_HTTP))


def many(door, count: int, seed: int) -> list[int | None]:
    found: list[int | None] = []

    def work(number: int) -> None:
        made = random.Random(seed + number)
        for _ in range(count // 8):
            found.append(one(door, made)) if made.random() < 0.95 else raw(door, made)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def slow(door) -> list[socket.socket]:
    """Clients that begin and do not go on: half of them with their first line, half with a body that never ends."""
    wires = []
    for i in range(SLOW):
        wires.append(socket.create_connection(("127.0.0.1", door.port), timeout=60))
        head = b"POST /v1/completions HTTP/1.1\r\n"
        wires[-1].sendall(head if i % 2 else head + b"Host: localhost\r\nContent-Length: 900\r\n\r\n{")
    return wires


def test_bodies_of_every_kind_are_answered_in_openais_format(tmp_path):
    run_folder(tmp_path, "talker")
    with Door(tmp_path) as door:
        made = random.Random(1)
        for _ in range(60):
            answer = ask(door, "POST", "/v1/completions", body(made))
            found = json.loads(answer.text)
            assert answer.status == 200 or (answer.status in (400, 404, 413) and found["error"]["message"])


class Heap(ctypes.Structure):
    """What glibc's mallinfo2 tells of all arenas, in bytes; `uordblks` and `hblkhd` are in use."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]  # fmt: skip


def held() -> tuple[int, int]:
    """Bytes that are in use (0 where the C library does not say), and objects that Python's collector knows.

    The resident size says less: what was freed stays with the arenas of threads, and comes and goes by tens of MB.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0, len(gc.get_objects())
    libc.mallinfo2.restype = Heap
    heap = libc.mallinfo2()
    return heap.uordblks + heap.hblkhd, len(gc.get_objects())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_2000_hostile_requests_and_200_slow_clients_hurt_nobody(tmp_path):
    run_folder(tmp_path, "talker")
    with Door(tmp_path) as door:
        process = psutil.Process()
        wires = slow(door)
        many(door, REQUESTS // 2, seed=0)  # what is imported and cached once
        before, files, rounds = process.memory_info().rss, process.num_fds(), [held()]
        statuses: list[int | None] = []
        for seed in (1000, 2000):
            statuses += many(door, REQUESTS // 4, seed=seed)
            rounds.append(held())
        start = time.monotonic()
        assert ask(door, "POST", "/v1/completions", ASKED).status == 200
        print(f"\nan honest request beside {SLOW} slow clients: {time.monotonic() - start:.2f} s")
        grown = process.memory_info().rss - before
        in_use = [f"{bytes / 1e6:.1f} MB in {objects:,} objects" for bytes, objects in rounds]
        print(f"in use after 1,000, 1,500 and 2,000: {', '.join(in_use)}")
        print(f"memory {before / 1e6:.0f} MB, grown by {grown / 1e6:.1f} MB; answers "
              f"{ {s: statuses.count(s) for s in sorted(set(statuses), key=str)} }")  # fmt: skip
        assert not [s for s in statuses if s is not None and s >= 500]
        assert grown < 64e6
        assert rounds[-1][0] - rounds[-2][0] < 2e6  # 0.1 MB was seen, after 3 MB for the first full batch
        assert rounds[-1][1] - rounds[-2][1] < 2000  # of 219,000; requests that stayed would leave dozens each
        for wire in wires:
            wire.close()
        (run,) = door.shelf.loaded.values()
        end = time.monotonic() + 60
        while (run.batch.rows or process.num_fds() > files - SLOW) and time.monotonic() < end:
            time.sleep(0.1)
        assert run.batch.rows == 0
        assert process.num_fds() <= files - SLOW


def test_F26_a_run_whose_name_is_no_text_spoils_no_list(tmp_path):
    run_folder(tmp_path, "talker")
    os.rename(run_folder(tmp_path, "odd"), os.fsencode(tmp_path) + b"/odd\xff")
    with Door(tmp_path) as door:
        answer = ask(door, "GET", "/v1/models", b"")
        assert answer.status == 200
        assert sorted(model["id"] for model in json.loads(answer.text)["data"]) == ["odd?", "talker"]
        asked = {"model": "odd?", "prompt": "a", "max_tokens": 1}
        assert ask(door, "POST", "/v1/completions", json.dumps(asked).encode()).status == 200
