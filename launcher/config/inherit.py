"""What a run takes from an earlier one: `init_from` some sections of its saved config, `resume` all of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from errors import RequestError
from launcher.config.files import check_yaml, load_yaml
from launcher.config.instantiate import resolve_target
from launcher.config.overrides import Override, is_group
from launcher.config.source import class_attribute, read_target
from launcher.lab import Lab, lineage

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# what knows the models of others; imported only where `init_from` is given
FOREIGN = "models.weights.foreign.sections"
# where a run ends: what resume= may move, beside what its objective says (`horizon`)
HORIZON = ("trainer.max_steps", "trainer.max_time", "trainer.patience")
# what trains, and what plans the run that the same line starts: data and objective are the line's own
TRAINS = ("fit", "check")
# groups whose options choose others' and fill their sections
FILLING = ("experiment", "debug", "sweeps")
CRAWL_HORIZON = ("crawl.max_pages", "crawl.max_bytes", "crawl.max_minutes")


def run_folder_of(path: Path) -> Path | None:
    """The run folder that `path` is or lies in (a checkpoint); None if it is in none."""
    for folder in (path, *list(path.absolute().parents)[:2]):
        if (folder / ".hydra" / "config.yaml").is_file():
            return folder
    return None


def take_sections(cfg: DictConfig, hydra: DictConfig, init_from: str, lab: Lab, *, named: set[str]) -> None:
    """Replaces the model and the tokenizer (and where nothing is trained, data and objective) by those of that run.

    Args:
        named: groups chosen on the command line, or by an experiment that was; they stay.

    Raises:
        RequestError: `init_from` is no folder, no file, and cannot be the name of a model on the Hub; or a model of
            others that we do not know.
    """
    path = Path(init_from).expanduser()
    if not path.exists():
        check_hub_id(init_from)
    chosen, written = written_in_options(dict(hydra.runtime.choices), lab)
    named = named | chosen
    if foreign := resolve_target(FOREIGN)(init_from):
        name = foreign.pop("name")
        options = {key: name if key == "model" else str(foreign[key]["_target_"]).split(".")[1] for key in foreign}
        _take(cfg, hydra, foreign, options, named=named, written=written)
        return
    folder = run_folder_of(path)
    if folder is None:
        return
    saved, saved_hydra = read_run(folder)
    sections = ["model", "tokenizer"]
    # an ensemble of stages is a model too
    absent = (str(name) for name in saved if cfg.get(name) is None)
    sections += [name for name in absent if says(saved, name, "part_of_model", lab)]
    if hydra.runtime.choices.get("task") not in TRAINS:
        sections += ["data", "objective"]
    taken = {section: saved._get_node(section) for section in sections if section in saved}
    _take(cfg, hydra, taken, saved_hydra.runtime.choices, named=named, written=written)


def _take(
    cfg: DictConfig,
    hydra: DictConfig,
    sections: dict[str, Any],
    options: Mapping[str, Any],
    *,
    named: set[str],
    written: list[DictConfig],
) -> None:
    """Replaces whole sections, but for those of `named` groups; keys that are `written` for them stay, as typed ones.

    Args:
        options: the name of each section's option, for Hydra's record.
    """
    with open_dict(cfg), read_write(hydra), open_dict(hydra):
        for section, content in sections.items():
            if section not in named:
                cfg[section] = content
                for file in written if section in ("model", "tokenizer") else ():
                    if isinstance(file.get(section), DictConfig):
                        cfg[section] = OmegaConf.merge(cfg._get_node(section), file._get_node(section))
                hydra.runtime.choices[section] = options.get(section)


def written_in_options(choices: dict[str, Any], lab: Lab) -> tuple[set[str], list[DictConfig]]:
    """What was chosen to fill other sections, experiment=... above all, says: its groups; its files, oldest first."""
    options = ((group, choices.get(group)) for group in FILLING)
    files = [load_yaml(file) for group, option in options if option for file in lineage(lab.groups[group][option])]
    words = [
        str(key) for file in files for item in file.get("defaults", ()) if isinstance(item, DictConfig) for key in item
    ]
    return {word.removeprefix("override ").removeprefix("/") for word in words}, files


def resumed_run(path: str | Path) -> tuple[DictConfig, DictConfig, list[str]]:
    """The config of the run to go on with, Hydra's record, and what had been typed for it.

    Raises:
        RequestError: no run folder, or its config cannot be read.
    """
    cfg, hydra = read_run(path)
    cfg["run_dir"] = cfg["resume"] = str(Path(path).expanduser())
    return cfg, hydra, saved_overrides(path)


def repeated_run(path: str | Path) -> tuple[DictConfig, DictConfig, list[str]]:
    """Config, Hydra's record and what was typed, for a run to do again in a folder of its own.

    Raises:
        RequestError: no run folder, or its config cannot be read.
    """
    cfg, hydra = read_run(path)
    cfg["run_dir"] = cfg["resume"] = None
    cfg["rerun"] = str(path)
    return cfg, hydra, [word for word in saved_overrides(path) if not word.startswith(("run_dir=", "resume="))]


def read_run(path: str | Path) -> tuple[DictConfig, DictConfig]:
    """The config of a run as it was saved, and Hydra's record beside it.

    Raises:
        RequestError: no run folder, or its config cannot be read.
    """
    folder = Path(path).expanduser()
    if not (folder / ".hydra" / "config.yaml").is_file():
        what = "is not a run folder: it has no .hydra/config.yaml" if folder.exists() else "does not exist"
        raise RequestError(f"{path} {what}.{nearby_runs(folder)}")
    cfg, record = (_read(folder / ".hydra" / name) for name in ("config.yaml", "hydra.yaml"))
    if "task" not in cfg:
        raise RequestError(f"{folder}/.hydra/config.yaml is damaged: it has no section task.")
    if "hydra" not in record or "runtime" not in record.hydra:
        raise RequestError(f"{folder}/.hydra/hydra.yaml is damaged: it has no section hydra.runtime.")
    return cfg, record.hydra


def saved_overrides(path: str | Path) -> list[str]:
    """What had been typed, from overrides.yaml; a record only, so a missing one is no reason to stop."""
    file = Path(path).expanduser() / ".hydra" / "overrides.yaml"
    if not file.is_file():
        return []
    check_yaml(file)
    words = OmegaConf.to_container(OmegaConf.load(file))
    return [str(word) for word in words] if isinstance(words, list) else []


def says(cfg: DictConfig, section: str, attribute: str, lab: Lab) -> Any:
    """What the class that a section names says of itself, read without importing it; None where it says nothing."""
    node = cfg._get_node(section)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        return None
    return class_attribute(read_target(node._target_, lab, key=f"{section}._target_"), attribute, lab)


def check_horizon_only(typed: Sequence[Override], cfg: DictConfig, lab: Lab) -> None:
    """A resumed run is the same run: only its end may be moved, and only further away.

    Raises:
        RequestError: another key was typed, or fewer steps than before.
    """
    horizon = CRAWL_HORIZON if "crawl" in cfg else HORIZON + tuple(says(cfg, "objective", "horizon", lab) or ())
    other = [o.typed for o in typed if o.key not in (*horizon, "allow_mismatch")]
    if other:
        raise RequestError(
            f"resume= goes on exactly as that run was; it cannot be changed by {' '.join(other)}.\n"
            f"Only its end can be moved: {' or '.join(f'{key}=...' for key in horizon)}.\n"
            "For a new run from these weights, type init_from=RUN_DIR instead of resume=RUN_DIR."
        )
    for o in typed:
        before: Any = OmegaConf.select(cfg, o.key)
        if isinstance(before, int) and isinstance(o.value, int) and o.value < before:
            what = o.key.rpartition(".")[2].removeprefix("max_")
            raise RequestError(f"{o.typed}: that run was to take {before} {what}; resume= can only go further.")


def check_no_choices(typed: Sequence[Override], lab: Lab) -> None:
    """Raises RequestError where rerun= comes with an option of a group: a saved config has no room for another."""
    chosen = [o.typed for o in typed if is_group(o.key, lab) or o.is_hydra]
    if chosen:
        raise RequestError(
            f"rerun= repeats that run with its saved config; {' '.join(chosen)} cannot be chosen anew.\n"
            "Single keys can be changed: optimizer.lr=... For other options, start a run without rerun=."
        )


def check_hub_id(name: str) -> None:
    """Raises RequestError unless `name` may be a model on the Hugging Face Hub: org/name, and no folder org here."""
    if HUB_ID.fullmatch(name) and "/" in name and not Path(name).parent.exists():
        return
    raise RequestError(
        f"init_from={name}: there is no such folder or file.\n"
        f"Expected a run folder, a .ckpt file in one, a Hugging Face folder, or a Hub id such as org/name."
        f"{nearby_runs(Path(name))}"
    )


def nearby_runs(path: Path, *, limit: int = 5) -> str:
    """The newest run folders around a path that was not found, one a line."""
    base = next((p for p in path.absolute().parents if p.is_dir()), Path.cwd())
    found = _newest(base, depth=2) or _newest(Path("outputs"), depth=4)
    if not found:
        return ""
    return "\nRun folders nearby:" + "".join(f"\n  {folder}" for folder in found[:limit])


def _newest(base: Path, *, depth: int) -> list[Path]:
    """Run folders at most `depth` levels down, newest first, those with checkpoints before the others."""
    patterns = [f"{'*/' * level}.hydra/config.yaml" for level in range(depth + 1)]
    files: Iterable[Path] = [file for pattern in patterns for file in base.glob(pattern)]
    folders = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
    return sorted((f.parents[1] for f in folders), key=lambda f: not (f / "checkpoints").is_dir())


def _read(file: Path) -> DictConfig:
    if not file.exists():
        raise RequestError(f"{file} is missing: that run folder is not whole.")
    return load_yaml(file)
