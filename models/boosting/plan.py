"""Every key of `gbft`: how an ensemble is boosted. Checked here: a contradiction stops before the first step."""

from dataclasses import dataclass
from typing import Literal

from bounds import Below1, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, PositiveShare
from errors import RequestError

DEFAULT_BETA = 0.1  # conf/gbft/short.yaml says the same


@dataclass(frozen=True, kw_only=True)
class Plan:
    """See conf/gbft/default.yaml for what each key means."""

    part_of_model = True  # not a key: init_from takes the section along with the model
    # nor is this: what is not read beside another key, and refused where it is typed (launcher/config/reads.py)
    idle_beside = {  # noqa: RUF012
        "newton_lambda": ["objective!=newton"],
        "eta": ["eta_rule=line_search", "ensemble=bagged"],
        "eta_rule": ["ensemble=bagged"],
        "shrinkage": ["ensemble=bagged"],
        "eta_max": ["ensemble=bagged", "dev_fraction=0"],
        "tol": ["ensemble=bagged", "dev_fraction=0"],
        "patience": ["ensemble=bagged", "dev_fraction=0"],
        "literal_recipe": ["eta_rule=line_search", "ensemble=bagged"],
        "corrective_lr_scale": ["corrective_steps=0"],
        "cache_gb": ["cache=none"],
    }

    stages: PositiveInt = 5
    use_stages: NonNegativeInt | list[PositiveInt] | Literal["by_text"] | None = None
    steps_per_stage: PositiveInt = 100
    ensemble: Literal["boosted", "bagged"] = "boosted"
    bag: PositiveInt = 1
    loss: Literal["causal_lm", "sft", "dpo"] = "causal_lm"
    beta: PositiveFloat = DEFAULT_BETA
    objective: Literal["ce", "newton", "newton_diag", "fisher", "mse"] = "ce"
    newton_lambda: NonNegativeFloat = 0.1
    focus: NonNegativeFloat = 0.0
    space: Literal["logit", "weight"] = "logit"
    eta: PositiveFloat = 0.5
    eta_rule: Literal["fixed", "line_search"] = "fixed"
    shrinkage: PositiveFloat = 1.0
    eta_max: PositiveFloat = 50.0
    literal_recipe: bool = False
    refit_etas: bool = False
    dev_fraction: Below1 = 0.1
    tol: float = 1e-4
    patience: PositiveInt = 1
    best_every: NonNegativeInt = 0
    average: Below1 = 0.0
    row_fraction: PositiveShare = 1.0
    token_fraction: PositiveShare = 1.0
    train_fraction: PositiveShare = 1.0
    bias_first: bool = False
    corrective_steps: NonNegativeInt = 0
    corrective_lr_scale: NonNegativeFloat = 0.33
    cache: Literal["auto", "hidden", "none"] = "auto"
    cache_dtype: Literal["float32", "bfloat16"] = "float32"
    cache_gb: NonNegativeFloat = 4.0
    base_steps: NonNegativeInt = 800

    def __post_init__(self) -> None:
        """Raises RequestError for settings that contradict each other."""
        searched = self.eta_rule == "line_search"
        if self.objective != "ce" and not searched and not self.literal_recipe:
            raise RequestError(
                f"gbft.objective={self.objective} with gbft.eta_rule=fixed: a stage fitted to residuals is in no units "
                f"of logits, and a fixed step of {self.eta:g} does next to nothing.\n"
                "Type gbft.eta_rule=line_search; or, to see the literal recipe fail: gbft=literal."
            )
        if self.dev_fraction == 0 and (searched or self.refit_etas or self.best_every):
            raise RequestError(
                "gbft.dev_fraction=0 leaves no dev part, and line search, refit_etas and best_every need one.\n"
                "Type gbft.dev_fraction=0.1, or gbft.eta_rule=fixed."
            )
        if self.space == "weight" and (self.objective != "ce" or self.refit_etas or self.ensemble == "bagged"):
            raise RequestError("gbft.space=weight goes with gbft.objective=ce, without refit_etas and bagging.")
        if self.ensemble == "bagged" and (self.objective != "ce" or self.corrective_steps or self.refit_etas):
            raise RequestError("gbft.ensemble=bagged averages learners fitted alone: gbft.objective=ce, nothing else.")
        if self.ensemble == "bagged" and self.by_text:
            raise RequestError("gbft.use_stages=by_text weighs stages behind one another: gbft.ensemble=boosted.")
        if self.beta != DEFAULT_BETA and not self.of_pairs:
            raise RequestError(
                f"gbft.beta={self.beta:g} is for gbft.loss=dpo; here it is {self.loss}.\nType gbft.beta={DEFAULT_BETA}."
            )
        if self.of_pairs and (self.objective != "ce" or self.refit_etas or self.focus or self.token_fraction < 1):
            raise RequestError(
                "gbft.loss=dpo is a loss of whole answers: residuals, weights and draws of single tokens are none of "
                "it.\nType gbft.objective=ce gbft.refit_etas=false gbft.focus=0 gbft.token_fraction=1."
            )
        if self.bag > 1 and (self.ensemble == "bagged" or self.space == "weight"):
            raise RequestError(
                f"gbft.bag={self.bag} fits that many stages to the same ensemble and adds up their corrections: it "
                "goes with gbft.ensemble=boosted gbft.space=logit."
            )
        if self.last_used is not None and self.last_used > self.stages:
            raise RequestError(
                f"gbft.use_stages={self.use_stages}: this run was to train {self.stages} stages; 0 is the base alone.\n"
                f"Type gbft.use_stages={self.stages} or less, or a list of such numbers."
            )

    def run_length(self, max_steps: int, *, first: int = 0) -> int:
        """Updates of the run: those of the plan, or fewer where `max_steps` ends it with an earlier stage.

        Args: first: stages that are there already, of another run; `max_steps` counts this run's updates.

        Raises:
            RequestError: it would end in the middle of a stage, which then would never be closed.
        """
        total, size = self.total_steps - first * self.steps_per_stage, self.steps_per_stage
        if max_steps >= total:
            return total
        whole, rest = divmod(max_steps, size)
        stages = self.stages - first
        if rest or whole > stages:
            border = min(max(whole, 1), stages) * size
            raise RequestError(
                f"trainer.max_steps={max_steps} ends in the middle of a stage: a stage has {size} updates, and the run "
                f"{stages} stages and {self.corrective_steps} corrective updates, {total} in all.\n"
                f"Leave it out for all of them, or type trainer.max_steps={border}; shorter stages: "
                f"gbft.steps_per_stage={max(1, max_steps // stages)}."
            )
        print(f"length  trainer.max_steps={max_steps} ends this run after {whole} of {stages} stages", flush=True)
        return max_steps

    @property
    def last_used(self) -> int | None:
        """Number of the last stage that `use_stages` names, 0 for the base alone; None where it names none."""
        given = self.use_stages
        if isinstance(given, list):
            return max(given, default=0)
        return given if isinstance(given, int) else None

    @property
    def of_pairs(self) -> bool:
        """Whether what is learned from is pairs of answers, two rows each."""
        return self.loss == "dpo"

    @property
    def unit_rows(self) -> int:
        """Rows of a batch that belong together."""
        return 2 if self.of_pairs else 1

    @property
    def by_text(self) -> bool:
        """Whether each text chooses its stages, see choosing.py."""
        return self.use_stages == "by_text"

    def leaves_out(self, m: int) -> bool:
        """Whether `use_stages` is a list without stage m (from 0)."""
        return isinstance(self.use_stages, list) and m + 1 not in self.use_stages

    def seen_by(self, m: int) -> int:
        """How many stages the learner m finds in place: bagged ones find the base alone, those of a bag what was there
        before it.
        """
        return 0 if self.ensemble == "bagged" else m - m % self.bag

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.stages * self.steps_per_stage + self.corrective_steps
