"""Walking a config without tripping over what is missing, null or interpolated."""

from typing import Any

from omegaconf import DictConfig


def node_at(cfg: DictConfig, key: str) -> Any:
    """The raw node at a dotted key, interpolations left alone; None if there is none."""
    node: Any = cfg
    for name in key.split(".") if key else []:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return None
        node = node._get_node(name, validate_access=False)
    return node


def names_in(node: DictConfig) -> list[str]:
    """All keys, also those whose value is still missing (???), which `in` would deny."""
    return [str(name) for name in node]


def has_target(node: object) -> bool:
    """As `"_target_" in node`, which raises and catches an error for each node that has none: slow."""
    target = node_at(node, "_target_") if isinstance(node, DictConfig) else None
    return target is not None and not target._is_missing()


def targets_inside(tree: Any) -> bool:
    """Whether plain data holds a `_target_` at any depth."""
    if isinstance(tree, dict):
        return "_target_" in tree or any(targets_inside(value) for value in tree.values())
    return isinstance(tree, list) and any(targets_inside(value) for value in tree)
