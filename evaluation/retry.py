"""Answer again what a judge rejects: greedy first, then drawn, from the start or from the last good line.

`start`: an answer anew. With the same draws it gives what picking the best of all of them gives, as long as nothing is
accepted; what it saves is the tokens that came after an answer was accepted.
`line`: the calculator says where the first fault is; what stands before it is kept, and the answer goes on from there.
The best scored attempt is the answer, of equals the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.checking import check
from evaluation.rerank import Answer, Judge

# (questions by number, ids kept of each one's answer, round) -> what follows, at temperature 0 in round 0
Write = Callable[[Sequence[int], Sequence[Sequence[int]], int], list[Answer]]


@dataclass
class Attempts:
    """All answers to one question. `new`: tokens that each took; `kept_lines`: that each began with."""

    answers: list[Answer] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    kept_lines: list[int] = field(default_factory=list)

    @property
    def best(self) -> int:
        return int(np.argmax(self.scores))


def retried(
    write: Write,
    judge: Judge,
    n: int,
    *,
    retries: int,
    accept: float,
    from_line: bool,
    decode: Callable[[Sequence[int]], str],
) -> list[Attempts]:
    """Attempts at n questions: at most 1 + `retries` each, none after one that is scored `accept` or more."""
    found = [Attempts() for _ in range(n)]
    waiting = list(range(n))
    for turn in range(1 + retries):
        if not waiting:
            break
        kept = [kept_ids(found[i].answers[-1], decode) if from_line and turn else [] for i in waiting]
        answers = write(waiting, kept, turn)
        for i, ids, answer, score in zip(waiting, kept, answers, judge.scores(answers).tolist(), strict=True):
            attempts = found[i]
            attempts.answers.append(answer)
            attempts.scores.append(score)
            attempts.new.append(answer.length - len(ids))
            attempts.kept_lines.append(decode(ids).count("\n"))
        waiting = [i for i in waiting if found[i].scores[-1] < accept]
    return found


def kept_ids(answer: Answer, decode: Callable[[Sequence[int]], str]) -> list[int]:
    """The first ids of an answer that say its good lines and nothing of what follows; none where no line is good.

    A token may hold the line break and what comes after it: then the line is not kept, since its ids cannot be.
    """
    text = decode(answer.ids)
    good = text[: check(text, ended=answer.stopped).kept]
    ids = list(answer.ids)
    while ids and not ((said := decode(ids)).endswith("\n") and good.startswith(said)):
        ids.pop()
    return ids
