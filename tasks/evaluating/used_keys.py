"""A key of `evaluate` that this kind of measuring does not read is refused, and what reads it is told."""

from omegaconf import DictConfig, OmegaConf

from errors import RequestError

UNSET: dict[str, object] = {  # as conf/task/evaluate.yaml has them
    **{"mode": None, "shots": None, "limit": None, "samples": 1, "rerank": None, "retry": 0, "accept": None},
    **{"retry_from": None, "max_new_tokens": None, "template": "auto", "tasks": [], "tasks_path": None},
    **{"past_context": None, "beside": []},
}
QUESTIONS = (
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
READS = {
    "benchmark=arithmetic": QUESTIONS,
    "evaluate.harness=lm_eval": ("shots", "limit", "tasks", "tasks_path"),
    "evaluate.past_context=1024": ("past_context", "beside"),
    "": ("limit",),  # the run's own data, and other of its kind
}


def check_keys_are_used(cfg: DictConfig) -> None:
    """Raises RequestError for the first key that is set and not read."""
    settings = OmegaConf.to_container(cfg.evaluate)
    assert isinstance(settings, dict)
    now = _measuring(cfg)
    for name, unset in UNSET.items():
        if settings[name] == unset or name in READS[now]:
            continue
        reader = next(kind for kind, names in READS.items() if name in names)
        beside = now.partition("=")[0] or "data=... without a benchmark"
        raise RequestError(
            f"evaluate.{name}={settings[name]} is of {reader.partition('=')[0]}, and changes nothing of {beside}.\n"
            f"Leave it out, or type {reader} {f'and leave {beside} out' if now else ''}".rstrip()
            + "."
        )


def _measuring(cfg: DictConfig) -> str:
    """The key of READS that this request is for."""
    if cfg.evaluate.harness:
        return "evaluate.harness=lm_eval"
    if cfg.get("benchmark"):
        return "benchmark=arithmetic"
    return "evaluate.past_context=1024" if cfg.evaluate.past_context is not None else ""
