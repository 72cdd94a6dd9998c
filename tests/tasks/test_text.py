"""Stop strings, and text printed as far as it is certain."""

import io

import pytest

from errors import RequestError
from tasks.text import StopStrings, stops, stream_text, typed
from tokenization.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()


class Pieces(io.StringIO):
    """Remembers what was written at once."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def write(self, text):
        self.pieces.append(text)
        return super().write(text)


def shown(text: str, *stops: str) -> tuple[str, list[str]]:
    out = Pieces()
    result = stream_text(TOKENIZER.encode(text), StopStrings(TOKENIZER, stops), out=out)
    assert out.getvalue() == result
    return result, [piece for piece in out.pieces if piece]


def test_characters_of_several_bytes_wait_until_they_are_whole():
    assert shown("aé€") == ("aé€", ["a", "é", "€"])


def test_what_may_begin_a_stop_string_waits():
    assert shown("a\nb\n\nUser", "\n\nUser") == ("a\nb", ["a", "\nb"])
    assert shown("a\n\nUse", "\n\nUser")[0] == "a\n\nUse"  # it did not become one


def test_a_stop_string_is_noticed_when_its_last_token_comes():
    stop = StopStrings(TOKENIZER, ["END", "…"])
    ids = TOKENIZER.encode("x" * 50 + "END").tolist()
    assert not stop(ids[:-1])
    assert stop(ids)
    assert stop(TOKENIZER.encode("ab…").tolist())


def test_F42_escapes_are_what_a_shell_user_means():
    assert typed(r"a\nb\tc\rd") == "a\nb\tc\rd"
    assert typed(r"\\nabla \alpha C:\x") == r"\nabla \alpha C:\x"
    assert typed(r"\\\n") == "\\\n"
    assert typed("a\nb") == "a\nb"


def test_F18_a_stop_that_every_text_contains_is_refused():
    assert [stops(given) for given in (None, [], "a", ["a\\n", "b"])] == [[], [], ["a"], ["a\n", "b"]]
    for given in ("", [""], ["a", ""]):
        with pytest.raises(RequestError, match="stop names an empty text"):
            stops(given)
