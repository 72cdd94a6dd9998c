"""F19: a resume is that run, and a checkpoint belongs to the run in whose folder it lies."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from errors import Interrupted
from launcher.cli import main

ROOT = Path(__file__).parents[2]
WORDS = (
    *("model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.seq_len=16", "data.batch_size=2", "hardware=cpu"),
    *("trainer.max_steps=2", "trainer.val_every=1", "trainer.log_every=1", "data=text", "data.path=text.txt"),
    *("callbacks=minimal", "logger=csv"),
)


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def summary(run: str) -> dict:
    return json.loads(Path(run, "summary.json").read_text(encoding="utf-8"))


def test_F19_other_data_is_refused_and_nothing_is_lost(capsys):
    assert lab(*WORDS, "run_dir=run") == 0
    before = {name: Path("run", name).read_bytes() for name in ("summary.json", "checkpoints/last.ckpt", "metrics.csv")}
    Path("text.txt").write_text("Pack my box with five dozen liquor jugs.\n" * 60, encoding="utf-8")
    assert lab("resume=run", "trainer.max_steps=4") == 2
    said = capsys.readouterr().err
    assert "data: " in said
    assert "allow_mismatch=true" in said
    assert {name: Path("run", name).read_bytes() for name in before} == before
    assert lab("task=evaluate", "init_from=run", "hardware=cpu") == 2
    assert lab("task=generate", "init_from=run", "hardware=cpu", "prompt=The", "max_new_tokens=2") == 0
    assert lab("resume=run", "trainer.max_steps=4", "allow_mismatch=true") == 0
    assert summary("run")["step"] == 4
    assert summary("run")["resumed_despite"][0].startswith("data: ")
    assert lab("resume=run", "trainer.max_steps=5") == 0, "from then on this is its data"


def test_F19_edited_token_files_are_other_data(capsys):
    assert lab("task=prepare", "data=text", "data.path=text.txt", "data.out=bin", "model.seq_len=16") == 0
    assert lab(*WORDS[:-4], "data=bin", "data.path=bin", "callbacks=minimal", "run_dir=run") == 0
    ids = bytearray(Path("bin/train.bin").read_bytes())
    ids[100:110] = ids[0:10]
    Path("bin/train.bin").write_bytes(ids)
    capsys.readouterr()
    assert lab("resume=run", "trainer.max_steps=4") == 2
    assert "data: " in capsys.readouterr().err


def test_F19_a_checkpoint_of_another_run_is_refused(capsys):
    assert lab(*WORDS, "run_dir=run") == 0
    assert lab(*WORDS, "run_dir=other", "tokenizer=bpe", "tokenizer.vocab_size=260", "model.n_head=4") == 0
    for name in ("last.ckpt", "best.ckpt"):
        shutil.copy(f"other/checkpoints/{name}", f"run/checkpoints/{name}")
    asked = (["resume=run"], *(["task=" + task, "init_from=run"] for task in ("generate", "evaluate", "export")))
    for words in asked:
        capsys.readouterr()
        assert lab(*words, *(["trainer.max_steps=4"] if "resume=run" in words else ["hardware=cpu"])) == 2
        said = capsys.readouterr().err
        assert "tokenizer: " in said, words
        assert "model.n_head: 4 then, 2 now" in said


def test_F19_a_lost_last_checkpoint_does_not_cost_the_best(capsys):
    assert lab(*WORDS, "run_dir=run") == 0
    best = Path("run/checkpoints/best.ckpt").read_bytes()
    Path("run/checkpoints/last.ckpt").unlink()
    assert lab("resume=run", "trainer.max_steps=4") == 2
    assert "init_from=run/checkpoints/best.ckpt" in capsys.readouterr().err
    assert Path("run/checkpoints/best.ckpt").read_bytes() == best


def test_F19_where_there_is_a_best_checkpoint_there_is_a_last_one(monkeypatch):
    """Killed between the first validation and the first checkpoint, a run goes on, and comes to the same weights."""
    from callbacks.checkpoints import Checkpoints

    assert lab(*WORDS, "run_dir=whole", "trainer.max_steps=4", "trainer.val_every=2") == 0

    def killed(self, trainer, *_):
        if trainer.global_step == 3:
            raise Interrupted(15, at_full_step=False)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_batch_end", killed)
        assert lab(*WORDS, "run_dir=cut", "trainer.max_steps=4", "trainer.val_every=2") == 143
    assert Path("cut/checkpoints/best.ckpt").is_file()
    assert torch.load("cut/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
    assert lab("resume=cut") == 0
    states = [torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in ("whole", "cut")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_F19_an_older_checkpoint_goes_on_with_a_word(capsys):
    assert lab(*WORDS, "run_dir=run") == 0
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert set(checkpoint.pop("made_with")) == {"data", "tokenizer", "model"}
    torch.save(checkpoint, "run/checkpoints/last.ckpt")
    assert lab("resume=run", "trainer.max_steps=4") == 0
    assert "says nothing of its data" in capsys.readouterr().out


def test_F27_no_writers_thread_stays_after_a_run():
    words = [word for word in WORDS if not word.startswith("logger=")]
    counts = []
    for i in range(3):
        assert lab(*words, f"run_dir=run{i}") == 0
        counts.append(threading.active_count())
    assert counts[2] == counts[0], [thread.name for thread in threading.enumerate()]


def test_F19_a_base_that_was_best_at_step_0_is_no_reason_to_stop(tmp_path):
    """kill -9 after a boosted run's base was measured and before its first stage: nothing of a later step is lost."""
    assert lab(*WORDS, "run_dir=run") == 0
    checkpoints = Path("run/checkpoints")
    best = torch.load(checkpoints / "best.ckpt", weights_only=True)
    (checkpoints / "last.ckpt").unlink()
    assert lab("resume=run") == 2
    torch.save(best | {"global_step": 0}, checkpoints / "best.ckpt")
    assert lab("resume=run") == 0
    assert summary("run")["step"] == 2
