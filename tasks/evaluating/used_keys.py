"""A key of `evaluate` that this kind of measuring does not read is refused, and what reads it is told."""

from omegaconf import DictConfig, OmegaConf

from errors import RequestError

UNSET: dict[str, object] = {  # as conf/task/evaluate.yaml has them
    **{"mode": None, "shots": None, "limit": None, "samples": 1, "rerank": None, "retry": 0, "accept": None},
    **{"retry_from": None, "max_new_tokens": None, "template": "auto", "tasks": [], "tasks_path": None},
    **{"past_context": None, "beside": [], "temperature": 0.7, "batch_size": 32, "beams": 1, "length_penalty": 1.0},
    "tools": [],
}
QUESTIONS = (
    "temperature",
    "batch_size",
    "beams",
    "length_penalty",
    "tools",
    "mode",
    "shots",
    "limit",
    "samples",
    "rerank",
    "retry",
    "accept",
    "retry_from",
    "max_new_tokens",
    "template",
)
ANSWERS = ("limit", "batch_size", "beams", "length_penalty", "tools")  # of data whose held-out questions are answered
READS = {
    "benchmark=arithmetic": QUESTIONS,
    "evaluate.harness=lm_eval": ("shots", "limit", "tasks", "tasks_path", "batch_size"),
    "evaluate.past_context=1024": ("past_context", "beside"),
    "": ANSWERS,  # the run's own data, and other of its kind
}


def check_keys_are_used(cfg: DictConfig) -> None:
    """Raises RequestError for the first key that is set and not read, and for a benchmark that is."""
    now = _measuring(cfg)
    if cfg.evaluate.harness and cfg.get("benchmark"):
        raise RequestError(
            "evaluate.harness asks its own tasks (evaluate.tasks), and nothing of benchmark=... Leave one of them out."
        )
    for name, value in given(cfg.evaluate).items():
        if name in READS[now]:
            continue
        reader = next(kind for kind, names in READS.items() if name in names)
        beside = now.partition("=")[0] or "data=... without a benchmark"
        raise RequestError(
            f"evaluate.{name}={value} is of {reader.partition('=')[0]}, and changes nothing of {beside}.\n"
            f"Leave it out, or type {reader} {f'and leave {beside} out' if now else ''}".rstrip()
            + "."
        )


def check_drawn(settings: DictConfig) -> None:
    """Names a temperature where each answer is greedy or the best of beams; it may be meant for other ways to ask."""
    if settings.samples == 1 and not settings.retry and "temperature" in (set_here := given(settings)):
        print(
            f"evaluate.temperature={set_here['temperature']} changes nothing: it is of several samples, or of a retry, "
            "and a single answer is greedy."
        )


def check_answers(settings: DictConfig, *, why_none: str) -> None:
    """Names keys of how questions are answered, where none is. `why_none`: why, in words."""
    for name in given(settings):
        if name in ANSWERS:
            print(f"evaluate.{name}={settings[name]} changes nothing: {why_none}.")


def check_texts(settings: DictConfig) -> None:
    """Raises RequestError for keys of questions, where a benchmark has texts."""
    if names := [name for name in given(settings) if name not in ("limit", "batch_size")]:
        listed = ", ".join(f"evaluate.{name}" for name in names)
        raise RequestError(f"this benchmark has texts, no questions: leave {listed} out.")


def given(settings: DictConfig) -> dict[str, object]:
    """The keys that are not as conf/task/evaluate.yaml has them, with their values."""
    values = OmegaConf.to_container(settings)
    assert isinstance(values, dict)
    if values.get("shots") == 0 and not values.get("harness"):
        values["shots"] = None  # as it was in runs of earlier versions
    return {name: values[name] for name, unset in UNSET.items() if name in values and values[name] != unset}


def _measuring(cfg: DictConfig) -> str:
    """The key of READS that this request is for."""
    if cfg.evaluate.harness:
        return "evaluate.harness=lm_eval"
    if cfg.get("benchmark"):
        return "benchmark=arithmetic"
    return "evaluate.past_context=1024" if cfg.evaluate.past_context is not None else ""
