"""make fuzz: command lines, files, folders and signals made to hurt, each in a forked process; what is not as promised
is said, with the words that show it again.

FUZZ_SEED=1 FUZZ_MINUTES=10 FUZZ_CASES=100000 make fuzz; FUZZ_CASE=17 does one case alone and shows all it says;
FUZZ_KIND=served only those of that kind; FUZZ_YARD=FOLDER keeps what they start from, for further runs of one tree.
"""

import json
import os
import resource
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

import cases
import forked
import judging
import kinds
import yard

TOLD = ("program", "screen", "environment", "limits", "typed")


def main() -> int:
    end = time.monotonic() + 60 * float(os.environ.get("FUZZ_MINUTES", "10"))
    seed = int(os.environ.get("FUZZ_SEED", "0"))
    last, only = int(os.environ.get("FUZZ_CASES", "1000000")), os.environ.get("FUZZ_CASE")
    forked.import_everything()
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))  # a TemporaryDirectory would go as the first case ends
    try:
        _lay_out(place)
        if only is not None:
            return _one(seed, int(only), place)
        for words in yard.RUNS.values():  # so that sources are read once, and not in each process
            cases.keys_of(words)
        workers = min(2, os.cpu_count() or 1)
        children = [_worker(range(first, last, workers), seed, place, end) for first in range(workers)]
        for child in children:
            os.waitpid(child, 0)
        return _report(place, seed)
    finally:
        forked.clear(place)


def _lay_out(place: Path) -> None:
    """place/yard, which FUZZ_YARD may have from before."""
    kept = Path(os.environ["FUZZ_YARD"]).absolute() if "FUZZ_YARD" in os.environ else None
    if kept is None or not kept.exists():
        forked.in_child(lambda: yard.build(place / "yard"))
        if kept is not None:
            shutil.move(place / "yard", kept)
    if kept is not None:
        (place / "yard").symlink_to(kept)


def _worker(numbers: range, seed: int, place: Path, end: float) -> int:
    """A process that does its share of the cases, a line of JSON for each."""
    child = os.fork()
    if child:
        return child
    try:
        with open(place / f"results-{numbers.start}.jsonl", "w") as results:
            for number in numbers:
                if time.monotonic() > end:
                    break
                result = _try(seed, number, place)
                print(json.dumps(result), file=results, flush=True)
                if result["faults"]:
                    _tell(result)
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _try(seed: int, number: int, place: Path, *, show: bool = False) -> dict:
    around, worked = place / f"case-{number}", _processor_time()
    around.mkdir()
    kind, case = kinds.make(seed, number, place / "yard", around / "here", os.environ.get("FUZZ_KIND"))
    before = judging.Photograph(around / "here")
    outcomes = forked.run_at_once(case.words, around / "here", case, processes=1 + case.twice)
    after = judging.Photograph(around / "here", before)
    found = [f"{name} was executed" for name in judging.executed(after)]
    for outcome in outcomes:
        found += judging.faults(case, outcome, judging.changed(case, before, after))
        if show:
            print(outcome.out, outcome.said, sep="\n--- said\n")
    outcome = outcomes[-1]
    forked.clear(around)
    around = {name: value for name, value in vars(case).items() if value and name in TOLD}
    words = f"{shlex.join(case.words)}  {around or ''}".encode("utf-8", "backslashreplace").decode()
    return {
        **{"number": number, "kind": kind, "words": words, "damage": repr(case.damage), "status": outcome.status},
        **{"seconds": round(outcome.seconds, 1), "faults": found, "seed": seed, "shot": case.shot},
        "work": round(_processor_time() - worked, 2),
        "said": outcome.said[-400:].encode("utf-8", "backslashreplace").decode() if found else "",
    }


def _processor_time() -> float:
    """Seconds of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _tell(result: dict) -> None:
    only = f"FUZZ_KIND={result['kind']} " if "FUZZ_KIND" in os.environ else ""
    print(
        f"\n{'; '.join(result['faults'])}\n  {result['kind']}: {result['words'][:600]}\n  {result['damage'][:300]}\n"
        f"  {result['said'].strip()[-300:]}\n"
        f"  again: {only}FUZZ_SEED={result['seed']} FUZZ_CASE={result['number']} make fuzz",
        flush=True,
    )


def _one(seed: int, number: int, place: Path) -> int:
    result = _try(seed, number, place, show=True)
    _tell(result)
    print(f"  exit status {result['status']}, {result['seconds']} s, signal {result['shot']}")
    return 1 if result["faults"] else 0


def _report(place: Path, seed: int) -> int:
    """The share that ended as promised, by kind; 1 where any did not."""
    done = [json.loads(line) for file in place.glob("results-*.jsonl") for line in file.read_text().splitlines()]
    bad = [result for result in done if result["faults"]]
    kinds, faulty = Counter(result["kind"] for result in done), Counter(result["kind"] for result in bad)
    statuses = Counter(result["status"] for result in done)
    print(f"\nseed {seed}: {len(done) - len(bad)} of {len(done)} cases ended as promised ", end="")
    print(f"({100 * (1 - len(bad) / max(1, len(done))):.2f} %)")
    print("  exit statuses  " + ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())))
    longest = max(done, key=lambda result: result["seconds"], default=None)
    if longest is not None:
        print(f"  the longest took {longest['seconds']} s: number {longest['number']}, {longest['kind']}")
    costs = defaultdict(list)
    for result in done:
        costs[result["kind"]].append(result["work"])
    for name, n in sorted(kinds.items()):
        bad_of = f"   {faulty[name]} not as promised" if faulty[name] else ""
        cost = f"{median(costs[name]):5.2f} s of the processor, {max(costs[name]):.1f} at most"
        print(f"  {name:<20}{n:5}   {cost}{bad_of}")
    return 1 if bad or not done else 0


sys.exit(main())
