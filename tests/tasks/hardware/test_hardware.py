"""hardware=auto on a CPU: what is measured, once; what follows from it; and that a run keeps to what was chosen."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from errors import RequestError
from launcher.cli import main
from launcher.jobs.run_folder import RunFolder
from launcher.lab import SWEEP_RECORD
from models.gpt import GPT
from tasks.hardware import choice, machine, probe
from tasks.hardware.choice import Choice, Short
from tests.tasks.test_runs import ROOT, SHORT, SMALL

SHAPE = (8, 16, 32)


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("NANOLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def tiny() -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=32, seq_len=8, n_layer=2, n_head=2, n_embd=16, dropout=0.1)


def micro(rows=4):
    ids = torch.randint(0, 32, (rows, 9), generator=torch.Generator().manual_seed(0))
    return {"ids": ids[:, :-1], "targets": ids[:, 1:]}


def config(**trainer):
    section = {"precision": "auto", "threads": "auto", "products": "torch", "strategy": "single"}
    section |= {"accelerator": "cpu", "compile": False} | trainer
    return OmegaConf.create(
        {"trainer": section, "data": {"batch_size": 4, "seq_len": 8}, "resume": None, "rerun": None}
    )


# ---- measuring -------------------------------------------------------------------------------------------------------


def test_the_products_of_a_model_are_counted_by_shape_and_the_largest_kept():
    shapes = probe.shapes_of(tiny(), 32)
    assert shapes == {(32, 16, 48): 2, (32, 16, 16): 2, (32, 16, 64): 2, (32, 64, 16): 2, (32, 16, 32): 1}
    assert (32, 16, 32) not in probe.largest(shapes)
    assert probe.largest(Counter({(10**6, 1000, 1000): 3})) == {(200, 1000, 1000): 3}
    assert probe.flops((2, 3, 5)) == 60


def test_a_shape_is_measured_in_the_first_runs_on_a_machine_and_the_best_kept(monkeypatch):
    """A first run beside others' work would have decided for good: two threads looked as slow as one."""
    figures = iter([(100, 110), (90, 200), (95, 190)])  # GFLOP/s of one thread and of two
    monkeypatch.setattr(probe, "thread_counts", lambda: [1, 2])
    monkeypatch.setattr(probe, "bandwidth", lambda: 40.0)
    run: list[tuple[int, int]] = []

    def measured(shape, n):
        if n == 1:
            run.append(next(figures))
        return dict.fromkeys(probe.KINDS, run[-1][n - 1])

    monkeypatch.setattr(probe, "measured", measured)
    told = [probe.probed(Counter([SHAPE]))["gflops"]["8 x 16 x 32"] for _ in range(4)]
    assert len(run) == probe.RUNS == 3
    assert [(of["1"]["bf16"], of["2"]["bf16"]) for of in told] == [(100, 110), (100, 200), (100, 200), (100, 200)]


def test_what_was_measured_is_kept(monkeypatch):
    monkeypatch.setattr(probe, "RUNS", 1)
    first = probe.probed(Counter([SHAPE]))
    speeds = first["gflops"]["8 x 16 x 32"]
    assert set(speeds) == {str(n) for n in probe.thread_counts()}
    assert all(value > 0 for kinds in speeds.values() for value in kinds.values())
    assert {"fp32", "bf16"} <= set(speeds["1"])
    assert first["gb_per_second"] > 0
    with monkeypatch.context() as patch:
        patch.setattr(probe, "measured", None)
        assert probe.probed(Counter([SHAPE])) == first
    assert set(probe.probed(Counter([SHAPE, (4, 16, 32)]))["gflops"]) == {"8 x 16 x 32", "4 x 16 x 32"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"gflops": 3}',
        '{"gflops": {}}',
        '{"gflops": {}, "gb_per_second": 1, "runs": {"8 x 16 x 32": "a"}}',
    ],
)
def test_a_damaged_file_is_written_anew(text):
    file = machine.cache_file()
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    assert "8 x 16 x 32" in probe.probed(Counter([SHAPE]))["gflops"]
    assert "8 x 16 x 32" in json.loads(file.read_text(encoding="utf-8"))["gflops"]


