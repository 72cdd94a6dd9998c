"""Who may come in, how much they may send, and what a browser may do with what it gets."""

import http.client
import json
import socket
import time

import pytest

from tests.tasks.serving.door import Door, run_folder

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("outputs")
    folder = run_folder(root, "talker")
    (folder / "report.html").write_text("<script>1</script>")
    (folder / "checkpoints/secret.html").write_text("no")
    return root


@pytest.fixture(scope="module")
def door(root):
    with Door(root) as door:
        yield door


@pytest.fixture(scope="module")
def locked(root):
    with Door(root, token=TOKEN) as door:
        yield door


def ask(door, method: str, path: str, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    raw = body if isinstance(body, bytes | None) else json.dumps(body)
    connection.request(method, path, raw, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    answer.text = answer.read().decode()
    connection.close()
    return answer


ASKED = {"model": "talker", "prompt": "a", "max_tokens": 1}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"model": "talker", "prompt": "a", "prompt": "b", "max_tokens": 1}', "'prompt' stands in one object twice"),
        (b'{"model": "talker", "prompt": "a", "stop": ["x", ""], "max_tokens": 1}', "stop: an empty text"),
        (b'{"model": "talker", "prompt": "a", "stream_options": {"include_usage": true}}', "where stream is true"),
    ],
)
def test_what_would_be_passed_over_is_refused(door, raw, said):
    answer = ask(door, "POST", "/v1/completions", raw)
    assert answer.status == 400
    assert said in json.loads(answer.text)["error"]["message"]


def test_without_a_token_only_local_names_are_answered_to(door):
    assert ask(door, "GET", "/v1/models").status == 200
    assert ask(door, "GET", "/v1/models", Host="evil.example").status == 403
    assert ask(door, "GET", "/v1/models", Host="[::1]:80").status == 200


def test_other_origins_cannot_post(door):
    assert ask(door, "POST", "/v1/completions", ASKED, Origin="https://evil.example").status == 403
    assert ask(door, "POST", "/v1/completions", ASKED, Origin="null").status == 403
    assert ask(door, "POST", "/v1/completions", ASKED, Origin=door.url).status == 200
    told = ask(door, "POST", "/v1/completions", ASKED, Origin="http://[")
    assert (told.status, json.loads(told.text)["error"]["type"]) == (403, "permission_error")
    assert ask(door, "GET", "/v1/models", Origin="http://[").status == 200


def test_with_a_token_nobody_gets_in_without(locked):
    for path in ("/", "/v1/models", "/api/runs", "/page?run=talker&file=report.html", "/nothing"):
        assert ask(locked, "GET", path).status == 401, path
        assert ask(locked, "GET", path, Authorization="Bearer wrong").status == 401
    assert ask(locked, "GET", f"/v1/models?token={TOKEN}").status == 401, "only the page's address carries it"
    assert ask(locked, "GET", "/v1/models", Authorization=TOKEN).status == 401
    for scheme in ("Bearer", "bearer"):  # RFC 7235: any case
        assert ask(locked, "GET", "/v1/models", Authorization=f"{scheme} {TOKEN}").status == 200
    assert json.loads(ask(locked, "GET", "/v1/models").text)["error"]["type"] == "authentication_error"


def test_the_printed_address_leaves_a_cookie_and_no_token_in_the_address(locked):
    answer = ask(locked, "GET", f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ask(locked, "GET", "/api/runs", Cookie=cookie.split(";")[0]).status == 200


def test_pages_may_do_nothing_but_what_is_ours(door):
    front = ask(door, "GET", "/").headers
    assert "default-src 'none'" in front["content-security-policy"]
    assert "unsafe" not in front["content-security-policy"]
    page = ask(door, "GET", "/page?run=talker&file=report.html")
    assert "sandbox allow-scripts;" in page.headers["content-security-policy"]
    assert page.text == "<script>1</script>"


@pytest.mark.parametrize("file", ["../summary.json", "checkpoints/secret.html", "summary.json", "/etc/passwd", ""])
def test_only_pages_of_runs_are_shown(door, file):
    assert ask(door, "GET", f"/page?run=talker&file={file}").status == 404
    assert ask(door, "GET", "/page?run=..%2Ftalker&file=report.html").status == 404


def test_bodies_end_somewhere(door):
    assert ask(door, "POST", "/v1/completions", b" " * (8 << 20) + b"{}").status == 413
    with socket.create_connection(("127.0.0.1", door.port)) as wire:
        wire.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.settimeout(30)
        block = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        try:
            for _ in range(12):
                wire.sendall(block)
        except OSError:
            pass  # it has hung up already
        assert b"413" in wire.recv(100)


def test_requests_that_find_no_room_are_told_to_come_back(root):
    with Door(root, rows=1, waiting=1) as door:
        ask(door, "POST", "/v1/completions", ASKED)  # loaded
        wires = []
        for _ in range(6):
            wires.append(http.client.HTTPConnection("127.0.0.1", door.port, timeout=60))
            wires[-1].request("POST", "/v1/completions", json.dumps(ASKED | {"max_tokens": 60}))
        statuses = sorted(wire.getresponse().status for wire in wires)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert set(statuses) == {200, 429}


def test_who_hangs_up_makes_room(root):
    with Door(root, rows=1) as door:
        ask(door, "POST", "/v1/completions", ASKED)
        for stream in (True, False):
            wire = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
            wire.request("POST", "/v1/completions", json.dumps(ASKED | {"max_tokens": 200, "stream": stream}))
            time.sleep(0.05)
            wire.close()
            assert ask(door, "POST", "/v1/completions", ASKED).status == 200
        (run,) = door.shelf.loaded.values()
        end = time.monotonic() + 30
        while run.batch.rows and time.monotonic() < end:
            time.sleep(0.01)
        assert run.batch.rows == 0


def test_the_longest_unused_run_makes_room(tmp_path):
    for name in ("a", "b", "c"):
        run_folder(tmp_path, name)
    with Door(tmp_path, loaded_at_once=2) as door:
        for name in ("a", "b", "a", "c"):
            assert ask(door, "POST", "/v1/completions", ASKED | {"model": name}).status == 200
        assert list(door.shelf.loaded) == ["a", "c"]
        newest = next(iter(door.runs.listed()))
        assert json.loads(ask(door, "POST", "/v1/completions", ASKED | {"model": "last"}).text)["model"] == newest


def test_a_server_that_stops_says_so_to_those_who_wait(root):
    with Door(root) as door:
        ask(door, "POST", "/v1/completions", ASKED)
        wire = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60)
        wire.request("POST", "/v1/completions", json.dumps(ASKED | {"max_tokens": 200, "stream": True}))
        answer = wire.getresponse()
        answer.read(10)
        door.stopped.set()
        rest = answer.read().decode()
    assert "the server is stopping" in rest or rest.rstrip().endswith("[DONE]")
