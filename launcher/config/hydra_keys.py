"""Strictness below `hydra.`, where Hydra itself lets some keys pass; and its exceptions in plain words."""

import re
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from errors import RequestError
from launcher.config.nodes import names_in
from launcher.help.words import listing, nearest

OWN_LOGGING = ("job_logging", "hydra_logging")
PLUGIN_KEYS: dict[str, tuple[str, ...]] = {"sweeper": ("max_batch_size", "params"), "launcher": ()}
NOISE = re.compile(r"\s*(provider=|Config search path|See https?://|full_key:|object_type=)")
FOLDERS = "Type run_dir=PATH: the folder of the run, or of the whole sweep."
FIXED: dict[str, tuple[object, str]] = {  # as Hydra ships them
    "run.dir": ({"dir": "outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}"}, FOLDERS),
    "sweep.dir": ({"dir": "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}", "subdir": "${hydra.job.num}"}, FOLDERS),
    "output_subdir": (".hydra", FOLDERS),
    "searchpath": ([], "Type --config-dir PATH for one more folder of configs."),
}
UNLISTED = ("env",)  # there without being declared in HydraConf
PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")


def check(hydra: DictConfig) -> None:
    """Unknown keys, foreign targets and logging set-ups (they can name any callable) under `hydra.` are refused.

    Raises:
        RequestError: one was found.
    """
    _check_keys(hydra, OmegaConf.structured(HydraConf()), "hydra")
    tree: Any = OmegaConf.to_container(hydra, resolve=False)
    for key, (usual, instead) in FIXED.items():
        if tree[key.split(".")[0]] != usual:
            raise RequestError(f"hydra.{key} cannot be changed here.\n{instead}")
    for name in ("sweeper", "launcher"):
        _check_plugin(hydra.get(name), f"hydra.{name}")
    for name, node in (hydra.callbacks or {}).items():
        _check_plugin(node, f"hydra.callbacks.{name}")
    for name in OWN_LOGGING:
        if set(hydra[name]) - {"version", "root", "disable_existing_loggers"} or hydra[name].get("root"):
            raise RequestError(
                f"hydra.{name} cannot be changed: every run writes its own run.log.\n"
                f"Leave out everything below hydra.{name}."
            )


def translate(error: Exception) -> str:
    """What Hydra or OmegaConf had to say, without the addresses of its inner workings."""
    root = error
    while root.__cause__ is not None or (root.__context__ is not None and not root.__suppress_context__):
        inner = root.__cause__ or root.__context__
        if not isinstance(inner, Exception):
            break
        root = inner
    text = str(error).strip() or str(root).strip()
    lines = [line for line in text.splitlines() if not NOISE.match(line)]
    unknown = re.search(r"Key '(\w+)' (?:is )?not in '(\w+)'", f"{text}\n{root}")
    if unknown:
        lines = [_hint(unknown[1], unknown[2])]
    return "\n".join(line for line in lines if line.strip() and "To append to your config" not in line)


def _hint(key: str, owner: str) -> str:
    """Nearest key of the structured config `owner` inside Hydra's own."""
    for path, node in _structured(OmegaConf.structured(HydraConf()), "hydra"):
        if OmegaConf.get_type(node).__name__ == owner:  # type: ignore[union-attr]
            return _unknown(f"{path}.{key}", names_in(node), path)
    plugin = owner.removeprefix("Basic").removesuffix("Conf").lower()
    return _unknown(f"hydra.{plugin}.{key}", PLUGIN_KEYS.get(plugin, ()), f"hydra.{plugin}")


def _structured(node: DictConfig, path: str) -> list[tuple[str, DictConfig]]:
    found = [(path, node)]
    for name in names_in(node):
        child = node._get_node(name)
        if isinstance(child, DictConfig) and child:
            found += _structured(child, f"{path}.{name}")
    return found


def _check_keys(node: DictConfig, schema: DictConfig, path: str) -> None:
    for name in names_in(node):
        if name in UNLISTED:
            continue
        if name not in names_in(schema):
            raise RequestError(_unknown(f"{path}.{name}", names_in(schema), path))
        child, inner = node._get_node(name), schema._get_node(name)
        is_section = isinstance(child, DictConfig) and isinstance(inner, DictConfig) and not inner._is_missing()
        if is_section and OmegaConf.get_type(inner) is not dict and inner:
            _check_keys(child, inner, f"{path}.{name}")  # type: ignore[arg-type]


def _check_plugin(node: DictConfig | None, path: str) -> None:
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if target is None:
        if node is not None:
            raise RequestError(f"{path} has no _target_; choose it as a group, for instance hydra/launcher=basic.")
        return
    if not str(target).startswith(PLUGINS):
        raise RequestError(f"{path}._target_={target} is refused: only Hydra's own plugins may stand there.")
    if not str(target).startswith(PLUGINS[0]):
        return  # an installed plugin checks its own keys
    known = PLUGIN_KEYS.get(path.rpartition(".")[2], ())
    for name in names_in(node):  # type: ignore[arg-type]
        if name not in (*known, "_target_"):
            raise RequestError(_unknown(f"{path}.{name}", known, path))


def _unknown(key: str, known: list[str] | tuple[str, ...], path: str) -> str:
    close = nearest(key.rpartition(".")[2], known)
    hint = f"\nDid you mean {path}.{close}?" if close else ""
    return f"there is no key {key}.{hint}\n{path} takes: {listing(known) or 'nothing'}."