@pytest.mark.parametrize("of", [7, {"1": 5}, {"1": {"fp32": "a", "onednn": None, "bf16": 3}}, {"9": {}}, {}, [1], None])
def test_figures_that_are_none_are_measured_again(of):
    """A file of the user's cache folder, changed or cut by whatever it was; it says that the shape is known."""
    file = machine.cache_file()
    file.parent.mkdir(parents=True)
    damaged = {"gflops": {"8 x 16 x 32": of}, "gb_per_second": 1, "runs": {"8 x 16 x 32": probe.RUNS}}
    file.write_text(json.dumps(damaged), encoding="utf-8")
    speeds = probe.probed(Counter([SHAPE]))["gflops"]["8 x 16 x 32"]
    assert set(speeds) == {str(n) for n in probe.thread_counts()}
    assert all(value > 0 for kinds in speeds.values() for value in kinds.values())


@pytest.mark.parametrize("kept", [4, [], {}, None, {"KEY": 3}, {"KEY": ["a", 1]}, {"KEY": [1]}])
def test_a_short_run_that_is_none_is_made_again(kept, monkeypatch):
    monkeypatch.setattr(choice, "short_run", lambda *_: Short(2.0, 0.001))
    known: dict = {}
    choice.kept_short_run(known, tiny(), micro(), choice.BF16)
    [key] = known["short_runs"]
    damaged = {"short_runs": {key: kept["KEY"]} if isinstance(kept, dict) and "KEY" in kept else kept}
    assert choice.kept_short_run(damaged, tiny(), micro(), choice.BF16) == Short(2.0, 0.001)


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.delenv("NANOLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert machine.cache_folder() == tmp_path / "file" / "nanolab"
    assert "8 x 16 x 32" in probe.probed(Counter([SHAPE]))["gflops"]


@pytest.mark.parametrize(("seconds", "measured_rows"), [(0.02, set()), (0.0, {64})], ids=["hopeless", "fast"])
def test_bf16_is_tried_without_the_casts_and_measured_with_them_unless_hopeless(monkeypatch, seconds, measured_rows):
    """A trial with the casts found AMX, ten times as fast, hopeless."""
    tried, measured = set(), set()

    def linear(x, weight):
        if x.dtype == torch.bfloat16:
            tried.add(len(x))
        time.sleep(seconds if x.dtype == torch.bfloat16 else 0.001)
        return x

    def with_casts(x, weight):
        measured.add(len(x))
        time.sleep(0.02)
        return x

    monkeypatch.setattr(probe.F, "linear", linear)
    monkeypatch.setattr(probe, "cast_linear", with_casts)
    speeds = probe.measured((64, 256, 1024), 1)
    assert (measured, max(tried)) == (measured_rows, int(probe.TRIAL_FLOPS / (2 * 256 * 1024)))
    assert speeds["bf16"] < speeds["fp32"]


# ---- choosing --------------------------------------------------------------------------------------------------------


def known(fp32, bf16):
    """Of thread counts: {1: ..., 2: ...}"""
    return {"gflops": {"8 x 16 x 32": {str(n): {"fp32": fp32[n], "bf16": bf16[n]} for n in fp32}}}


def test_each_precision_is_told_with_its_own_best_threads(monkeypatch):
    """8,192 FLOPs, three times: 24,576 / 50e9 s in fp32 on two threads, / 150e9 s in bf16 on one."""
    monkeypatch.setattr(probe, "thread_counts", lambda: [1, 2])
    shapes = Counter({SHAPE: 3})
    found = known({1: 30.0, 2: 50.0}, {1: 150.0, 2: 100.0})
    assert choice.product_seconds(found, shapes, "fp32", 2) == pytest.approx(24_576 / 50e9)
    best = {"fp32": 2, "onednn": 2, "bf16": 1}  # oneDNN is not there: as fast as it would be without
    assert choice.products(found, shapes) == (pytest.approx(3.0), 1.0, best)
    for speeds, fast in zip(found["gflops"]["8 x 16 x 32"].values(), (90.0, 60.0), strict=True):
        speeds["onednn"] = fast
    assert choice.products(found, shapes)[1:] == (pytest.approx(1.8), best | {"onednn": 1})
    assert choice.fewest({1: 1.0, 2: 1.05}) == 2  # as good as equal
    assert choice.fewest({1: 1.0, 2: 1.2}) == 1


@pytest.mark.parametrize(
    ("gain", "short", "precision"),
    [
        (1.4, "not asked", "32-true"),
        (7.0, Short(2.0, 0.001), "bf16-mixed"),
        (7.0, Short(1.2, 0.001), "32-true"),
        (7.0, Short(3.0, 0.02), "32-true"),
        (7.0, None, "32-true"),
    ],
)
def test_bf16_must_be_faster_at_products_and_in_a_short_run_whose_loss_agrees(gain, short, precision):
    def run():
        assert short != "not asked"
        return short

    chosen, why = choice.precision_for(gain, run)
    assert chosen == precision
    assert f"{gain} x as fast" in why


@pytest.mark.parametrize(
    ("gain", "short", "library"),
    [
        (1.05, "not asked", "torch"),
        (1.3, Short(1.2, 0.0001), "onednn"),
        (1.3, Short(1.0, 0.0001), "torch"),
        (1.3, Short(1.2, 0.02), "torch"),
        (1.3, None, "torch"),
    ],
)
def test_onednn_must_be_faster_at_products_and_in_a_short_run(gain, short, library, monkeypatch):
    def run():
        assert short != "not asked"
        return short

    monkeypatch.setattr(choice.libraries, "is_there", lambda: True)
    assert choice.library_for(gain, run)[0] == library
    monkeypatch.setattr(choice.libraries, "is_there", lambda: False)
    assert choice.library_for(gain, lambda: pytest.fail("tried"))[0] == "torch"


def test_products_are_chosen_in_fp32_alone(monkeypatch):
    faster = {n: {"fp32": 10.0, "onednn": 15.0, "bf16": 20.0} for n in ("1", "2")}
    monkeypatch.setattr(probe, "thread_counts", lambda: [1, 2])
    monkeypatch.setattr(probe, "probed", lambda shapes: {"gflops": {probe.name(shape): faster for shape in shapes}})
    monkeypatch.setattr(choice, "kept_short_run", lambda *of: Short(1.3 if of[-1] == choice.ONEDNN else bf16, 0.0))
    bf16, words = 1.0, lambda **typed: choice.choose(tiny(), config(products="auto", **typed), micro)
    assert words().products == "onednn"
    assert "short run 1.30 x: trainer.precision=32-true trainer.products=onednn" in words().words
    assert words(compile=True).products == "torch"
    assert words(precision="bf16-mixed").products == "torch"
    bf16 = 2.0
    assert words().products == "torch"
    assert choice.choose(tiny(), config(products="onednn", precision="32-true"), micro).products == "onednn"


def test_a_short_run_by_onednn_learns_the_same(monkeypatch):
    """Both libraries may add in the same order, to the last bit: what oneDNN was asked for is counted."""
    if not choice.libraries.is_there():
        pytest.skip("this PyTorch has no oneDNN")
    torch.manual_seed(0)
    model, asked, product = (
        GPT(vocab_size=80, seq_len=8, n_layer=2, n_head=2, n_embd=64),
        [],
        choice.libraries.by_onednn,
    )
    monkeypatch.setattr(choice.libraries, "by_onednn", lambda *given: (asked.append(1), product(*given))[1])
    short = choice.short_run(model, micro(rows=16), choice.ONEDNN)
    layers = 2 * 2 * 4  # of two blocks, forward and backward
    assert len(asked) == choice.UPDATES * (layers + 1)  # and the head's
    assert short.off < 1e-4
    assert all(type(layer).__name__ != "Product" for layer in model.modules())
    assert choice.libraries.chosen() == "torch"


@pytest.mark.parametrize("typed", [{"precision": "bf16-mixed"}, {"compile": True}, {"accelerator": "gpu"}])
def test_onednn_where_there_is_one_way_to_multiply_is_refused(typed, monkeypatch):
    monkeypatch.setattr(choice, "resolve_accelerator", lambda name: name)
    monkeypatch.setattr(choice.libraries, "is_there", lambda: True)
    section = config(precision="32-true", products="onednn").trainer
    choice.check_onednn(section)
    with pytest.raises(RequestError, match=r"Type trainer.products=torch"):
        choice.check_onednn(OmegaConf.merge(section, typed))
    monkeypatch.setattr(choice.libraries, "is_there", lambda: False)
    with pytest.raises(RequestError, match="whose PyTorch has oneDNN"):
        choice.check_onednn(section)


def test_onednn_typed_is_fp32(monkeypatch):
    """In a sweep, where precision stays open, too."""
    monkeypatch.setattr(choice.libraries, "is_there", lambda: True)
    choice.check_onednn(config(precision="auto", products="onednn").trainer)
    monkeypatch.setattr(probe, "thread_counts", lambda: [1, 2])
    monkeypatch.setattr(probe, "probed", lambda shapes: everything(shapes))
    monkeypatch.setattr(choice, "kept_short_run", lambda *_: pytest.fail("tried"))
    found = choice.choose(tiny(), config(products="onednn"), micro)
    assert found[:3] == ("32-true", 2, "onednn")
    assert found.words.endswith("trainer.precision=32-true trainer.threads=2")


def test_what_is_typed_stays(monkeypatch):
    monkeypatch.setattr(probe, "thread_counts", lambda: [1, 2])
    monkeypatch.setattr(probe, "probed", lambda shapes: everything(shapes))
    monkeypatch.setattr(choice, "kept_short_run", lambda *_: Short(3.0, 0.0))
    words = lambda **typed: choice.choose(tiny(), config(**typed), micro)  # noqa: E731
    assert words()[:2] == ("bf16-mixed", 1)
    assert words(precision="32-true")[:2] == ("32-true", 2)
    assert words(threads=7)[:2] == ("bf16-mixed", 7)
    assert "trainer.precision" not in words(precision="32-true").words
    assert words().words.endswith("trainer.precision=bf16-mixed trainer.threads=1")


def everything(shapes):
    speeds = {"1": {"fp32": 10.0, "bf16": 90.0}, "2": {"fp32": 20.0, "bf16": 80.0}}
    return {"gflops": {probe.name(shape): speeds for shape in shapes}}


def test_a_short_run_leaves_the_model_and_the_dice_alone_and_is_kept():
    model, facts = tiny(), {}
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.random.get_rng_state()
    short = choice.kept_short_run(facts, model, micro(), choice.BF16)
    assert short is not None
    assert 0 <= short.off < 0.05
    assert short.gain > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    (key,) = facts["short_runs"]
    facts["short_runs"][key] = [2.0, 0.5]
    assert choice.kept_short_run(facts, tiny(), micro(), choice.BF16) == Short(2.0, 0.5)
    assert choice.kept_short_run({}, tiny().requires_grad_(False), micro(), choice.BF16) is None
    assert choice.kept_short_run({}, tiny(), {"chosen": micro()["ids"]}, choice.BF16) is None


def test_a_short_run_tells_precisions_apart(monkeypatch):
    """Were both in fp32, or compared before they learn, nothing would be off."""
    assert choice.short_run(tiny(), micro(), choice.BF16).off > 0
    losses, _ = choice.tried(tiny(), micro(), choice.PLAIN)
    assert losses[-1] < losses[0]


def test_a_choice_is_a_lone_run_s_on_a_cpu(tmp_path):
    run = RunFolder(tmp_path / "sweep" / "0")
    assert choice.is_open(config(), run)
    assert not choice.is_open(config(precision="32-true", threads=None), run)
    assert not choice.is_open(config(strategy="ddp"), run)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / SWEEP_RECORD).write_text("{}", encoding="utf-8")
    assert not choice.is_open(config(), run)  # arms of a comparison differ by what was typed alone


