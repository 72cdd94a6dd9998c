"""The course of a boosted run, update by update, without a network or a trainer (needs of boosting: design 3, 6)."""

import copy
import math

import pytest
import torch

from errors import RequestError
from models.boosting.machine import StageMachine, table
from models.boosting.plan import Plan

STAGES, SIZE = 3, 4


def machine(**plan) -> StageMachine:
    found = StageMachine(Plan(**{"stages": STAGES, "steps_per_stage": SIZE} | plan))
    found.open({"dev/loss": 3.0})
    return found


def run(found: StageMachine, kept=(), *, start=0, stop=None, dev=lambda step: 1.0, after=0.5) -> list[str]:
    """Plays a run as the module does. kept: of each stage, whether it helps. dev: loss after so many updates.

    Returns what was done: "0" an update of stage 0, "look", "close", "start", "c" a corrective update, "end".
    """
    done, step = [], start
    while step < found.end and step != stop:
        turn = found.turn(step)
        if turn.corrective and turn.first:
            found.start_correcting(1.0, weights(-1))
            done.append("start")
        done.append("c" if turn.corrective else str(turn.stage))
        step += 1
        if found.plan.average and not turn.corrective:
            found.average(turn.stage, weights(step))
        if turn.looks:
            found.look(turn.stage, loss=dev(step), step=step, weights=lambda step=step: weights(step))
            done.append("look")
        found.seconds += 1.0
        if turn.closes:
            done += [] if found.mean_weights is None else [f"mean {found.mean_weights['w'].item():.6f}"]
            keep = kept[turn.stage] if turn.stage < len(kept) else True
            found.close({"eta": 0.5 if keep else 0.0, "kept": keep, "dev/loss": 2.0}, parameters=10)
            done.append("close")
        elif turn.last:
            found.end_correcting(after)
            done.append("end")
    return done


def weights(step: int) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([float(step)])}


def test_stages_come_one_after_the_other_and_each_is_closed():
    found = machine()
    assert run(found) == [*"0000", "close", *"1111", "close", *"2222", "close"]
    assert found.end == found.plan.total_steps == 12
    assert [record["stage"] for record in found.records] == [0, 1, 2, 3]
    assert [record.get("seconds") for record in found.records] == [None, 4.0, 4.0, 4.0]
    assert found.summary() == {"stages": found.records}


def test_an_update_knows_its_place_for_the_schedule():
    found = machine(corrective_steps=2)
    assert [(t.within, t.length) for t in map(found.turn, range(5))] == [(0, 4), (1, 4), (2, 4), (3, 4), (0, 4)]
    assert [found.turn(step).last for step in range(3, 6)] == [True, False, False]
    behind = found.turn(12)
    assert (behind.stage, behind.within, behind.length, behind.corrective) == (STAGES, 0, 2, True)
    assert found.turn(13).last
    assert not found.turn(13).closes


@pytest.mark.parametrize(
    ("patience", "kept", "trained"),
    [
        (1, [True, False], 2),
        (1, [False], 1),
        (2, [False, True, False], 3),
        (2, [True, False, False], 3),
        (2, [False, False], 2),
        (3, [False, False, True], 3),
    ],
)
def test_gbft15_dropped_stages_in_a_row_end_the_run_once_patience_is_out(patience, kept, trained):
    found = machine(patience=patience, stages=4)
    done = run(found, [*kept, True, True])
    assert done.count("close") == (trained if found.stopped else 4)
    assert found.stopped == (len(kept) >= patience and not any(kept[-patience:]))


def test_gbft15_a_run_that_is_resumed_behind_a_dropped_stage_does_nothing():
    found = machine()
    run(found, [True, False])
    again = machine(stages=5)
    again.load_state_dict(copy.deepcopy(found.state_dict()), stages=STAGES)
    assert again.stopped
    assert run(again, start=8) == []
    assert not again.may_grow


@pytest.mark.parametrize(("kept", "start"), [([True, True, True], 12), ([True, False], 8), ([True, True, False], 12)])
def test_corrective_steps_follow_the_last_stage_sooner_where_one_was_dropped(kept, start):
    found = machine(corrective_steps=2)
    done = run(found, kept)
    assert done[done.index("start") :] == ["start", "c", "c", "end"]
    assert done.index("start") == start + len(kept)  # updates and closings
    assert found.summary()["corrective"] == {"dev/before": 1.0, "dev/after": 0.5, "kept": True}
    assert not found.may_grow


@pytest.mark.parametrize(("patience", "kept"), [(1, [False]), (3, [False, False, False]), (4, [False, False, False])])
def test_corrective_steps_are_left_out_where_no_stage_was_kept(patience, kept):
    """Also where patience was longer than the run: there is nothing whose gradient could be taken."""
    found = machine(corrective_steps=2, patience=patience)
    assert not found.nothing_to_correct
    assert "c" not in run(found, kept)
    assert found.nothing_to_correct
    assert found.corrective is None


@pytest.mark.parametrize(("before", "after", "kept"), [(1.0, 0.9, True), (1.0, 1.0, False), (1.0, math.nan, False),
                                                      (math.nan, math.nan, True)])  # fmt: skip
