"""Jinja as transformers offers it to chat templates, with every character followed and every effort bounded.

A template comes from the Hub: it is foreign code. Jinja's sandbox keeps it from Python; here it is also kept from
taking for ever or filling the memory (F25). Its text is the one of `apply_chat_template(tokenize=False)`: data reach it
as they are, nothing is put into them that it could stumble over (F7).

While it renders, two things are noted: which message a loop has come to (`Rendering.places`), and what came from the
data (`traced.py`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial, wraps
from itertools import islice
from operator import mod
from typing import Any, NamedTuple, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, operators
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_environment

from errors import RequestError
from tokenization.chat.traced import Traced, TracedMarkup, between, concat, flags_of, followed, is_traced, learned

STEPS, CPU_SECONDS = 1_000_000, 10.0  # of one rendering
CHARS = 1 << 25  # of any text on the way
NUMBER = 10_000  # widths, counts; a number in an argument is nothing larger
DEPTH = 200
# filters that make new text; the others hand on what they were given
MAKERS = (
    *("capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower", "pprint", "reverse", "safe"),
    *("string", "striptags", "title", "tojson", "truncate", "upper", "urlencode", "urlize", "wordwrap", "xmlattr"),
)
MOVERS = ("center", "e", "escape", "forceescape", "format", "indent", "safe", "string")  # of these, moving it whole
WIDE = ("batch", "center", "filesizeformat", "indent", "replace", "round", "slice", "tojson", "wordwrap")
FORMS = ("format", "format_map")
FIELD = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*|\{[^{}]*")  # of a form for % or for format


class TooMuchError(TemplateError):
    """A template wants more time or room than any chat template needs."""


class Turn(dict[str, Any]):
    """A message, as the template sees it; `_index` says which."""

    _index: int


class Rendering(NamedTuple):
    """`places`: [(where in the text, index of the message that a loop came to, or None after the loop), ...]."""

    text: Traced
    places: list[tuple[int, int | None]]


class Sandbox(ImmutableSandboxedEnvironment):
    """One for each template: it counts the steps of the rendering that goes on."""

    intercepted_binops = frozenset(["+", "*", "%", "**"])

    def __init__(self, moment: datetime | None = None) -> None:
        """`moment`: what `strftime_now` writes; None: when it is asked."""
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        self.code_generator_class = Joining
        self.finalize = self.shown
        self.concat = self.joined  # type: ignore[method-assign]
        self.filters |= {"tojson": as_json, "join": join, "replace": replace}
        self.filters = {name: self._guarded(name, function) for name, function in self.filters.items()}
        self.tests = {name: self._weighed(cast(Callable[..., Any], function)) for name, function in self.tests.items()}
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": refuse, "strftime_now": partial(now, moment)}
        self.globals |= {"dict": NewDict(), "namespace": SafeNamespace}
        self._start()

    def _start(self) -> None:
        self._steps, self._until = 0, time.thread_time() + CPU_SECONDS
        self._places: list[tuple[int, int | None]] = []
        self._length = 0
        self._loops: list[tuple[int, int]] = []  # (loop, message) from the outermost

    def rendering(self, template: Any, variables: Mapping[str, Any]) -> Rendering:
        """Raises whatever the template raises, TooMuchError beyond the bounds."""
        self._start()
        parts: list[str] = []
        for part in template.root_render_func(template.new_context(dict(variables))):
            parts.append(part)
            self._length += len(part)
            self._check(self._length)
        text = concat(parts)
        return Rendering(text if isinstance(text, Traced) else Traced(text, b"\0" * len(text)), self._places)

    # Called by the compiled template --------------------------------------------------------------------------------

    def entered(self, loop: int, *values: Any) -> str:
        """At the beginning of every turn of a loop."""
        self._step()
        turn = next((value for value in values if isinstance(value, Turn)), None)
        if turn is not None:
            self._outside(loop)
            self._loops.append((loop, turn._index))
            self._places.append((self._length, turn._index))
        return ""

    def left(self, loop: int) -> str:
        """After a loop: back to the message of the one around it."""
        if self._outside(loop):
            self._places.append((self._length, self._loops[-1][1] if self._loops else None))
        return ""

    def _outside(self, loop: int) -> bool:
        """Leave a loop and what is in it; whether it was at a message."""
        for depth, (number, _) in enumerate(self._loops):
            if number == loop:
                del self._loops[depth:]
                return True
        return False

    def joined(self, parts: Any) -> Any:
        self._step()
        kept = [self.shown(part) for part in parts]
        self._check(sum(map(len, kept)))
        return concat(kept)

    def shown(self, value: Any) -> str:
        """A value as text."""
        if isinstance(value, TracedMarkup):
            return Traced(str(value))
        if isinstance(value, str):
            return value
        self._weigh(value)
        return Traced(str(value)) if is_traced(value) else str(value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as Jinja's
        self, name = __self, getattr(__obj, "__name__", "")
        self._step()
        call = partial(super().call, __context, __obj)
        # what Jinja puts in front of str.format has the method behind it
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if not isinstance(owner, str):
            return call(*args, **kwargs)
        given = {key: value for key, value in kwargs.items() if key not in ("_loop_vars", "_block_vars")}
        self._check_method(name, owner, args, given)
        result = call(*args, **given)
        if isinstance(owner, Traced | TracedMarkup):
            return followed(result, getattr(str, name) if name not in FORMS else None, (owner, *args), given)
        return followed(result, call, args, given) if is_traced(args) or is_traced(given) else result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self._step()
        if operator == "**" and (abs(left) > NUMBER or abs(right) > 64):
            raise TooMuchError(f"a power of {left:.0f} by {right:.0f}")
        if operator == "*" and (hasattr(left, "__len__") or hasattr(right, "__len__")):
            self._check(size(left) * size(right))
        elif isinstance(left, str) and operator == "%":
            self._check_format(left, right)
        elif operator == "+":
            self._check(size(left, number=1) + size(right, number=1))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and result.bit_length() > NUMBER:
            raise TooMuchError("a number of more than 10,000 bits")
        if operator == "%" and (is_traced(left) or is_traced(right)):
            return followed(result, mod, (left, right), {})
        return result

    # Bounds ---------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self._steps += 1
        self._check_time()

    def _check_time(self) -> None:
        if self._steps > STEPS or time.thread_time() > self._until:
            raise TooMuchError(f"more than {STEPS:,} steps or {CPU_SECONDS:.0f} seconds")

    def _check(self, chars: int) -> None:
        if chars > CHARS:
            raise TooMuchError(f"a text or list of more than {CHARS:,} characters or items")

    def _weigh(self, value: Any, depth: int = 0) -> int:
        """Characters and items of a value, each as often as it would be written."""
        if depth > DEPTH:
            raise TooMuchError(f"data more than {DEPTH} levels deep")
        if isinstance(value, str):
            return len(value) + 1
        parts: Any = ()
        if isinstance(value, Mapping):
            parts = (part for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple | set):
            parts = value
        total = 1
        self._check_time()
        for part in parts:
            total += self._weigh(part, depth + 1)
            self._check(total)
        return total

    def small(self, *values: Any) -> Any:
        """The first of them, which may be compared: none is a list of lists of lists without end."""
        for value in values:
            if not isinstance(value, str):
                self._weigh(value)
        return values[0]

    def _check_numbers(self, values: Any) -> int:
        """The largest number among arguments. TooMuchError: it would be a width or a count that nothing needs."""
        numbers = [abs(int(value)) for value in values if isinstance(value, int)]
        if any(number > NUMBER for number in numbers):
            raise TooMuchError(f"a width or count of more than {NUMBER:,}")
        return max(numbers, default=0)

    def _check_method(self, name: str, owner: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        values = [*args, *kwargs.values()]
        widest = self._check_numbers(values)
        if name in FORMS:
            self._check_format(owner, values)
        elif name == "replace" and len(args) > 1:
            self._check(len(owner) + owner.count(args[0]) * len(args[1]))
        elif name == "join" and args:
            self._check(self._weigh(args[0]) + len(owner) * len(args[0]) if hasattr(args[0], "__len__") else 0)
        elif name in ("expandtabs", "translate"):
            self._check(len(owner) * max(1, widest))

    def _check_format(self, form: str, values: Any) -> None:
        """Widths stand in the form or come as numbers; a value may be written as often as the form has fields."""
        fields = FIELD.findall(form)
        self._check_numbers(int(number[:20]) for field in fields for number in re.findall(r"\d+", field))
        if any("*" in field for field in fields) or ":{" in form:
            self._check_numbers(values if isinstance(values, list | tuple) else [values])
        self._check(len(form) + len(fields) * (self._weigh(values) + NUMBER))

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that takes a step, is bounded, and whose new text is followed."""
        hidden = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context or the environment comes first

        @wraps(function)
        def guarded(*given: Any, **kwargs: Any) -> Any:
            self._step()
            args = list(given)
            if len(args) > hidden and isinstance(args[hidden], Iterator):
                args[hidden] = list(islice(args[hidden], CHARS))
            self._check_filter(name, args[hidden:], kwargs)
            result = function(*args, **kwargs)
            if name not in MAKERS or not (is_traced(args[hidden:]) or is_traced(kwargs)):
                return result
            if isinstance(result, Traced):  # what was done inside with a str may have lost flags
                result = str.__str__(result)
            make = partial(function, *args[:hidden]) if name in MOVERS else None
            return followed(result, make, tuple(args[hidden:]), kwargs)

        return guarded

    def _weighed(self, test: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(test)
        def weighed(*args: Any) -> Any:
            self._step()
            self.small(*args[hasattr(test, "jinja_pass_arg") :])
            return test(*args)

        return weighed

    def _check_filter(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        options = [*args[1:], *kwargs.values()]
        widest = self._check_numbers(options if name in WIDE else ())
        if name not in (*MAKERS, "join", "replace", "sort", "unique", "groupby", "min", "max"):
            return
        weight = self._weigh(args[0]) if args else 0
        longest = max([widest, *(len(value) for value in options if isinstance(value, str))], default=0)
        if name == "format":
            self._check_format(str(args[0]), [*args[1:], *kwargs.values()])
        elif name == "replace" and len(args) > 2:
            self._check(weight + str(args[0]).count(str(args[1])) * len(str(args[2])))
        elif name in ("indent", "wordwrap"):
            self._check(weight + longest * (str(args[0]).count("\n") + 1 if name == "indent" else weight))
        elif name in ("join", "tojson", "xmlattr", "urlize"):
            self._check(weight * max(1, longest))


def size(value: Any, *, number: int | None = None) -> int:
    """Length of a text or list; a number's own, or `number`."""
    if isinstance(value, int | float):
        return max(1, int(min(abs(value), 2 * CHARS))) if number is None else number
    return len(value) if hasattr(value, "__len__") else 1


def as_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """transformers' filter: Jinja's own escapes what HTML would not bear."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_environment
def join(environment: Sandbox, value: Any, d: str = "", attribute: Any = None) -> Any:
    """Jinja's; every part keeps its flags."""
    parts = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    return concat(between(str(d), map(environment.shown, parts)))


def replace(s: Any, old: Any, new: Any, count: int | None = None) -> Any:
    """Jinja's; what is put in keeps its flags."""
    return Traced(str(s), flags_of(str(s))).replace(str(old), str(new), -1 if count is None else count)


def now(moment: datetime | None, form: str) -> str:
    text = (moment or datetime.now()).strftime(form)
    return Traced(text) if is_traced(form) else text


def refuse(message: str) -> None:
    raise TemplateError(message)


class NewDict:
    """`dict` without the rest of Python behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class SafeNamespace(Namespace):
    """Jinja's, whose own insides no template may set."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            check_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        check_name(name)
        super().__setitem__(name, value)


def check_name(name: Any) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace has no room for {name!r}")


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}` encloses what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own way

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> Traced:
        return learned(caller())


class Joining(CodeGenerator):
    """`a ~ b` and comparisons, with a word to the sandbox."""

    def visit_Compare(self, node: nodes.Compare, frame: Any) -> None:
        self.write("(environment.small(")
        self.visit(node.expr, frame)
        self.write(")")
        for operand in node.ops:
            self.write(f" {operators[operand.op]} environment.small(")
            self.visit(operand.expr, frame)
            self.write(")")
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def compiled(text: str, moment: datetime | None = None) -> tuple[Sandbox, Any, set[str]]:
    """Sandbox, template, and the names that the template looks up. Raises RequestError where it cannot be read."""
    sandbox = Sandbox(moment)
    try:
        tree = sandbox.parse(text)
        names = {node.attr for node in tree.find_all(nodes.Getattr)}
        names |= {str(node.value) for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
        for number, loop in enumerate(list(tree.find_all(nodes.For))):
            noted(loop, number, tree)
        return sandbox, sandbox.from_string(tree), names
    except TemplateSyntaxError as error:
        raise RequestError(f"the tokenizer's chat template cannot be read, line {error.lineno}: {error}") from None
    except (RecursionError, TooMuchError, TemplateError) as error:
        raise RequestError(f"the tokenizer's chat template cannot be read: {error}") from None


def noted(loop: nodes.For, number: int, tree: nodes.Template) -> None:
    """`entered` at the beginning of the loop's body, `left` behind it."""
    targets = [nodes.Name(name.name, "load") for name in loop.target.find_all(nodes.Name)]
    if isinstance(loop.target, nodes.Name):
        targets = [nodes.Name(loop.target.name, "load")]
    loop.body.insert(0, tell("entered", number, targets).set_lineno(loop.lineno))
    for parent in [tree, *tree.find_all(nodes.Node)]:
        for field in ("body", "else_"):
            body = getattr(parent, field, None)
            if isinstance(body, list) and any(child is loop for child in body):
                at = next(i for i, child in enumerate(body) if child is loop)
                body.insert(at + 1, tell("left", number, []).set_lineno(loop.lineno))
                return


def tell(name: str, number: int, values: list[nodes.Name]) -> nodes.Output:
    call = nodes.Call(nodes.EnvironmentAttribute(name), [nodes.Const(number), *values], [], None, None)
    return nodes.Output([call])