# ---- a run -----------------------------------------------------------------------------------------------------------


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def test_a_run_keeps_to_what_was_chosen_also_elsewhere(monkeypatch, capsys):
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    words = [word for word in SHORT if not word.startswith("hardware")] + ["data=text", "data.path=text.txt"]
    monkeypatch.setattr(choice, "choose", lambda *_: Choice("bf16-mixed", 2, "torch", "chosen here"))
    monkeypatch.setattr(choice, "resolve_accelerator", lambda _: "cpu")
    assert lab(*SMALL, *words, "run_dir=run", "trainer.accelerator=cpu") == 0
    assert "hardware chosen here" in capsys.readouterr().out
    saved = OmegaConf.load("run/.hydra/config.yaml").trainer
    assert (saved.precision, saved.threads) == ("bf16-mixed", 2)
    facts = json.loads(Path("run/hardware.json").read_text(encoding="utf-8"))
    assert facts == {"processor": machine.processor(), "precision": "bf16-mixed", "threads": 2, "products": "torch"}
    assert json.loads(Path("run/summary.json").read_text(encoding="utf-8"))["hardware"] == facts

    before = torch.get_num_threads()
    used = []
    settle = choice.torch.set_num_threads
    monkeypatch.setattr(choice.torch, "set_num_threads", lambda n: used.append(n) or settle(n))
    monkeypatch.setattr(choice, "choose", None)  # nobody asks again
    monkeypatch.setattr(machine, "processor", lambda: "another one")
    assert lab("resume=run", "trainer.max_steps=3") == 0
    said = capsys.readouterr().out
    assert (
        f"bf16-mixed, 2 thread(s), torch's products, as it was chosen on {facts['processor']}; this is another one"
        in said
    )
    assert used[:2] == [2, before]
    assert lab("rerun=run", "run_dir=again") == 0
    assert "as it was chosen on" in capsys.readouterr().out
    assert OmegaConf.load("again/.hydra/config.yaml").trainer.precision == "bf16-mixed"


