"""Code keeps the lines and the indentation that a reader sees, whatever elements make them; gutters are left out."""

import pytest

from crawl.extract.code import settle
from crawl.extract.page import parse
from tests.crawl.extract.test_page import text_of
from tests.crawl.site import sentence

LINES = "a\n  b"


def listings(page: str) -> list[str]:
    tree = parse(f"<html><body>{page}</body></html>")
    assert tree is not None
    settle(tree)
    return [element.text for element in tree.iter("pre") if element.text]


@pytest.mark.parametrize(
    "page",
    [
        "<pre>a\n  b</pre>",
        "<pre>\n\na\r\n  b\r\n</pre>",
        "<pre>a<br>  b</pre>",
        "<pre><div>a</div><div>  b</div></pre>",
        "<pre><div>a\n</div><div>  b\n</div></pre>",
        "<pre><p>a</p><p>  b</p></pre>",
        "<pre>\n<ol>\n<li>a</li>\n<li>  b</li>\n</ol>\n</pre>",
        "<pre><ul><li>a<li>  b</ul></pre>",
        "<pre><code><span style='display:block'>a</span><span style='display: block'>  b</span></code></pre>",
        "<style>.x, .row { display: block }</style><pre><i class=row>a</i><i class=row>  b</i></pre>",
        "<pre><code><span class='line'>a</span><span class='line'>  b</span></code></pre>",
        "<pre><code><span class='line'>a</span>\n<span class='line'>  b</span></code></pre>",
        "<pre><table><tr><td>a</td></tr><tr><td>  b</td></tr></table></pre>",
        "<pre><table>\n <tr>\n <td>a</td>\n </tr>\n <tr><td>  b</td></tr></table></pre>",
        "<code style='display:block; white-space:pre'>a\n  b</code>",
        "<div style='white-space: pre'>a\n  b</div>",
        "<code>a<br>&nbsp; b</code>",
        "<xmp>a\n  b</xmp>",
        "<div class='fragment'><div class='line'>a</div><div class='line'>  b</div></div>",
        "<div class=code><div class='x'><div class='line l1'>a</div><div class='line l2'>&nbsp; b</div></div></div>",
    ],
)
def test_F14_lines_are_those_on_the_screen(page: str) -> None:
    assert listings(page) == [LINES]


@pytest.mark.parametrize(
    "page",
    [
        "<pre><span class='lineno'>1 </span>a\n<span class='lineno'>2 </span>  b</pre>",
        "<pre><span class='linenos'>1</span> a\n<span class='linenos'>2</span>   b</pre>",
        "<pre><a href='#l1'>1</a> a\n<a href='#l2'>2</a>   b</pre>",
        "<pre><span>9</span>a\n<span>10</span>  b</pre>",
        "<pre><span style='user-select:none'>1</span>a\n<span style='user-select: none'>2</span>  b</pre>",
        "<pre><table><tr><td>1</td><td>a</td></tr><tr><td>2</td><td>  b</td></tr></table></pre>",
        "<table><tr><td class='linenos'><pre>1\n2</pre></td><td class='code'><pre>a\n  b</pre></td></tr></table>",
        "<table><tr><td><pre>1\n2</pre></td><td><pre>a\n  b</pre></td></tr></table>",
        "<table><tr><td class=blob-num data-line-number=1></td><td class=blob-code>a</td></tr>"
        "<tr><td class=blob-num data-line-number=2></td><td class=blob-code>  b</td></tr></table>",
        "<pre><div class=cl><span class=ln>1</span>a</div><div class=cl><span class=ln>2</span>  b</div></pre>",
        "<pre>a\n  b<span class='line-numbers-rows'><span></span><span></span></span></pre>",
        "<pre><i class=line-no>1</i><span id=l1>a</span>\n<i class=line-no>2</i><span id=l2>  b</span></pre>",
        "<pre><i class=line-no>1</i><span> a</span>\n<i class=line-no>2</i><span>   b</span></pre>",
        "<div class=fragment><div class=line><a id=l1></a><i class=lineno>1</i>a</div><div class=line>"
        "<i class=lineno>2</i>  b</div></div>",
        "<pre>a\n  b<button>Copy</button><div class='copy-code'>Copied!</div></pre>",
    ],
)
def test_F14_gutters_are_no_code(page: str) -> None:
    assert listings(page) == [LINES]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<pre>1\n2\n3</pre>", "1\n2\n3"),
        ("<pre><span class=mi>1</span>,\n<span class=mi>2</span></pre>", "1,\n2"),
        ("<pre><span class='line' data-line-number='3'>42</span></pre>", "42"),
        ("<pre><span class='token comment'># tag</span>\nx = 1</pre>", "# tag\nx = 1"),
        ("<pre>a<br><br>b</pre>", "a\n\nb"),
        ("<pre><div>a</div><div><br></div><div>b</div></pre>", "a\n\nb"),
        ("<pre><ol><li>a</li><li></li><li>b</li></ol></pre>", "a\n\nb"),
        ("<pre>if x:\n\ty</pre>", "if x:\n        y"),
    ],
)
def test_F14_what_is_code_stays(page: str, text: str) -> None:
    assert listings(page) == [text]


@pytest.mark.parametrize("head", ["", "<meta property='og:type' content='article'>"])
def test_F14_code_in_a_text(head: str) -> None:
    """In a reference page (our walk) and in an article (trafilatura, which collapses white space)."""
    prose = "".join(f"<p>{sentence(n)} {sentence(n + 9)} {sentence(n + 30)}</p>" for n in range(5))
    code = "<pre><div>def f(x):</div><div>    return x</div></pre>"
    found = text_of(f"<html><head>{head}</head><body><article>{prose}{code}{prose[:200]}</p></article></body></html>")
    assert "\n\ndef f(x):\n    return x\n\n" in found


def test_F14_verses_are_no_code() -> None:
    assert listings("<div class='line-block'><div class='line'>Tyger,</div><div class='line'>tyger</div></div>") == []


def test_hostile_listings_end() -> None:
    assert listings("<pre>" + "<div>" * 200 + "x") == ["x"]
    assert len(listings("<pre>" * 100 + "x")) == 1
