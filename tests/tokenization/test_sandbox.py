# ruff: noqa: E501 - a template is a line
"""Templates as foreign code: bounded in steps, size and time (F25), and every character followed (N13)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import RequestError
from tokenization.chat.sandbox import Rendering, Turn, compiled
from tokenization.chat.traced import DATA, Traced, concat, traced

HOSTILE = {
    "nested ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "ranges in filters": "{% for a in range(99999) %}{{ range(99999) | map('string') | list | length }}{% endfor %}",
    "a wide number": "{{ '%999999999d' % 1 }}",
    "a named wide number": "{{ '%(a)999999999d' % {'a': 1} }}",
    "a width as an argument": "{{ '%*d' % (999999999, 1) }}",
    "format": "{{ '{:>999999999}'.format('a') }}",
    "format with a width inside": "{{ '{:>{}}'.format('a', 999999999) }}",
    "the filter format": "{{ '%999999999d' | format(1) }}",
    "center": "{{ 'a' | center(10**10) }}",
    "center of a constant": "{{ 'a' | center(10000000000) }}",
    "ljust": "{{ 'a'.ljust(10**10) }}",
    "zfill": "{{ 'a'.zfill(9999999999) }}",
    "tabs": "{{ ('\\t' * 9000).expandtabs(999999) }}",
    "tojson": "{{ [[1]] | tojson(indent=10**9) }}",
    "tojson with a text": "{{ messages | tojson(indent='a' * 9000000) | length }}",
    "indent": "{{ 'a\\nb' | indent(10**9) }}",
    "a product": "{{ 'a' * 10**9 }}",
    "a product of a list": "{{ [0] * 10**9 }}",
    "a power": "{{ 10**10**10 }}",
    "growing numbers": "{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "doubling": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by join": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}",
    "lists in lists": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "lists in JSON": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
    "lists compared": "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
    "lists in a test": "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x is eq(n.y) }}",
    "replace": "{% set a = 'a' * 90000 %}{{ a | replace('a', a) | length }}",
    "the method replace": "{% set a = 'a' * 90000 %}{{ a.replace('a', a) | length }}",
    "a long output": "{% for i in range(99999) %}{{ 'a' * 9000 }}{% endfor %}",
    "a macro that calls itself": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "lipsum": "{{ lipsum(n=99999999) }}",
    "deep source": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "insides": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "insides by format": "{{ '{0.__class__}'.format(messages) }}x{{ raise_exception('no insides') }}",
    "insides of a namespace": "{% set n = namespace() %}{% set n.__class__ = 1 %}",
}  # fmt: skip


def render(template: str, *contents: str, **more) -> Rendering:
    sandbox, made, _ = compiled(template)
    messages = [Turn(traced({"role": "user", "content": text})) for text in contents]
    for i, message in enumerate(messages):
        message._index = i
    return sandbox.rendering(made, {"messages": messages, "x": Traced(contents[0] if contents else "")} | more)


def own(found: Rendering) -> str:
    """What of it is the template's own."""
    return "".join(
        c if not flag & DATA else "." for c, flag in zip(str.__str__(found.text), found.text._flags, strict=True)
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_F25_a_hostile_template_ends(name, monkeypatch):
    monkeypatch.setattr("tokenization.chat.sandbox.CPU_SECONDS", 0.3)
    began = time.thread_time()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - JinjaTemplate makes a RequestError of all of them
        render(HOSTILE[name], "a")
    assert not isinstance(caught.value, MemoryError)
    assert time.thread_time() - began < 10  # the bound is looked at between operations


def test_F25_what_real_templates_do_is_within_the_bounds():
    long = "word " * 100_000
    assert render("{{ x | trim }}{{ x.replace('w', 'ww') | length }}{{ '%s' % x }}", long).text.startswith(long[:99])
    loop = "{% for m in messages %}{% for n in messages[::-1] %}{% endfor %}{{ m.content }}{% endfor %}"
    assert len(render(loop, *["a"] * 500).text) == 500


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<a>{{ x }}<b>", "<a>...<b>"),
        ("{{ '<a>' + x + '<b>' }}", "<a>...<b>"),
        ("{{ '<a>' ~ x ~ 1 ~ '<b>' }}", "<a>...1<b>"),
        ("{{ '<a>%s<b>%d' % (x, 3) }}", "<a>...<b>3"),
        ("{{ '<a>%s' % x }}", "<a>..."),
        ("{{ '<a>{}{}<b>'.format(x, x) }}", "<a>......<b>"),
        ("{{ '<a>%s' | format(x) }}", "<a>..."),
        ("{{ '<a>'.join([x, x]) }}", "...<a>..."),
        ("{{ [x, '<b>', x] | join('<a>') }}", "...<a><b><a>..."),
        ("{{ '<a>_<b>' | replace('_', x) }}", "<a>...<b>"),
        ("{{ '<a>_<b>'.replace('_', x) }}", "<a>...<b>"),
        ("{{ ('<a>' + x + '  ') | trim }}", "<a>..."),
        ("{{ ('<a>' + x + '<b>').split('<b>')[0] }}", "<a>..."),
        ("{{ ('<a>' + x + '<b>').partition('<a>')[2] }}", "...<b>"),
        ("{{ ('<a>' + x)[::-1] }}", "...>a<"),
        ("{{ ('<a>' + x) | list | join }}", "<a>..."),
        ("{% set y %}<a>{{ x }}{% endset %}{{ y }}", "<a>..."),
        ("{% macro f(z) %}<a>{{ z }}{{ caller() }}{% endmacro %}{% call f(x) %}<b>{% endcall %}", "<a>...<b>"),
        ("{{ x | upper }}", "..."),
        ("{{ x | e }}{{ x | safe }}<b>", "......<b>"),
        ("{{ '<a>' + (x | safe) }}", "............"),  # as in Jinja, what is added to safe text is escaped
        ("{{ 'a' | safe }}{{ x | default('<a>') }}{{ nothing | default('<a>') }}", "a...<a>"),
        ("{{ messages[0] }}", "." * len("{'role': 'user', 'content': 'abc'}")),
        ("{{ messages[0] | string }}", "." * len("{'role': 'user', 'content': 'abc'}")),
        ("{{ messages[0] | tojson }}", "." * len('{"role": "user", "content": "abc"}')),
        ("{{ {x: 1} | tojson }}", "." * len('{"abc": 1}')),
        ("{{ (x ~ '\n' ~ x) | indent(2) }}", "." * len("abc\n  abc")),
        ("{% filter upper %}{{ x }}{% endfilter %}", "..."),
        ("{% generation %}<a>{{ x }}{% endgeneration %}", "<a>..."),
        ("{{ x * 2 }}{{ '<a>' * 2 }}", "......<a><a>"),
        ("{{ x | map('upper') | join }}{{ messages | map(attribute='content') | join('<a>') }}", "......"),
        ("{{ strftime_now(x) }}", "..."),
        ("{% for c in x %}{{ c }}|{% endfor %}", ".|.|.|"),
        ("{{ x.format() }}{{ x.title() }}{{ x.center(5) }}", "...... ... "),
        ("{{ cycler(x, '<a>').next() }}{{ dict(a=x).a }}{{ namespace(a=x).a }}", "........."),
    ],
)  # fmt: skip
def test_N13_what_came_from_the_data_is_known_whatever_is_done_with_it(template, expected):
    assert own(render(template, "abc")) == expected


