"""Numbers that others have left in the environment: torchrun, srun, a batch system, a shell profile."""

from collections.abc import Mapping

from errors import RequestError


def number(environment: Mapping[str, str], name: str, default: int | None = None, *, least: int = 0) -> int:
    """A whole number. Without it `default`, if there is one.

    Raises:
        RequestError: it is missing, no whole number, or below `least`.
    """
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or int(text[:9]) < least or len(text) > 9:
        found = "is not set" if text is None else f"is {text!r:.80}"
        raise RequestError(
            f"The environment variable {name} {found}: expected a whole number, {least} or more. torchrun and srun set "
            f"it for each process.\nTo start without them, type: env -u {name} python run.py ..."
        )
    return int(text)
