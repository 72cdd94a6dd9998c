"""Uploads: what is sent, and what is said where the Hub refuses. A stand-in for the Hub's client."""

from typing import ClassVar

import huggingface_hub
import pytest

from errors import RequestError, RunError
from models.weights.hub import check_repo, push


class Hub:
    calls: ClassVar[list] = []
    error: Exception | None = None

    def create_repo(self, name, *, private, exist_ok):
        self.calls.append(("create", name, private, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        if self.error:
            raise self.error
        self.calls.append(("upload", repo_id, sorted(p.name for p in folder_path.iterdir())))
        return f"https://huggingface.co/{repo_id}/commit/0"


def test_the_folder_goes_into_a_repository_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [])
    assert push(tmp_path, "ada/tiny", private=True) == "https://huggingface.co/ada/tiny/commit/0"
    assert Hub.calls == [("create", "ada/tiny", True, True), ("upload", "ada/tiny", ["config.json"])]


def test_a_refusal_names_the_folder_that_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "error", OSError("no route to host"))
    with pytest.raises(RunError, match=r"no route to host[\s\S]*hf upload ada/tiny"):
        push(tmp_path, "ada/tiny", private=True)


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "ada/", "/tiny", "ada/tiny gpt", ""])
def test_a_name_that_cannot_be_one_is_refused_before_anything(name):
    with pytest.raises(RequestError, match="OWNER/NAME"):
        check_repo(name)