def test_a_run_multiplies_by_what_was_chosen_and_gives_it_back(monkeypatch):
    if not choice.libraries.is_there():
        pytest.skip("this PyTorch has no oneDNN")
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    used, plain = [], choice.libraries.Linear.forward
    monkeypatch.setattr(
        choice.libraries.Linear, "forward", lambda *of: used.append(choice.libraries.chosen()) or plain(*of)
    )
    words = [*SMALL, *SHORT, "data=text", "data.path=text.txt"]
    assert lab(*words, "run_dir=plain") == 0
    assert used == []
    assert lab(*words, "trainer.products=onednn", "run_dir=run") == 0
    assert set(used) == {"onednn"}
    assert choice.libraries.chosen() == "torch"
    assert lab(*words, "trainer.products=onednn", "trainer.precision=bf16-mixed", "run_dir=refused") != 0
    monkeypatch.setattr(choice, "check_onednn", lambda _: pytest.fail("it goes on elsewhere by what is there"))
    assert lab("resume=run", "trainer.max_steps=3") == 0


def test_check_shows_what_was_measured(capsys):
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    words = ["task=check", *SMALL, "data=text", "data.path=text.txt", "trainer.accelerator=cpu"]
    assert lab(*words) == 0
    said = capsys.readouterr().out
    assert f"{machine.processor()}, reads " in said
    assert "32 x 16 x 64" in said
    assert "would choose" in said
    assert lab(*words, "hardware=cpu") == 0
    assert "would choose" not in capsys.readouterr().out
