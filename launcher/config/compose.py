"""One command line -> one checked config. The order is the meaning:

1. the files: conf/config.yaml and the options chosen, composed by Hydra (experiment, debug and sweeps come last);
2. what `init_from` hands down: sections of an earlier run's saved config;
3. the keys typed on the command line;
4. the checks: every key, type and `_target_`; data that fits the objective; what was typed is read, or named.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import setbase
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from errors import RequestError
from launcher.config import annotations, hydra_keys, inherit, paths, reads
from launcher.config.checking import check
from launcher.config.compatibility import check_data_fits, check_model_serves
from launcher.config.files import check_chosen
from launcher.config.nodes import node_at
from launcher.config.overrides import Override, count_jobs, is_group, parse
from launcher.config.schema import NO_SECTION, Schema
from launcher.help.words import cut, did_you_mean, listing
from launcher.lab import Lab

Files = dict[tuple[str, ...], tuple[DictConfig, DictConfig]]


@dataclass
class Plan:
    """A checked request: `cfg` is the job's config, `hydra` what Hydra knows about it, `overrides` what was typed.

    `passed_over`: a line for each word that the task does not read.
    """

    cfg: DictConfig
    hydra: DictConfig
    overrides: list[str]
    passed_over: list[str] = field(default_factory=list)

    @property
    def choices(self) -> dict[str, Any]:
        return dict(self.hydra.runtime.choices)

    @property
    def is_multirun(self) -> bool:
        return self.hydra.mode == RunMode.MULTIRUN


@contextmanager
def hydra_of(lab: Lab) -> Iterator[Hydra]:
    """Hydra, looking into conf/, the extra folders and the root (for sweeps/)."""
    setbase("1.3")
    path = create_config_search_path(str(lab.conf.absolute()))
    for provider, folder in [("sweeps", lab.root), *(("command-line", extra) for extra in lab.extra)]:
        path.append(provider, f"file://{folder.absolute()}", anchor=SearchPathQuery(provider="main"))
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra2("nanolab", path)
    finally:
        GlobalHydra.instance().clear()


def compose(
    words: Sequence[str],
    lab: Lab,
    *,
    multirun: bool = False,
    cache: Files | None = None,
    anyway: Collection[str] = (),
) -> Plan:
    """Composes and checks one job, or with `multirun` the frame of a sweep, whose values are checked job by job; so are
    its keys, where jobs choose different options and with them have different keys.

    Args:
        cache: kept between the jobs of a sweep, most of which choose the same files.
        anyway: of the words, those that this job need not read: they are typed for several jobs.

    Raises:
        RequestError: anything about the request is wrong.
    """
    overrides = parse(words, lab, multirun=multirun)
    paths.check_typed(overrides)
    count_jobs(overrides)
    saved = [o for o in overrides if o.key in ("resume", "rerun") and o.value is not None]
    if saved:
        return _from_saved(saved, overrides, lab)
    check_groups(overrides, lab, multirun=multirun)
    cfg, hydra = compose_files(overrides, lab, multirun=multirun, cache=cache)
    typed = [o for o in overrides if not o.is_hydra and not is_group(o.key, lab) and not o.is_sweep]
    words = [o.typed for o in overrides if not o.is_hydra]
    if any(o.is_sweep and (is_group(o.key, lab) or o.key == "init_from") for o in overrides):
        return Plan(cfg, hydra, words)  # each job has its own keys
    init_from = cfg.get("init_from")
    for o in typed:
        if o.key == "init_from":
            init_from = None if o.value is None else o.text_value
    if init_from is not None:
        paths.check_path("init_from", str(init_from))
        named = {o.key for o in overrides if is_group(o.key, lab)}
        inherit.take_sections(cfg, hydra, str(init_from), lab, named=named)
    plan = finish(cfg, hydra, typed, words, lab)
    if not multirun:  # each job has its own values
        plan.passed_over = reads.check_typed((o for o in overrides if o.typed not in anyway), plan.cfg, lab)
    return plan


def finish(cfg: DictConfig, hydra: DictConfig, typed: Sequence[Override], words: list[str], lab: Lab) -> Plan:
    """Applies the keys typed, then checks everything."""
    remember(hydra)
    before = deepcopy(cfg)
    schema = Schema(cfg, dict(hydra.runtime.choices), lab)
    for override in typed:
        apply(override, schema)
    drop_nulls(cfg)
    paths.expand(cfg, lab)
    with read_write(hydra), open_dict(hydra):
        hydra.overrides.task = words
    check(schema, before=before)
    check_data_fits(cfg, dict(hydra.runtime.choices), lab)
    check_model_serves(cfg, dict(hydra.runtime.choices), lab)
    OmegaConf.set_struct(cfg, True)
    return Plan(cfg, hydra, words)


def remember(hydra: DictConfig) -> None:
    """Makes this job's record the one that ${hydra:...} reads; set_config would refuse one read from a file."""
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra})  # type: ignore[assignment]


