"""`generate.draft`: a smaller run that writes ahead, for task=generate and task=chat (models/speculative.py)."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.speculative import Draft, check_draft
from tasks import parts
from tokenization.base import Tokenizer


def draft_of(cfg: DictConfig, model: LanguageModel, tokenizer: Tokenizer) -> Draft | None:
    """The draft that `generate.draft` names. `tokenizer`: as it lies beside the model.

    Raises:
        RequestError: no such run; another tokenizer; a draft as large as the model, or one that cannot serve it.
    """
    name, ahead = cfg.generate.get("draft"), cfg.generate.get("ahead")  # runs of before do not say them
    if name is None:
        if ahead is not None:
            raise RequestError(f"generate.ahead={ahead} is of generate.draft. Type generate.draft=RUN.")
        return None
    if ahead is not None and not (isinstance(ahead, int) and ahead >= 1):
        raise RequestError(f"generate.ahead={ahead}: expected a whole number of tokens, 1 or more, or null.")
    if not Path(str(name)).expanduser().exists():
        raise RequestError(f"generate.draft={name}: there is no such folder. Expected one of a run (see task=runs).")
    draft, theirs = parts.other_model(cfg, str(name), writes=True)
    if theirs.fingerprint != tokenizer.fingerprint:
        raise RequestError(
            f"generate.draft={name} was trained with another tokenizer ({theirs.vocab_size} ids, fingerprint "
            f"{theirs.fingerprint[:12]}) than the model ({tokenizer.vocab_size} ids, {tokenizer.fingerprint[:12]}): "
            "its ids mean something else.\nName a run of the same tokenizer: one trained with init_from=RUN, which "
            "takes it along, or on the same data with the same tokenizer=... keys."
        )
    sizes = [m.parameter_counts()["active"] for m in (draft, model)]
    if sizes[0] >= sizes[1]:
        raise RequestError(
            f"generate.draft={name} has {sizes[0]:,} parameters, the model {sizes[1]:,}: a draft that is not smaller "
            "costs more than it saves.\nName a smaller run."
        )
    check_draft(model, draft)
    return Draft(draft, ahead)


def tell(draft: Draft | None, run: RunFolder) -> None:
    """Says on the screen and in summary.json what came of the draft."""
    if draft is None:
        return
    print(f"draft: {draft.words}")
    facts: dict[str, Any] = {name: getattr(draft, name) for name in ("judged", "accepted", "written", "steps")}
    run.results["draft"] = facts
