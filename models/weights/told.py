"""What transformers loads and writes, told as all else that takes long (progress.py): its own bars would print raw."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from progress import shown

GGUF = "transformers.modeling_gguf_pytorch_utils"  # has a bar of its own, beside those of transformers' logging


@contextmanager
def told(what: str, *, unit: str = "tensors", quiet: bool = False) -> Iterator[None]:
    """`what` is said for whatever transformers counts within, such as "loading t5-small"; nothing where it is short.

    Args:
        quiet: its warnings are not for the reader, as where an export of ours is loaded to be compared.
    """
    from transformers.utils import logging

    def ours(items: Any = (), **_: Any) -> Iterator[Any]:
        return shown(items, what, unit=unit)

    def hook(_make: Callable[..., Any], args: tuple[Any, ...], _settings: dict[str, Any]) -> Any:
        return ours(*args[:1]) if args else logging.EmptyTqdm()

    gguf = import_module(GGUF) if find_spec(GGUF) else None
    their_bar = getattr(gguf, "tqdm", None)
    set_hook = getattr(logging, "set_tqdm_hook", lambda hook: None)  # not in the first releases of transformers 5
    before, verbosity = set_hook(hook), logging.get_verbosity()
    if quiet:
        logging.set_verbosity_error()
    if gguf is not None:
        gguf.tqdm = ours  # type: ignore[attr-defined]
    try:
        yield
    finally:
        set_hook(before)
        logging.set_verbosity(verbosity)
        if gguf is not None:
            gguf.tqdm = their_bar  # type: ignore[attr-defined]
