"""Schemas: what is read, what is refused, what has no end."""

import json

import pytest

from errors import RequestError
from tasks.guiding.schema import endless, of_response_format, read_schema, regex_ends

SHORT = {"type": "string", "maxLength": 3}
CLOSED = {"type": "object", "properties": {"a": SHORT}, "additionalProperties": False}


def test_a_file_or_the_schema_itself(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(CLOSED), encoding="utf-8-sig")
    (tmp_path / "b.json").write_text(json.dumps(CLOSED))
    assert read_schema(json.dumps(CLOSED)) == read_schema(f" {json.dumps(CLOSED)}\n") == CLOSED
    assert read_schema(str(tmp_path / "a.json")) == read_schema(str(tmp_path / "b.json")) == CLOSED


@pytest.mark.parametrize(
    ("source", "says"),
    [("nowhere.json", "No such file"), ('{"type":', "is not JSON"), ('{"type":"string","type":"null"}', "twice"),
     ('{"a":' * 100_000, "nested too deeply|not JSON"), ('{"contentEncoding":"base64"}', "contentEncoding"),
     ('{"properties":{"a":{"nullable":true}}}', r"'nullable' at \$\.a"),
     ('{"anyOf":[{},{"foo":1}]}', r"\$\.anyOf\[1\]"),
     ('{"x-guidance":{"lenient":true}}', "x-guidance"), ('{"items":{"foo":1}}', r"\$\.items"),
     ('{"type":"text"}', r"\$\.type is 'text'; expected one of"), ('{"type":["null",{}]}', r"\$\.type is \{\}"),
     ('{"properties":{"a":"text"}}', r"\$\.a is 'text'; expected a JSON"), ('{"items":null}', r"\$\.items is None"),
     ('{"anyOf":[3]}', r"\$\.anyOf\[0\] is 3")],
    ids=range(14),
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(source, says):
    with pytest.raises(RequestError, match=says):
        read_schema(source)


def test_a_list_is_no_schema(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(RequestError, match="expected a JSON schema"):
        read_schema(str(tmp_path / "a.json"))


def test_names_of_properties_are_no_keywords():
    schema = {"type": "object", "properties": {"foo": SHORT}, "default": {"bar": 1}, "enum": [{"baz": 1}]}
    assert read_schema(json.dumps(schema)) == schema


ENDLESS = [
    ({"type": "string"}, "$ is a string without maxLength"),
    ({"type": "string", "pattern": "^[a-z]+$"}, "$ is a string without maxLength"),
    ({"type": "string", "pattern": "[a-z]{3}"}, "$ is a string without maxLength"),  # may match anywhere
    ({"type": "string", "format": "email"}, "$ is a string without maxLength"),
    ({"type": ["null", "string"]}, "$ is a string without maxLength"),
    ({"type": "integer", "minimum": 0}, "$ is an integer without minimum and maximum"),
    ({"type": "number", "minimum": 0, "maximum": 1}, "$ is a number, of any digits behind the point"),
    ({"type": "array", "items": SHORT}, "$ is an array without maxItems"),
    ({"type": "array", "maxItems": 2}, "$[] may be anything"),
    ({"type": "array", "prefixItems": [{"type": "string"}], "maxItems": 1}, "$[0] is a string without maxLength"),
    ({"type": "object", "properties": {"a": SHORT}}, "$ is an object without additionalProperties: false"),
    ({"properties": {"a": {"type": "string"}}, "additionalProperties": False}, "$.a is a string without maxLength"),
    ({}, "$ may be anything"),
    ({"anyOf": [SHORT, {"type": "string"}]}, "$.1 is a string without maxLength"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "$ is a string without maxLength"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {**CLOSED, "properties": {"a": {"$ref": "#/$defs/a"}}}}},
     "$.a may hold itself again and again (#/$defs/a)"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "says"), ENDLESS, ids=range(len(ENDLESS)))
def test_what_has_no_end_is_named_with_its_place(schema, says):
    assert endless(schema) == [says]


@pytest.mark.parametrize(
    "schema",
    [SHORT, CLOSED, {"enum": ["a" * 999]}, {"const": 1}, {"type": "boolean"}, {"type": "string", "format": "date"},
     {"type": "string", "pattern": "^a{2,5}[+*]\\+$"}, {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
     {"allOf": [{"type": "string"}, {"maxLength": 3}]}, {"type": "array", "items": SHORT, "maxItems": 3},
     {"type": "string", "anyOf": [{"maxLength": 2}, {"enum": ["x"]}]},
     {"type": "array", "prefixItems": [SHORT, SHORT], "items": False}, {"$ref": "#/$defs/a", "$defs": {"a": SHORT}}],
    ids=range(13),
)  # fmt: skip
def test_what_ends_is_not_warned_of(schema):
    assert endless(schema) == []


@pytest.mark.parametrize(
    ("pattern", "ends"),
    [("[a-z]{3}", True), ("a*", False), ("a+", False), ("a{2,}", False), (r"\*\+", True), ("[*+]", True),
     ("[]*]", True), ("a{2,5}?", True), (r"[\]]*", False)],
)  # fmt: skip
def test_which_patterns_end(pattern, ends):
    assert regex_ends(pattern) is ends


def test_response_format_of_a_served_api():
    assert of_response_format({"type": "text"}) is None
    assert of_response_format({"type": "json_object"}) == {"type": "object"}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": CLOSED}}
    assert of_response_format(asked) == CLOSED


@pytest.mark.parametrize(
    "wrong",
    [{}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "a"}}, "json_object",
     {"type": "json_schema", "json_schema": {"schema": {"foo": 1}}},
     {"type": "json_schema", "json_schema": {"schema": 1}}],
    ids=str,
)  # fmt: skip
def test_another_response_format_is_refused(wrong):
    with pytest.raises(RequestError, match="response_format"):
        of_response_format(wrong)
