"""task=serve: answers over HTTP as OpenAI's API does, from any run; a page to look at runs and to talk to them."""

import asyncio
import secrets
import socket
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from omegaconf import DictConfig, open_dict

import stopping
from bounds import NonNegativeInt, PositiveInt, at_most
from errors import RequestError
from launcher.config.inherit import read_run, run_folder_of
from launcher.jobs.run_folder import RunFolder
from models.continuous import Continuous
from tasks import parts
from tasks.hardware.choice import given_back
from tasks.hardware.reading import settle_reading
from tasks.narrowing import narrowed
from tasks.serving.runs import Runs
from tasks.serving.shelf import Loaded, Shelf
from tasks.trainer import settle_torch
from tokenization.base import Tokenizer
from tokenization.chat import TURN_SPECIALS, ChatTemplate, chat_template

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "data.template", "trainer.accelerator", "trainer.products")


class Serve(TypedDict):
    """The section `serve`."""

    host: str
    port: Annotated[NonNegativeInt, at_most(65535)]
    token_file: str | None
    runs: str
    loaded: PositiveInt
    rows: PositiveInt
    waiting: PositiveInt
    max_new_tokens: PositiveInt
    weights: Literal["bfloat16", "int8"] | None


@given_back()
def serve(cfg: DictConfig, run: RunFolder) -> None:
    """Listens until it is told to stop; writes nothing into the runs that it serves."""
    try:
        from tasks.serving.server import listen, run_until_stopped
    except ModuleNotFoundError as error:
        raise RequestError(f"task=serve needs the package {error.name}: type pip install -e .[serve]") from None
    token = token_of(cfg.serve.host, cfg.serve.token_file)
    settle_torch()
    runs = Runs(Path(cfg.serve.runs).expanduser(), first=named_first(cfg), loads=partial(load, cfg))
    shelf = Shelf(runs.servable, runs.loads, most=cfg.serve.loaded, resolve=runs.resolve)
    if cfg.init_from or "path" in cfg.model:
        asyncio.run(shelf.get(None))  # a wrong one is told now
    with listen(cfg.serve.host, cfg.serve.port) as door:
        print(greeting(door, cfg.serve.host, token, shelf, runs), flush=True)
        with stopping.noting():
            asyncio.run(run_until_stopped(door, shelf, runs, token=token, section=cfg.serve))
    stopping.check()


def named_first(cfg: DictConfig) -> tuple[str, Path] | None:
    """Name and place of what init_from or model.path names: it answers where a request names nothing."""
    source = cfg.init_from or cfg.model.get("path")
    if not source:
        return None
    path = Path(str(source)).expanduser()
    folder = run_folder_of(path) if path.exists() else None
    return (str(source), path) if folder is None else (folder.name, folder)


def load(cfg: DictConfig, name: str, place: Path | None) -> Loaded:
    """The model of a run folder, or, without a place, the one that the command line names.

    Raises:
        RequestError: it cannot be read.
    """
    theirs = cfg
    if place is not None:
        theirs = read_run(place)[0]
        with open_dict(theirs):
            theirs.init_from, theirs.resume, theirs.trainer = str(place), None, cfg.trainer
    tokenizer = parts.saved_tokenizer(theirs)
    parts.note_missing_bos(theirs, tokenizer)
    turns, tokenizer = turns_of(theirs, tokenizer)
    model = parts.trained_model(theirs, tokenizer).requires_grad_(False).eval()
    settle_reading(theirs, model, probes=False)  # others may be answered meanwhile
    narrowed(cfg.serve.get("weights"), model)
    return Loaded(name, model, tokenizer, turns, Continuous(model))


def turns_of(cfg: DictConfig, tokenizer: Tokenizer) -> tuple[ChatTemplate | None, Tokenizer]:
    """The template that the run was trained with; None where it was trained on no conversations."""
    style = parts.asking_style(cfg)
    if style in ("alpaca", "plain", "seq2seq"):
        return chat_template(tokenizer, style)
    if getattr(tokenizer, "chat_template", None) or all(name in tokenizer.specials for name in TURN_SPECIALS):
        return chat_template(tokenizer, "chat")
    return None, tokenizer


def token_of(host: str, file: str | None) -> str | None:
    """What clients must show: the content of the file; without one, nothing on this machine's own address, else a
    token that nobody has seen yet.

    Raises:
        RequestError: the file cannot be read, or is no secret.
    """
    if file is None:
        return None if is_loopback(host) else secrets.token_urlsafe(24)
    try:
        token = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise RequestError(f"serve.token_file={file} cannot be read ({error}).") from None
    if len(token) < 8 or not token.isascii() or any(c.isspace() for c in token):
        raise RequestError(
            f"serve.token_file={file}: expected one word of 8 characters or more, such as\n"
            "python -c 'import secrets; print(secrets.token_urlsafe())' writes."
        )
    return token


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def greeting(door: socket.socket, host: str, token: str | None, shelf: Shelf, runs: Runs) -> str:
    """Where it is, and what to type."""
    port = door.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}"
    names = list(shelf.names())
    lines = [
        f"{len(names)} runs can be asked{f', {names[0]} where none is named' if names else ''}",
        f"  page    {url}/" + (f"?token={token}" if token else ""),
        f"  API     {url}/v1" + ("   with the header Authorization: Bearer TOKEN" if token else ""),
        "Ctrl-C ends it.",
    ]
    if not is_loopback(host):
        lines.insert(
            0, "warning: everybody who can reach this machine and has the token may ask; nothing is encrypted."
        )
    return "\n".join(lines)
