"""Powers, indices, formulas and readings as text."""

import pytest

from crawl.extract.notation import settle
from crawl.extract.page import parse
from tests.crawl.extract.test_page import text_of
from tests.crawl.site import sentence

TEX = '<annotation encoding="application/x-tex">x_1^2</annotation>'


def plain(page: str) -> str:
    tree = parse(f"<html><body><p>{page}</p></body></html>")
    assert tree is not None
    settle(tree)
    return tree.text_content()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("x<sup>10</sup>", "x^10"),
        ("10<sup>-3</sup> m<sup>2</sup>", "10^-3 m^2"),
        ("(a+b)<sup>2n</sup> <b>x</b><sup>n + 1</sup>", "(a+b)^(2n) x^(n+1)"),
        ("2<sup>2<sup>3</sup></sup>", "2^(2^3)"),
        ("a<sub>i</sub><sup>2</sup>", "a_i^2"),
        ("a<sub>n+1</sub> <i>a</i><sub>1</sub>", "a_(n+1) a_1"),
        ("H<sub>2</sub>SO<sub>4</sub> Ca(OH)<sub>2</sub>", "H2SO4 Ca(OH)2"),
        ("1<sup>st</sup> XX<sup>e</sup> n<sup>th</sup> Foo<sup>TM</sup> e<sup>x</sup>", "1st XXe nth FooTM e^x"),
        ('word<sup><a href="#n1">1</a></sup> or<a href="#n2"><sup>2</sup></a>', "word[1] or[2]"),
        ('word<sup class="reference"><a href="#c">[1]</a></sup>', "word"),
        ("<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>の", "漢字(かんじ)の"),
        ("<ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>", "漢(かん)字(じ)"),
    ],
)
def test_F14_powers_indices_readings(page: str, text: str) -> None:
    assert plain(page) == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (f"<math><semantics><mrow><mi>x</mi></mrow>{TEX}</semantics></math>", "$x_1^2$"),
        (r'<math alttext="{\displaystyle \frac{a}{b}}"><mfrac><mi>a</mi><mi>b</mi></mfrac></math>', r"$\frac{a}{b}$"),
        ('a <script type="math/tex">x^2</script> b', "a $x^2$ b"),
        ('<i class="MathJax_Preview">x2</i><i class="MathJax">x2</i><script type="math/tex">x^2</script>', "$x^2$"),
        ('<img class="math" alt="a^2">', "$a^2$"),
        (  # Wikipedia: hidden MathML and a picture
            '<span class="mwe-math-element"><span style="display:none"><math alttext="{\\displaystyle x}">'
            '<mi>x</mi></math></span><img class="mwe-math-fallback-image-inline" alt="{\\displaystyle x}"></span>',
            "$x$",
        ),
        (  # KaTeX: MathML and the same again for the eye
            f'k <span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi>{TEX}</semantics></math>'
            '</span><span class="katex-html" aria-hidden="true">x</span></span> z',
            "k $x_1^2$ z",
        ),
        ("<math><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></math>", "E = mc^2"),
        (
            "<math><mfrac><mrow><mo>-</mo><mi>b</mi><mo>±</mo><msqrt><mi>D</mi></msqrt></mrow><mrow><mn>2</mn><mi>a</mi></mrow></mfrac></math>",
            "(-b±sqrt(D))/(2a)",
        ),
        (
            "<math><munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><msub><mi>x</mi><mi>i</mi></msub></math>",
            "∑_(i=1)^n x_i",
        ),
    ],
)  # fmt: skip
def test_F14_formulas(page: str, text: str) -> None:
    assert plain(page) == text


@pytest.mark.parametrize("head", ["", "<meta property='og:type' content='article'>"])
def test_F14_notation_in_a_text(head: str) -> None:
    prose = "".join(f"<p>{sentence(n)} {sentence(n + 9)} {sentence(n + 30)}</p>" for n in range(5))
    formula = (
        f"<p>So the area is x<sup>10</sup> or <math><semantics><mi>x</mi>{TEX}</semantics></math>, as we have seen.</p>"
    )
    found = text_of(f"<html><head>{head}</head><body><article>{prose}{formula}</article></body></html>")
    assert "the area is x^10 or $x_1^2$, as we have seen." in found