def compose_files(
    overrides: Sequence[Override], lab: Lab, *, multirun: bool, cache: Files | None = None
) -> tuple[DictConfig, DictConfig]:
    """The options chosen, without any key typed but those of Hydra itself."""
    words = [o.text for o in overrides if (is_group(o.key, lab) or o.is_hydra) and not (multirun and o.is_sweep)]
    if cache is not None and tuple(words) in cache:
        return deepcopy(cache[tuple(words)])
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    try:
        with hydra_of(lab) as hydra:
            cfg = hydra.compose_config("config", words, mode, with_log_configuration=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(hydra_keys.translate(error)) from error
    except RecursionError:
        chosen = listing(o.text for o in overrides if is_group(o.key, lab))
        raise RequestError(
            f"{chosen}: options choose each other without an end. Look at the defaults lists in their files."
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # a tag that nobody knows, `0x_`: well written, and yet nothing
        raise RequestError(f"A config file cannot be read: {' '.join(str(error).split())[:300]}.") from error
    node = cfg.hydra
    hydra_keys.check(node)
    with read_write(cfg), open_dict(cfg):
        cfg.pop("hydra")
    OmegaConf.set_struct(cfg, False)
    if cache is not None:
        cache[tuple(words)] = deepcopy((cfg, node))
    return cfg, node


def check_groups(overrides: Sequence[Override], lab: Lab, *, multirun: bool = False) -> None:
    """Raises RequestError for an option that no file defines or whose file is no config, and for a group left out."""
    for o in overrides:
        if not is_group(o.key, lab) or o.is_hydra:
            continue
        if o.deletes:
            raise RequestError(f"{o.typed}: a group cannot be left out. Options: {listing(lab.groups[o.key])}.")
        if o.is_sweep and not multirun:
            raise RequestError(f"{o.typed}: several options. To run once for each, add -m (multirun).")
        options = [v.strip("'\"") for v in o.parsed.sweep_string_iterator()] if o.is_sweep else [o.value]
        for option in options:
            if (option is not None or o.key not in NO_SECTION) and str(option) not in lab.groups[o.key]:
                names = list(lab.groups[o.key])
                hint = did_you_mean(str(option), names, form=f"{o.key}={{}}")
                raise RequestError(
                    f"{o.key}={cut(str(option))}: there is no such option.\nOptions: {listing(names)}.{hint}"
                )
            check_chosen(o.key, str(option), lab)


def apply(override: Override, schema: Schema) -> None:
    """Writes one typed key into the config, as text where text is what the key takes.

    Raises:
        RequestError: there is no such key.
    """
    cfg, key = schema.cfg, override.key
    try:
        param = schema.find(key, value=override.raw)
    except RequestError as error:
        raise RequestError(f"{cut(override.typed)}: {error}") from None
    if override.deletes:
        parent, _, leaf = key.rpartition(".")
        if not schema.may_be_left_out(key, param):
            raise RequestError(f"{cut(override.typed)}: {key} is needed and cannot be left out.\nType: {key}=...")
        if "=" in override.typed:
            raise RequestError(f"{cut(override.typed)}: a key is left out whatever its value is.\nType: ~{key}")
        with open_dict(cfg):
            OmegaConf.select(cfg, parent).pop(leaf) if parent else cfg.pop(leaf)
        return
    value, aliases = override.value, schema.aliases(key.rpartition(".")[0])
    fits = annotations.fits(value, param.annotation, aliases)
    if not fits and not isinstance(value, str) and annotations.allows_text(param.annotation, aliases):
        value = override.raw
    try:
        # a list with keys that are there would raise, and keys with a list, before anything is checked
        merge = not isinstance(value, list) and not isinstance(node_at(cfg, key), ListConfig)
        OmegaConf.update(cfg, key, value, merge=merge, force_add=True)
    except GrammarParseError as error:
        why = str(error).splitlines()[0]
        raise RequestError(
            f"{cut(override.typed)}: ${{ begins the name of another key, and this cannot be read as one ({why}).\n"
            f"For the two characters themselves, type {key}='\\${{'."
        ) from None


def drop_nulls(cfg: DictConfig) -> None:
    """`callbacks.sample_text=null` leaves that part out."""
    for section in ("callbacks", "logger"):
        node = cfg.get(section)
        if isinstance(node, DictConfig):
            with open_dict(cfg):
                for name in [name for name in node if node._get_node(name)._is_none()]:  # type: ignore[union-attr]
                    del node[name]


def _from_saved(saved: Sequence[Override], overrides: Sequence[Override], lab: Lab) -> Plan:
    """resume=RUN_DIR goes on in that folder; rerun=RUN_DIR does the same again in a new one."""
    if len(saved) > 1:
        raise RequestError(f"{' '.join(o.typed for o in saved)}: give one of them.")
    if several := [o for o in overrides if o.is_sweep]:
        raise RequestError(
            f"{cut(several[0].typed)}: several values, and {saved[0].key}= is one run.\n"
            f"Type {several[0].key}= with one value, without -m; once for each."
        )
    typed = [o for o in overrides if o is not saved[0]]
    if saved[0].key == "resume":
        cfg, hydra, before = inherit.resumed_run(saved[0].text_value)
        inherit.check_horizon_only(typed, cfg, lab)
    else:
        inherit.check_no_choices(typed, lab)
        cfg, hydra, before = inherit.repeated_run(saved[0].text_value)
    plan = finish(cfg, hydra, typed, [*before, *(o.typed for o in overrides)], lab)
    plan.passed_over = reads.check_typed(typed, plan.cfg, lab)
    return plan


def reload(folder: str | Path, lab: Lab) -> Plan:
    """The plan of a run as it was saved in its folder, checked again: a saved config is a file like any other.

    Raises:
        RequestError: there is none, or it is not valid here.
    """
    cfg, hydra = inherit.read_run(folder)
    return finish(cfg, hydra, [], list(inherit.saved_overrides(folder)), lab)
