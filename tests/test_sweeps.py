"""The recipes that sweeps compare: as large as they claim to be."""

from pathlib import Path

import pytest
import torch

from launcher.config.compose import compose
from launcher.config.instantiate import build
from launcher.lab import Lab
from models.base import LanguageModel

LAB = Lab(Path(__file__).parents[1])
VOCAB = 65


def counts(recipe: str) -> dict[str, int]:
    with torch.device("meta"):
        model: LanguageModel = build(compose([f"experiment={recipe}"], LAB).cfg.model, vocab_size=VOCAB)
    return model.parameter_counts()


def recipes(folder: str) -> list[str]:
    return [option for option in LAB.groups["experiment"] if option.startswith(f"{folder}/")]


@pytest.mark.parametrize(
    ("sweep", "folder"),
    [("architecture", "architecture"), ("moe_choices", "moe_vs_dense"), ("moe_vs_dense", None)],
)
def test_a_sweep_names_all_recipes_of_its_folder_with_three_seeds(sweep, folder):
    plan = compose([f"sweeps={sweep}"], LAB, multirun=True)
    params = plan.hydra.sweeper.params
    wanted = recipes(folder) if folder else ["moe_vs_dense/dense", "moe_vs_dense/experts8"]
    assert sorted(params["experiment"].split(",")) == sorted(wanted)
    assert params["seed"] == "1,2,3"


@pytest.mark.parametrize("recipe", recipes("moe_vs_dense"))
def test_mixtures_use_as_many_parameters_per_token_as_the_dense_model(recipe):
    dense = counts("moe_vs_dense/dense")
    found = counts(recipe)
    if recipe.endswith("dense_equal_total"):
        assert found["total"] == pytest.approx(counts("moe_vs_dense/experts8")["total"], rel=0.01)
    else:
        # experts and their shares are equal; what differs is the router, E x n_embd per layer
        assert 0 <= found["active"] - dense["active"] <= 4 * 32 * 128


@pytest.mark.parametrize("recipe", recipes("architecture"))
def test_one_change_at_a_time_leaves_the_size_as_it_is(recipe):
    base, found = counts("architecture/base"), counts(recipe)
    named = recipe.rpartition("/")[2]
    # what a choice needs by itself, and nothing else
    extra = {
        "learned_positions": 128 * 128, "multi_head": 4 * 2 * 64 * 128, "multi_query": -4 * 2 * 32 * 128,
        "qk_norm": 4 * 2 * 32, "learned_sinks": 4 * 4, "sink_tokens": 4 * 128, "untied": VOCAB * 128,
    }  # fmt: skip
    assert found["total"] - base["total"] == extra.get(named, 0)


def test_prompting_asks_any_models_with_more_and_more_examples():
    plan = compose(["sweeps=prompting", "init_from=a,b"], LAB, multirun=True)
    assert plan.choices["task"] == "evaluate"
    assert dict(plan.hydra.sweeper.params) == {"evaluate.shots": "0,2,4,8"}
