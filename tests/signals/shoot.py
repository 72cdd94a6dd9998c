"""Runs a program and sends this process a signal at one place in it: `shoot.py PLACE NUMBER PROGRAM [words ...]`.

PLACE is `module` (as its import begins), `module:function` or `module:Class.method` (as it is called first); with a !
behind it as that call ends. So a phase is hit exactly, however slow the machine. With GROUP set, the signal
goes to the whole process group, as a terminal and a batch system send it.
"""

import functools
import importlib.abc
import importlib.util
import os
import runpy
import signal
import sys
from types import ModuleType
from typing import Any

PLACE, NUMBER, PROGRAM = (*sys.argv[1:4], "", "", "")[:3]
MODULE, _, NAME = PLACE.removesuffix("!").partition(":")
shots = 0
signal.signal(
    signal.SIGHUP, signal.SIG_DFL
)  # tests that run under nohup hand it on switched off, and that is respected


def shoot() -> None:
    global shots
    shots += 1
    if shots == 1:
        print(f"[shot at {PLACE}]", file=sys.stderr, flush=True)
        os.killpg(0, int(NUMBER)) if "GROUP" in os.environ else os.kill(os.getpid(), int(NUMBER))


def aim(module: ModuleType) -> None:
    *owners, last = NAME.split(".")
    owner: Any = functools.reduce(getattr, owners, module)
    real = getattr(owner, last)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        if PLACE.endswith("!"):
            result = real(*args, **kwargs)
            shoot()
            return result
        shoot()
        return real(*args, **kwargs)

    setattr(owner, last, call)


class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        if not NAME:
            shoot()
        spec = importlib.util.find_spec(fullname)
        if NAME and spec is not None and spec.loader is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), aim(module))[0]  # type: ignore[method-assign]
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, Watch())
    sys.argv = sys.argv[3:]
    if PROGRAM.endswith(".py"):
        sys.path[0] = os.path.dirname(os.path.abspath(PROGRAM))
        runpy.run_path(PROGRAM, run_name="__main__")
    else:
        sys.path[0] = os.getcwd()
        runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
