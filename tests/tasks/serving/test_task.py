"""task=serve as it is typed: announced, answering, stopped by Ctrl-C with its own status; runs stay as they were."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from errors import RequestError
from tasks.serve import is_loopback, token_of
from tasks.serving.server import listen
from tests.tasks.serving.door import run_folder

ROOT = Path(__file__).parents[3]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.slow
def test_F20_it_serves_until_ctrl_c_and_leaves_runs_alone(tmp_path):
    run_folder(tmp_path / "runs", "talker")
    before = files(tmp_path / "runs")
    words = ["task=serve", "serve.port=0", f"serve.runs={tmp_path / 'runs'}", f"run_dir={tmp_path / 'own'}"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words, "hardware=cpu"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        said = ""
        while "Ctrl-C ends it" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        url = re.search(r"API\s+(http://\S+)", said)[1]
        with urllib.request.urlopen(f"{url}/models", timeout=60) as answer:
            assert [m["id"] for m in json.load(answer)["data"]] == ["talker"]
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped by SIGINT" in told
    assert "Traceback" not in told
    assert json.loads((tmp_path / "own/summary.json").read_text())["status"] == "interrupted"
    assert files(tmp_path / "runs") == before


def test_other_addresses_need_a_token(tmp_path):
    assert token_of("127.0.0.1", None) is None
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert len(token_of("0.0.0.0", None)) >= 24
    assert token_of("0.0.0.0", None) != token_of("0.0.0.0", None)
    file = tmp_path / "token"
    file.write_text("a-good-secret\n")
    assert token_of("127.0.0.1", str(file)) == "a-good-secret"
    for bad in ("", "short", "two words here", "pässwörter"):
        file.write_text(bad)
        with pytest.raises(RequestError, match="one word of 8 characters"):
            token_of("0.0.0.0", str(file))
    with pytest.raises(RequestError, match="cannot be read"):
        token_of("0.0.0.0", str(tmp_path / "none"))


@pytest.mark.parametrize("host", ["é..b", "é" * 70 + ".org"])
def test_F23_a_host_that_no_machine_can_have_is_refused(host):
    with pytest.raises(RequestError, match="no name or address"), listen(host, 0):
        pass
