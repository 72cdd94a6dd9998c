"""What must hold before the first update: most silent faults of online RL show here, in numbers that are known.

Each check gives words, or None where all is well. `objective.checks=warn` prints them and goes on.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor

from batch import Batch
from errors import RequestError
from evaluation.answers import READERS
from lightning_modules.rl.ranks import of_all_ranks
from models.boosting.ensemble import Boosted

Mode = Literal["stop", "warn"]
LIMIT = {"gap": 1e-3, "gap_half": 5e-2, "ratio": 1e-4, "ratio_half": 5e-2, "kl": 1e-4}


def complain(words: str | None, mode: Mode, *, first_rank: bool = True) -> None:
    """Raises RequestError with `words`, or prints them."""
    if words is None:
        return
    if mode == "stop":
        raise RequestError(f"{words}\nNothing was trained. objective.checks=warn goes on all the same.")
    if first_rank:
        print(f"warning: {words}", flush=True)


def of_first_rollout(rollout: Batch, max_new_tokens: int, *, half: bool, world_size: int) -> Iterator[str | None]:
    """Words for each fault that a rollout from the start's weights shows, None for each that it has not."""
    mask_NT = mask_of(rollout)
    stopped_N, scores_N, advantages_N = (
        of_all_ranks(values, world_size=world_size)
        for values in (rollout["stopped"], rollout["scores"], rollout["advantages"].abs().sum(1))
    )
    yield some_end(stopped_N, max_new_tokens)
    yield sampled_as_trained(rollout["generated"], rollout["old"], mask_NT, half=half)
    yield reference_is_start(rollout["old"] - rollout["ref"], mask_NT) if "ref" in rollout else None
    yield something_to_prefer(scores_N, advantages_N)


def sampled_as_trained(generated_NT: Tensor, trainer_NT: Tensor, mask_NT: Tensor, *, half: bool) -> str | None:
    """Generation and training must agree on the probability of what was drawn (N49, N50, N55, N56)."""
    gap = largest((generated_NT - trainer_NT).abs(), mask_NT)
    limit = LIMIT["gap_half" if half else "gap"]
    if gap <= limit:
        return None
    return (
        f"the log-probabilities of what was just generated and those that training computes differ by up to {gap:.3g} "
        f"(at most {limit:g} is rounding).\nDropout, another temperature, ids that are never generated, or a cache "
        "that is not exact make two policies of one. Try model.dropout=0, adapter.dropout=0, objective.temperature=1."
    )


def nothing_moved(log_ratio_NT: Tensor, mask_NT: Tensor, *, half: bool) -> str | None:
    """The ratio of new to old probability is 1 until something was learned (N55, N56).

    Rounded products differ with the rows beside a row: the update's are other ones than the reading's.
    """
    off = largest((log_ratio_NT.exp() - 1).abs(), mask_NT)
    if off <= LIMIT["ratio_half" if half else "ratio"]:
        return None
    return f"before any update the ratio of new to old probabilities is off 1 by up to {off:.3g}: is dropout on?"


def reference_is_start(log_ratio_NT: Tensor, mask_NT: Tensor) -> str | None:
    """The reference is the policy as the run starts, so their KL is 0 (N54)."""
    off = largest(log_ratio_NT.abs(), mask_NT)
    if off <= LIMIT["kl"]:
        return None
    return (
        f"before any update the policy's log-probabilities are off the reference's by up to {off:.3g}: the reference "
        "is not the model that the run starts from."
    )


def some_end(stopped_N: Tensor, max_new_tokens: int) -> str | None:
    """A cap that cuts every answer leaves nothing to tell them apart by (N48)."""
    if bool(stopped_N.any()):
        return None
    return (
        f"none of the first {len(stopped_N)} answers ends by itself within objective.max_new_tokens={max_new_tokens}.\n"
        f"Type objective.max_new_tokens={2 * max_new_tokens}, or start from a model that has learned to end an answer "
        "(objective=sft)."
    )


