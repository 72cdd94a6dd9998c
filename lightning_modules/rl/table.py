"""Rows of a rollout as one reads them: of some groups the best and the worst answer, score by part."""

from typing import Any

from torch import Tensor

from batch import Batch
from rewards.base import Answers

GROUPS = 4  # of a rollout


def shown_rows(
    answers: Answers, parts: dict[str, Tensor], rollout: Batch, *, group: int, step: int
) -> list[dict[str, Any]]:
    """JSON types; of groups of one answer each the answer itself."""
    scores, advantages = rollout["scores"].tolist(), rollout["advantages"].sum(1).tolist()
    tokens = (rollout["targets"] >= 0).sum(1)
    kl = None
    if "ref" in rollout:
        ratio_NT = rollout.get("old", rollout["generated"]) - rollout["ref"]
        kl = ratio_NT.where(rollout["targets"] >= 0, 0.0).sum(1).tolist()
    found = []
    for first in range(0, min(GROUPS * group, len(answers)), group):
        members = sorted(range(first, first + group), key=lambda row: -scores[row])
        for row in dict.fromkeys((members[0], members[-1])):
            facts = {
                "step": step,
                "prompt": answers.asked[row],
                "answer": answers.texts[row],
                "expected": answers.expected[row],
                "score": scores[row],
                "parts": {name: values_N[row].item() for name, values_N in parts.items()},
                "advantage": advantages[row] / max(1, int(tokens[row])),
                "tokens": int(tokens[row]),
                "cut_off": not answers.stopped[row],
            }
            facts |= {} if kl is None else {"kl": kl[row]}
            found.append(facts | ({} if answers.right is None else {"right": bool(answers.right[row])}))
    return found
