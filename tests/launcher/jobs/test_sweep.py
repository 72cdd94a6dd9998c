"""What a sweep says at its end."""

import json

import pytest

from launcher.jobs.sweep import report


@pytest.mark.parametrize("name", ["0", "0-seed_1"])  # where nothing is swept over, a job has its number alone
def test_a_job_that_failed_is_counted_and_its_status_is_the_sweeps(tmp_path, capsys, name):
    for folder, status, code in ((name, "failed", 3), ("report", "finished", 0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "summary.json").write_text(json.dumps({"status": status, "exit_status": code}))
    assert report(tmp_path, 1) == 3
    told = capsys.readouterr().out
    assert f"1 job in {tmp_path}" in told
    assert f"resume={tmp_path}" in told
