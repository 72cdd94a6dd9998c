"""Do data, model and objective go together? Read from class attributes (`needs`, `provides`, `serves`), no imports."""

from typing import Any

from omegaconf import DictConfig

from errors import RequestError
from launcher.config.files import load_option
from launcher.config.inherit import TRAINS
from launcher.config.source import class_attribute, read_target
from launcher.help.words import listing
from launcher.lab import Lab


def check_data_fits(cfg: DictConfig, choices: dict[str, Any], lab: Lab) -> None:
    """Raises RequestError where the objective needs what the data does not provide; lists the data that would do."""
    needs = _attribute(cfg.get("objective"), "needs", lab)
    provides = _attribute(cfg.get("data"), "provides", lab)
    if not needs or not provides or set(needs) & set(provides):
        return
    objective, data = choices.get("objective"), choices.get("data")
    would_do = [option for option in lab.groups.get("data", {}) if set(needs) & set(_provided(option, lab))]
    ready = [option for option in would_do if "path" not in load_option(lab.groups["data"][option])]
    example = f"\nType: data={(ready or would_do)[0]}" if would_do else ""
    raise RequestError(
        f"objective={objective} and data={data} do not go together.\n"
        f"objective={objective} needs {_either(needs)}; data={data} provides {_either(provides)}.\n"
        f"Data that would do: {listing(would_do) or 'none here yet'}.{example}"
    )


def check_model_serves(cfg: DictConfig, choices: dict[str, Any], lab: Lab) -> None:
    """Raises RequestError where the objective cannot train the model, or its encoder cannot read the rows."""
    if choices.get("task") not in TRAINS:
        return
    model, serves = choices.get("model"), _attribute(cfg.get("model"), "serves", lab)
    target = str((cfg.get("objective") or {}).get("_target_", "")).rpartition(".")[2]
    if serves and target and target not in serves:
        would_do = [
            option
            for option, file in lab.groups.get("objective", {}).items()
            if str(_section(load_option(file), "objective").get("_target_")).rpartition(".")[2] in serves
        ]
        raise RequestError(
            f"objective={choices.get('objective')} and model={model} do not go together.\n"
            f"model={model} is an encoder-decoder: it learns to answer what it is asked, and is trained by objective="
            f"{listing(would_do)}.\nType: objective={would_do[0]}"
        )
    if not serves:
        return
    data = cfg.get("data") or {}
    for key, wrong, right, why in (
        ("batching", "packed", "grouped", "its encoder reads one question a row"),
        ("learn", "all", "assistant", "what its encoder reads is not learned"),
    ):
        if data.get(key) == wrong:
            raise RequestError(
                f"data.{key}={wrong} and model={model} do not go together: {why}.\nType: data.{key}={right}"
            )


def _section(option: Any, name: str) -> Any:
    """The section of an option's file, which may stand alone or under its name in the whole config."""
    return option.get(name, option)


def _provided(option: str, lab: Lab) -> tuple[str, ...]:
    return _attribute(load_option(lab.groups["data"][option]), "provides", lab)


def _attribute(section: Any, name: str, lab: Lab) -> tuple[str, ...]:
    if not isinstance(section, DictConfig | dict) or "_target_" not in section:
        return ()
    try:
        value = class_attribute(read_target(section["_target_"], lab, key="_target_"), name, lab)
    except RequestError:
        return ()  # reported where that option is chosen
    return tuple(value) if isinstance(value, tuple | list) else ()


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)