OPERATIONS = {
    "strip": lambda s, t: s.strip(t),
    "lstrip": lambda s, t: s.lstrip(t),
    "rstrip": lambda s, t: s.rstrip(),
    "split": lambda s, t: s.split(t),
    "split once": lambda s, t: s.split(t, 1),
    "split at blanks": lambda s, t: s.split(),
    "split at blanks twice": lambda s, t: s.split(None, 2),
    "rsplit": lambda s, t: s.rsplit(t, 1),
    "rsplit at blanks": lambda s, t: s.rsplit(None, 1),
    "splitlines": lambda s, t: s.splitlines(),
    "splitlines with ends": lambda s, t: s.splitlines(True),
    "partition": lambda s, t: s.partition(t),
    "rpartition": lambda s, t: s.rpartition(t),
    "replace": lambda s, t: s.replace(t, "xy"),
    "replace once": lambda s, t: s.replace(t, "xy", 1),
    "replace nothing": lambda s, t: s.replace("", t),
    "prefix": lambda s, t: s.removeprefix(t),
    "suffix": lambda s, t: s.removesuffix(t),
    "slice": lambda s, t: s[1:-1:2],
    "backwards": lambda s, t: s[::-1],
    "join": lambda s, t: s.join([t, t, "z"]),
    "add": lambda s, t: s + t,
    "add to": lambda s, t: t + s,
    "times": lambda s, t: s * 3,
    "characters": lambda s, t: list(s),
}


@given(st.text("ab \n<", max_size=12), st.text("ab \n<", min_size=1, max_size=2), st.sampled_from(sorted(OPERATIONS)))
def test_a_traced_text_does_what_text_does(text, other, name):
    """The same characters, and each with the flag of the place it came from."""
    flags = bytes(i % 2 for i in range(len(text)))
    found, expected = OPERATIONS[name](Traced(text, flags), other), OPERATIONS[name](text, other)
    assert found == expected
    for piece in [found] if isinstance(found, str) else found:
        assert isinstance(piece, Traced)
        assert len(piece._flags) == len(piece)
    whole = Traced("", b"") + concat(found) if isinstance(found, list | tuple) else found
    if name not in ("replace nothing", "join", "add", "add to", "times", "replace", "replace once"):
        shown = {(text[i], flags[i]) for i in range(len(text))}
        assert set(zip(str.__str__(whole), whole._flags, strict=True)) <= shown


def test_splitting_keeps_each_character_with_its_flag():
    text = Traced("ab cd  ef", bytes([1, 0, 0, 1, 0, 0, 0, 1, 1]))
    assert [part._flags for part in text.split()] == [b"\1\0", b"\1\0", b"\1\1"]
    assert [part._flags for part in text.split("d")] == [b"\1\0\0\1", b"\0\0\1\1"]
    assert text.replace("cd", Traced("xyz"))._flags == b"\1\0\0\1\1\1\0\0\1\1"


def test_F8_filters_take_their_arguments():
    form = "{{ x | tojson(sort_keys=true, separators=(',', ':'), ensure_ascii=true) }}"
    assert render(form, x={"b": "é", "a": 1}).text == '{"a":1,"b":"\\u00e9"}'
    assert render("{{ x | tojson(indent=2) }}", x=[1]).text == "[\n  1\n]"
    assert render("{{ x | tojson }}", x="<é>").text == '"<é>"'


def test_a_template_that_cannot_be_read_is_refused_in_words():
    with pytest.raises(RequestError, match="cannot be read, line 1"):
        compiled("{% if %}")
