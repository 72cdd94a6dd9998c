"""Which way a metric is better, by its name. Asked for reports and for the checkpoint that is kept as the best."""

from errors import RequestError

LOWER = {"loss", "bpb", "perplexity", "ppl", "unparsed", "ece", "calibration_error", "nll", "seconds",
         "word_perplexity", "byte_perplexity", "bits_per_byte", "brier"}  # fmt: skip
HIGHER = {"accuracy", "accuracies", "acc", "acc_norm", "acc_bytes", "exact_match", "f1", "macro_f1", "rouge1", "rouge2",
          "rougeL", "rougeLsum", "bleu", "mcc", "chrf", "self_consistency", "margin", "margins", "mean_reward",
          "chosen", "mfu", "tokens_per_second", "reward", "sampled_exact_match", "exact_match_chains"}  # fmt: skip


def known_direction(metric: str) -> bool | None:
    """True where lower is better, False where higher is, None where the name does not tell.

    The last part of the name that says so counts: val/loss/books is a loss, val/rewards/chosen a reward.
    """
    for word in reversed(metric.replace(",", "/").split("/")):
        if word.endswith("_stderr"):
            return None
        kind = word.split("_per_")[0]  # accuracy_per_source is an accuracy
        if word in HIGHER or kind in HIGHER or word.startswith("pass@"):
            return False
        if word in LOWER or kind in LOWER or word.startswith("perplexity_") or word.endswith(("_loss", "_perplexity")):
            return True
    return None


def best_mode(metric: str, asked: str | None) -> str:
    """min or max: what was asked for, else what the name says.

    Raises:
        RequestError: the name says nothing and nobody asked, or it says the opposite of what was asked.
    """
    lower = known_direction(metric)
    if lower is None and asked is None:
        raise RequestError(
            f"trainer.monitor={metric}: whether less of it is better is not known.\n"
            "Type trainer.monitor_mode=min, or trainer.monitor_mode=max."
        )
    by_name = "min" if lower else "max"
    if asked is not None and lower is not None and asked != by_name:
        raise RequestError(
            f"trainer.monitor_mode={asked}: of {metric}, {'less' if lower else 'more'} is better, so best.ckpt would "
            f"hold the worst.\nType trainer.monitor_mode={by_name}, or leave it out."
        )
    return asked or by_name