def test_corrective_steps_keep_the_better_of_before_and_after(before, after, kept):
    """Without a dev part both are NaN, and what was trained last stays."""
    found = machine(corrective_steps=2)
    found.start_correcting(before, weights(7))
    back = found.end_correcting(after)
    assert (back is None) == kept
    assert kept or back["w"].item() == 7.0
    assert found.corrective["kept"] == kept


def test_early_stopping_keeps_the_learner_that_was_best_in_its_stage():
    """The look at the last update counts too; the best of one stage is no mark for the next."""
    losses = {2: 0.3, 3: 0.2, 4: 0.25, 6: 0.9, 8: 0.8}
    found = machine(best_every=3)
    done = run(found, stop=4, dev=losses.__getitem__)
    assert done == [*"000", "look", "0", "look", "close"]
    assert found.records[1]["best_step"] == 3
    assert found.best_weights is None
    run(found, start=4, stop=7, dev=losses.__getitem__)
    assert found.best_weights["w"].item() == 6.0
    run(found, start=7, stop=8, dev=losses.__getitem__)
    assert found.records[2]["best_step"] == 8


def test_the_mean_of_a_learner_is_over_all_its_updates_until_the_decay_reaches_no_further():
    found = machine(average=0.6)
    for step, mean in ((1, 1.0), (2, 1.5), (3, 0.6 * 1.5 + 0.4 * 3)):  # decays of 0, 1/2, and 0.6 below 2/3
        found.average(0, weights(step))
        assert found.mean_weights["w"].item() == pytest.approx(mean)
    found.average(1, weights(8))  # another learner's
    assert found.mean_weights["w"].item() == 8.0
    found.close({"eta": 0.5, "kept": True}, parameters=1)
    assert found.mean_weights is None


def test_stages_of_an_earlier_run_stay_and_its_own_come_behind():
    found = StageMachine(Plan(stages=STAGES, steps_per_stage=SIZE), first=1)
    found.open({}, earlier=[{"eta": 0.0, "kept": False, "parameters": 7}])
    assert not found.stopped  # what another run dropped does not end this one
    assert run(found, stop=3) == [*"111"]
    later = StageMachine(found.plan)  # of a resumed run, which knows nothing yet
    later.load_state_dict(copy.deepcopy(found.state_dict()), stages=STAGES)
    assert run(later, [True, True, False], start=3) == ["1", "close", *"2222", "close"]
    assert later.end == 8
    assert [r["stage"] for r in later.records] == [0, 1, 2, 3]
    assert [r.get("earlier") for r in later.records] == [None, True, None, None]
    assert later.stopped
    assert found.plan.run_length(9000, first=1) == 8


def test_without_best_every_nobody_looks():
    found = machine()
    assert "look" not in run(found)
    assert all("best_step" not in record for record in found.records)


def test_steps_that_were_fitted_anew_are_written_to_the_earlier_records():
    found = machine()
    run(found, stop=8)
    found.close({"eta": 0.7, "kept": True}, parameters=10, etas=[0.1, 0.2])
    assert [record["eta"] for record in found.records] == [None, 0.1, 0.2, 0.7]


def test_a_validation_belongs_to_the_stage_closed_last_and_the_first_one_counts():
    found = machine()
    found.validated({"val/loss": 3.0})
    run(found, stop=6)
    found.validated({"val/loss": 2.0})
    found.validated({"val/loss": 1.0})
    assert [record["val/loss"] for record in found.records] == [3.0, 2.0]
    StageMachine(Plan()).validated({"val/loss": 3.0})  # before anything was opened: of nobody


@pytest.mark.parametrize(
    "plan", [{}, {"best_every": 3}, {"corrective_steps": 3}, {"patience": 2}, {"average": 0.7}], ids="-".join
)
@pytest.mark.parametrize("kept", [(), (True, False), (False, False)])
def test_N17_gbft10_stopped_at_any_update_it_goes_on_as_if_it_had_not(plan, kept):
    straight = machine(**plan)
    whole = run(straight, kept)
    for stop in range(1, straight.end + 1):
        first = machine(**plan)
        done = run(first, kept, stop=stop)
        second = StageMachine(first.plan)
        second.load_state_dict(copy.deepcopy(first.state_dict()), stages=STAGES)
        assert done + run(second, kept, start=stop) == whole
        assert str(second.state_dict()) == str(straight.state_dict())


def test_the_keys_of_a_checkpoint_stay():
    """Checkpoints of earlier versions are read by them."""
    assert {"records", "best", "before", "seconds", "corrective"} < set(machine().state_dict())


def test_stages_are_added_to_a_finished_run_but_not_behind_corrective_steps():
    found = machine()
    run(found)
    assert found.may_grow
    more = StageMachine(Plan(stages=4, steps_per_stage=SIZE))
    more.load_state_dict(found.state_dict(), stages=STAGES)
    assert run(more, start=12) == [*"3333", "close"]
    corrected = machine(corrective_steps=2)
    run(corrected)
    with pytest.raises(RequestError, match=r"gbft.stages=4: that run's 3 stages .* no stage can follow corrective"):
        StageMachine(Plan(stages=4)).load_state_dict(corrected.state_dict(), stages=STAGES)


def test_the_table_says_what_was_dropped():
    found = machine()
    run(found, [True, False])
    lines = table(found.records).splitlines()
    assert [line.split()[:2] for line in lines] == [["stage", "eta"], ["0", "3.0000"], ["1", "0.500"], ["2", "dropped"]]
