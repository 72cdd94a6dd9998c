"""Jobs that build on each other, in one folder: each is a command line of its own, and is run as a job of a sweep is.

`{name}` in a job's words stands for the folder of another one. Each is composed and checked before the first starts:
in a rehearsal, where the folders of the others hold their configs and nothing else.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra.core.hydra_config import HydraConfig

import stopping
from errors import Interrupted, RequestError, RunError
from launcher.config.compose import Files, Plan, compose
from launcher.jobs import joining, ranks
from launcher.jobs.endings import FINISHED, WRONG_REQUEST, Ending
from launcher.jobs.job import Job, left_to_do, run_job
from launcher.jobs.repeated import Summary, summary_of
from launcher.jobs.run_folder import save_config
from launcher.lab import Lab

REFERENCE = re.compile(r"\{([A-Za-z_]\w*)\}")
COMPOSED: Files = {}  # files composed in this process: steps that choose the same options read them once
# what would take a job out of its place
NOT_TYPED = ("run_dir", "resume", "rerun", "sweeps")


@dataclass(frozen=True)
class Step:
    """One job. `name`: its folder below the chain's. `words`: as they would be typed, with references; of those it need
    not read the ones in `anyway`, which are typed for all jobs."""

    name: str
    words: tuple[str, ...]
    anyway: frozenset[str] = frozenset()

    @property
    def references(self) -> set[str]:
        return {name for word in self.words for name in REFERENCE.findall(word)}

    def placed(self, folder: Path) -> list[str]:
        """Its words, each reference replaced by a folder below this one."""
        return [REFERENCE.sub(lambda found: str(folder / found[1]), word) for word in self.words]


def key_of(word: str) -> str:
    return word.lstrip("+~").split("=", 1)[0]


def joined(*parts: Sequence[str]) -> tuple[str, ...]:
    """All words in order; of a key that is typed twice, the later one."""
    return tuple({key_of(word): word for part in parts for word in part}.values())


def lab_of_this_job() -> Lab:
    """Where the job that runs now was composed, folders of --config-dir included."""
    extra = [Path(str(s.path)) for s in HydraConfig.get().runtime.config_sources if s.provider == "command-line"]
    return Lab(Path(__file__).parents[2], tuple(extra))


@contextmanager
def rehearsal(lab: Lab, folder: Path) -> Iterator[Callable[[Step], Plan]]:
    """Gives a function that composes and checks a step, for all steps in their order; nothing is left behind.

    It raises RequestError with the step's name for anything wrong about it. `folder`: where they will run.
    """
    COMPOSED.clear()  # files may have changed since
    if joining.inside():
        raise RequestError("a pipeline cannot be started by torchrun or srun: its stages start their own processes.")
    with TemporaryDirectory(prefix="rehearsal-") as place:

        def composed(step: Step) -> Plan:
            try:
                if wrong := [word for word in step.words if key_of(word) in NOT_TYPED]:
                    raise RequestError(f"{wrong[0]}: it runs in a folder of its own, once. Leave it out.")
                plan = compose(step.placed(Path(place)), lab, cache=COMPOSED, anyway=step.anyway)
                ranks.wanted(plan.cfg)
            except RequestError as error:
                words = str(error).replace(place, str(folder))
                raise RequestError(f"{step.name} ({' '.join(step.words)}):\n{words}") from None
            own = Path(place) / step.name
            own.mkdir(parents=True)
            save_config(own, plan.cfg, plan.hydra, plan.overrides)
            return plan

        yield composed


def run_step(step: Step, folder: Path, lab: Lab) -> Summary:
    """Runs a step below `folder`, or what is left of it, and gives what it wrote.

    Raises:
        RunError, RequestError: it did not finish. Interrupted: it was asked to stop.
    """
    own, words = folder / step.name, step.placed(folder)
    own.parent.mkdir(parents=True, exist_ok=True)
    plan = left_to_do(own, lab, lambda: compose(words, lab, cache=COMPOSED, anyway=step.anyway))
    if plan is not None:
        ending, _ = run_job(Job(plan, lab, words, folder=own))
        _check(ending, step)
    return summary_of(own) or {}


def _check(ending: Ending, step: Step) -> None:
    if ending.status == "interrupted":
        raise Interrupted(ending.code - 128)
    stopping.check()  # it came when the job was over
    if ending.code == WRONG_REQUEST:
        raise RequestError(f"{step.name}: {ending.error}")
    if ending.code != FINISHED:
        raise RunError(f"{step.name} {ending.status}: {ending.error}")
