"""A text that tries to leave its place in an HTML page, and a reader that sees whether it did."""

from html.parser import HTMLParser

HOSTILE = """</script></style></title></pre>"'><x-evil onload='steal()'>{{ 7 * 7 }}{% endif %}&lt;<!-- """


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ends: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.ends.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_stays_text(html: str, *, times: int) -> None:
    """HOSTILE is seen as it is, `times` or more often, and is nowhere a tag; nothing is fetched."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert "x-evil" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name == "src"]
    in_drawings = {"style": html.count("<svg"), "title": html.count("</title></g>")}
    for once in ("html", "head", "title", "style", "body", "main"):
        assert reader.tags.count(once) - in_drawings.get(once, 0) <= 1
    assert {
        tag: reader.ends.count(tag) - in_drawings.get(tag, 0) for tag in ("html", "title", "main", "body")
    } == dict.fromkeys(("html", "title", "main", "body"), 1), "nothing after it was lost in a comment"
    assert reader.text.count(HOSTILE) >= times
    assert "{{ 7 * 7 }}" in reader.text