def something_to_prefer(scores_PG: Tensor, advantages: Tensor) -> str | None:
    """Equal scores everywhere teach nothing."""
    if bool((advantages != 0).any()):
        return None
    return (
        f"all {scores_PG.numel()} answers of the first rollout are worth the same ({scores_PG.flatten()[0].item():g}): "
        "there is nothing to learn from.\n"
        "Try easier prompts, a start that is right at times, a larger objective.group, or another reward."
    )


def readable(expected: list[str], kind: str) -> None:
    """Raises RequestError for expected answers that the rule cannot read: no answer could ever be right."""
    unread = [text for text in expected if READERS[kind](text) is None]
    if unread:
        raise RequestError(
            f"{len(unread)} of the first {len(expected)} expected answers cannot be read as data.answers={kind}, e.g. "
            f"{unread[0][:120]!r}.\nType data.answers=text (or letter, number), or mend the data."
        )


def largest(values_NT: Tensor, mask_NT: Tensor) -> float:
    """Of the actions; NaN is larger than anything."""
    values = values_NT[mask_NT]
    return math.inf if bool(values.isnan().any()) else float(values.max()) if values.numel() else 0.0


def check_request(module: Any, *, data: Any, model: Any, strategy: str, adapter: Any) -> None:
    """Raises RequestError for settings that cannot work together, before anything is computed."""
    m, wrong = module, None
    if m.group * m.prompts < 1 or m.epochs < 1 or m.minibatches < 1 or m.rows < 1 or m.max_new_tokens < 1:
        wrong = "objective.prompts, group, epochs, minibatches, rows and max_new_tokens: expected at least 1 each."
    elif m.prompts % (m.minibatches * data.world_size):
        per = m.minibatches * data.world_size
        wrong = (
            f"objective.prompts={m.prompts} cannot be shared by {data.world_size} rank(s) in objective.minibatches="
            f"{m.minibatches}: expected a multiple of {per}.\nType objective.prompts={-(-m.prompts // per) * per}"
        )
    elif not m.temperature > 0 or not math.isfinite(m.temperature):
        wrong = (
            f"objective.temperature={m.temperature}: expected above 0; the likeliest answer alone tells nothing about "
            "others. Type objective.temperature=1"
        )
    elif m.temperature != 1 and model.softcap is not None:
        wrong = "objective.temperature must be 1 with a model whose logits are capped (softcap)."
    elif not (0 <= m.bounds.low < 1 and m.bounds.high >= 0 and m.kl >= 0):
        wrong = "objective.clip_low: expected 0 to 1; objective.clip_high and objective.kl: 0 or more."
    elif strategy == "fsdp" or m.compile_model:
        wrong = "online RL generates with whole, uncompiled weights: type hardware=ddp, trainer.compile=false."
    elif data.accumulate != 1:
        wrong = (
            "trainer.accumulate and trainer.tokens_per_step mean nothing here: an update is objective.prompts x group "
            "rows.\nobjective.rows says how many of them a forward pass takes (memory, not the update)."
        )
    elif adapter and adapter.get("dropout", 0):
        wrong = f"adapter.dropout={adapter['dropout']} makes another policy at each pass (N55). Type adapter.dropout=0"
    elif isinstance(model, Boosted):
        wrong = (
            "a boosted policy is not trained as it is: export it (gbft=mergeable, task=export), then init_from=FOLDER."
        )
    if wrong:
        raise RequestError(wrong)


def check_room(longest_prompt: int, max_new_tokens: int, seq_len: int) -> str | None:
    """The window must not slide: what was forgotten would be another state."""
    if longest_prompt + max_new_tokens <= seq_len:
        return None
    room = max(1, seq_len - longest_prompt)
    return (
        f"a prompt of {longest_prompt} tokens and objective.max_new_tokens={max_new_tokens} are more than the model's "
        f"context of {seq_len}.\nType objective.max_new_tokens={room}, or a longer model.seq_len."
    )


def mask_of(batch: Batch) -> Tensor:
    """(N, T) bool: True at actions."""
    return batch["targets"] >= 0
