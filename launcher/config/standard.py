"""The keys at the top level that every task knows, typed; conf/config.yaml has their values and their help."""

from typing import Literal, TypedDict

from bounds import NonNegativeFloat, NonNegativeInt, Seed


class Standard(TypedDict):
    seed: Seed
    run_dir: str | None
    init_from: str | None
    resume: str | None
    rerun: str | None
    fail_fast: bool
    allow_mismatch: bool


class Generate(TypedDict):
    """The section `generate` of task=generate and task=chat: what reads a text, and says whether it is good enough."""

    weights: Literal["bfloat16", "int8"] | None
    draft_weights: Literal["bfloat16", "int8"] | None
    verify: str | None
    retry: NonNegativeInt | None
    accept: float | None


class Init(TypedDict):
    """The section `init`."""

    strict: bool
    resize_vocab: bool
    upcycle: Literal["copy", "random"] | None
    upcycle_noise: NonNegativeFloat
