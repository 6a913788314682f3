"""Tool schemas of every kind: the listed tools are the tools that a model is offered, and no schema fails a run.

The model applies Bedrock's rules, with another validator than the product's. `OFFERED` has schemas of real servers;
`LEFT_OUT` has schemas that no model can be offered, with the reason.
"""

import json

import pytest

from tests.lab import OddServer, StrictModel
from tests.support import CommandLine, tool

TEXT = {"type": "string"}
DRAFT = "http://json-schema.org/draft-{}/schema#"


def has(**properties) -> dict:
    return {"type": "object", "properties": properties}


def doubling(reference, define=lambda n, schema: schema) -> dict:
    """Definitions that each apply the next one twice: 2^25 checks."""
    defs = {"d0": define(0, TEXT)}
    for n in range(1, 26):
        below = {"$ref": reference(n - 1)}
        defs[f"d{n}"] = define(n, {"allOf": [below, below]})
    return has(a={"$ref": reference(25)}) | {"$defs": defs}


OFFERED = {
    "nothing": {},
    "a bare object": {"type": "object"},
    "no type": {"properties": {"a": TEXT}},
    "nullable object": {"type": ["object", "null"], "properties": {"a": TEXT}},
    "draft-04 bounds": {
        "$schema": DRAFT.format("04"),
        **has(ttl={"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
    },
    "draft-04 id": {
        "$schema": DRAFT.format("04"),
        "id": "http://a.example/s",
        **has(a={"$ref": "#/definitions/t"}),
        "definitions": {"t": TEXT},
    },
    "draft-06 const": {"$schema": DRAFT.format("06"), **has(a={"const": "x", "examples": ["x"]})},
    "draft-07 tuple": {
        "$schema": DRAFT.format("07"),
        **has(range={"type": "array", "items": [{"type": "number"}, {"type": "number"}], "additionalItems": False}),
    },
    "draft-07 dependencies": {
        "$schema": DRAFT.format("07"),
        **has(a=TEXT, b=TEXT),
        "dependencies": {"a": ["b"], "b": {"required": ["a"]}},
    },
    "draft-07 conditions": {
        "$schema": DRAFT.format("07"),
        **has(a=TEXT),
        "if": {"required": ["a"]},
        "then": {"required": ["b"]},
    },
    "tuple of no draft": has(range={"type": "array", "items": [{"type": "number"}]}),
    "bounds of no draft": has(n={"type": "number", "maximum": 5, "exclusiveMaximum": True}),
    "2019-09 recursion": {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$recursiveAnchor": True,
        **has(child={"$recursiveRef": "#"}),
    },
    "2020-12 dynamic": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$dynamicAnchor": "node",
        **has(child={"$dynamicRef": "#node"}),
    },
    "draft-03 required": has(a={"type": "string", "required": True}, b={"type": "any"}),
    "OpenAPI": has(pet={"$ref": "#/components/schemas/Pet"})
    | {
        "components": {
            "schemas": {
                "Pet": {"type": "object", "nullable": True, "properties": {"tag": {"type": "string", "nullable": True}}}
            }
        }
    },
    "definitions": has(a={"$ref": "#/definitions/A b"}) | {"definitions": {"A b": TEXT}},
    "percent-encoded": has(a={"$ref": "#/definitions/A%20b"}) | {"definitions": {"A b": TEXT}},
    "anchor": has(a={"$ref": "#t"}) | {"$defs": {"t": {"$anchor": "t", **TEXT}}},
    "embedded schema": has(a={"$ref": "t.json"}) | {"$defs": {"t": {"$id": "t.json", **TEXT}}},
    "own name": {"$id": "https://a.example/root.json", **has(a={"$ref": "root.json#/$defs/t"}), "$defs": {"t": TEXT}},
    "remote reference": has(a={"$ref": "https://schemas.example/thing.json"}),
    "file reference": has(a={"$ref": "file:///etc/passwd"}, b={"$ref": "other.json#/x"}),
    "dangling reference": has(a={"$ref": "#/$defs/none"}),
    "reference at the root": {"$ref": "#/definitions/Args", "definitions": {"Args": has(a=TEXT)}},
    "reference to itself": {"$ref": "#"},
    "circle of references": has(a={"$ref": "#/$defs/a"})
    | {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "tree": has(root={"$ref": "#/$defs/n"})
    | {"$defs": {"n": has(left={"$ref": "#/$defs/n"}, right={"$ref": "#/$defs/n"})}},
    "oneOf at the top": {"type": "object", "oneOf": [has(a=TEXT), has(b=TEXT)]},
    "anyOf of references": {"anyOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": has(a=TEXT)}},
    "allOf at the top": {"allOf": [has(a=TEXT), {"required": ["a"]}]},
    "not at the top": {"type": "object", "not": {"required": ["a"]}},
    "lookahead": has(mail={"type": "string", "format": "email", "pattern": "^(?!\\.)(?!.*\\.\\.)[^@]+@.+$"}),
    "broken pattern": has(a={"type": "string", "pattern": "[a-"}),
    "hungry pattern": has(a={"type": "string", "pattern": "^(\\w{1,900}){1,900}$"}),
    "patterned names": {"type": "object", "patternProperties": {"^(?=x)": TEXT}, "additionalProperties": False},
    "OData names": has(**{"$filter": TEXT, "$top": {"type": "integer"}}) | {"required": ["$filter"]},
    "bracketed names": has(**{"page[size]": {"type": "integer"}, "a b": TEXT, "straße": TEXT}),
    "nested odd names": has(page=has(**{"page[size]": TEXT}), list={"type": "array", "items": has(**{"@id": TEXT})}),
    "long name": has(**{"x" * 100: TEXT}),
    "null keywords": {
        "type": "object",
        "properties": {"a": {"type": "string", "enum": None, "items": None, "description": None}},
        "required": None,
        "additionalProperties": None,
    },
    "null properties": {"type": "object", "properties": None},
    "null property": has(a=None),
    "PHP's empties": {"type": "object", "properties": [], "required": []},
    "PHP's empty property": has(a=[]),
    "required twice": has(a=TEXT) | {"required": ["a", "a"]},
    "required as text": has(a=TEXT) | {"required": "a"},
    "empty combinators": has(a={"anyOf": [], "type": "string"}),
    "types as text": has(a="string"),
    "values with odd names": has(
        where={"type": "object", "properties": {"$eq": TEXT}, "default": {"$eq": "x"}, "enum": [{"$eq": "x"}]}
    ),
    "vendor keywords": has(a={"type": "string", "x-order": 1, "xml": {"name": "a"}, "deprecated": True}),
}

LEFT_OUT = {
    "of a string": ({"type": "string"}, "is not of an object"),
    "nonsense type": (has(a={"type": "integer[]"}), "no JSON Schema, at /properties/a/type"),
    "bound that is none": (has(a={"minimum": "low"}), "at /properties/a/minimum"),
    "properties in a list": ({"type": "object", "properties": [TEXT]}, "properties are no object"),
    "too large": (has(a={"description": "x" * 60_000}), "larger than 50,000 bytes"),
    "too deep": (__import__("functools").reduce(lambda inner, _: has(a=inner), range(30), {}), "nested more than 40"),
    "doubling": (doubling(lambda n: f"#/$defs/d{n}"), "multiply"),
    "doubling, encoded": (doubling(lambda n: f"#/%24defs/d{n}"), "multiply"),
    "doubling, anchored": (doubling(lambda n: f"#a{n}", lambda n, schema: schema | {"$anchor": f"a{n}"}), "multiply"),
    "doubling, dynamic": (
        doubling(lambda n: f"#a{n}", lambda n, schema: schema | {"$dynamicAnchor": f"a{n}"}),
        "multiply",
    ),
    "doubling, named": (doubling(lambda n: f"s{n}.json", lambda n, schema: schema | {"$id": f"s{n}.json"}), "multiply"),
    "doubling, by its own name": (doubling(lambda n: f"schema.json#/$defs/d{n}"), "multiply"),
}


def tools(schemas: dict) -> list[dict]:
    return [tool(name.replace(" ", "_"), inputSchema=schema) for name, schema in schemas.items()]


@pytest.fixture
def model(stands):
    return stands(StrictModel)


@pytest.fixture
def asked(backend, world, model):
    """A backend with `StrictModel`. Returns its only agent and the outcome of a job for a query."""

    def ask(server, query: str = "which tools are there?"):
        made = backend(
            [{"mcp_url": server.url, "agent_name": "odd"}],
            AWS_ENDPOINT_URL_BEDROCK_RUNTIME=model.base,
            CATALOG_TABLE=world.table(),
        )
        [agent] = made.agents()
        job = made.ask(query, ["odd"])[1]
        assert job["status"] == "COMPLETED", job
        return agent, json.loads(job["result"])["content"]

    return ask


@pytest.mark.parametrize("name", OFFERED)
def test_a_schema_is_offered_and_the_model_takes_it(asked, model, stands, name):
    agent, said = asked(stands(OddServer, tools=tools({name: OFFERED[name]})))
    assert agent["tools"] == [name.replace(" ", "_")] and agent["status_reason"] is None
    assert said == "tools: " + given(name) and model.refusals == []


def given(name: str) -> str:
    """Returns the tool's name as the model gets it: some of these names are changed."""
    fits = name.replace(" ", "_")
    return fits if fits.replace("_", "").replace("-", "").isalnum() else said_of(fits)


def said_of(name: str) -> str:
    readable = "".join(c if c.isalnum() or c in "_-" else "_" for c in name)
    digest = 0xCBF29CE484222325
    for byte in name.encode():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return f"{readable}-{digest % 2**40:010x}"


def test_all_of_them_at_once_fail_no_run_and_what_is_left_out_is_told_everywhere(asked, model, stands, tmp_path):
    server = stands(OddServer, tools=tools(OFFERED | {name: schema for name, (schema, _) in LEFT_OUT.items()}))
    agent, said = asked(server)
    offered = [name.replace(" ", "_") for name in OFFERED]
    assert agent["tools"] == offered and agent["status"] == "available"
    assert model.refusals == [] and said == "tools: " + ", ".join(given(name) for name in OFFERED)
    assert "left out: the tool of_a_string, which has a schema that is not of an object" in agent["status_reason"]
    assert f"and {len(LEFT_OUT) - 1} more" in agent["status_reason"]
    line = CommandLine(tmp_path)
    line.put({"mcp_url": server.url, "agent_name": "odd"})
    [report] = line.doctor()
    assert report["tools"] == offered
    shown = line.run("tools", "odd")
    for name, (_, reason) in LEFT_OUT.items():
        told = f"the tool {name.replace(' ', '_')}, which has a schema"
        for said in (report["steps"][-1]["detail"], shown.stderr):
            assert reason in said[said.index(told) :][:300], name


def test_names_are_mapped_back_in_arguments_nested_ones_too(asked, model, stands):
    schema = has(**{"$filter": TEXT, "page": has(**{"page[size]": {"type": "integer"}}), "plain": TEXT}) | {
        "required": ["$filter"]
    }
    server = stands(OddServer, tools=[tool("query", inputSchema=schema)])
    asked(server)
    [spec] = model.requests("converse")[0].json["toolConfig"]["tools"]
    shown = spec["toolSpec"]["inputSchema"]["json"]
    names = {name.split("-")[0]: name for name in shown["properties"]}
    size = next(iter(shown["properties"]["page"]["properties"]))
    assert shown["required"] == [names["_filter"]]
    arguments = {names["_filter"]: "a eq 1", "page": {size: 5}, "plain": "$filter"}
    _, said = asked(server, json.dumps({"call": "query", "with": arguments}))
    assert json.loads(said) == {"$filter": "a eq 1", "page": {"page[size]": 5}, "plain": "$filter"}
    _, said = asked(server, json.dumps({"call": "query", "with": {names["_filter"]: 5}}))
    assert "do not fit the tool's schema" in said and names["_filter"] in said


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (OFFERED["draft-04 bounds"], {"ttl": 1}, {"ttl": 0}),
        (OFFERED["draft-07 tuple"], {"range": [1, 2]}, {"range": [1, "x"]}),
        (OFFERED["draft-07 dependencies"], {"a": "x", "b": "y"}, {"a": "x"}),
        (OFFERED["draft-03 required"], {"a": "x"}, {}),
        (OFFERED["percent-encoded"], {"a": "x"}, {"a": 5}),
        (OFFERED["oneOf at the top"], {"a": "x", "b": 5}, {"a": "x", "b": "y"}),
        (OFFERED["lookahead"], {"mail": "not checked"}, {"mail": 5}),
        (OFFERED["patterned names"], {"xy": "x"}, None),
        (OFFERED["remote reference"], {"a": {"any": "thing"}}, None),
        (OFFERED["circle of references"], {"a": 1}, None),
    ],
)
def test_arguments_are_checked_as_the_schema_means_them(asked, stands, schema, right, wrong):
    server = stands(OddServer, tools=[tool("t", inputSchema=schema)])
    _, said = asked(server, json.dumps({"call": "t", "with": right}))
    assert json.loads(said) == right
    if wrong is not None:
        _, said = asked(server, json.dumps({"call": "t", "with": wrong}))
        assert "do not fit the tool's schema" in said
        assert len(server.requests("tools/call")) == 1, "the server never saw it"


def test_a_schema_that_would_check_for_ever_holds_up_no_other_agent(backend, stands, model, world):
    """A schema may refer to itself twice from a property, so the arguments determine how long checking takes."""
    twice = has(next={"allOf": [{"$ref": "#"}, {"$ref": "#"}]})
    server = stands(OddServer, tools=[tool("t", inputSchema=twice)])
    deep = {"leaf": 1}
    for _ in range(60):
        deep = {"next": deep}
    environment = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.base, "CATALOG_TABLE": world.table()}
    made = backend([{"mcp_url": server.url, "agent_name": "odd"}], **environment)
    job = made.ask(json.dumps({"call": "t", "with": deep}), ["odd"])[1]
    assert job["status"] == "COMPLETED" and json.loads(json.loads(job["result"])["content"]) == deep


def test_two_tools_with_many_hungry_patterns_fit_into_memory(asked, stands):
    """900 patterns each, which needed 1.5 GB when they were compiled before the first turn."""
    many = {f"p{n}": {"type": "string", "pattern": f"^(\\w{{1,200}}\\d{{1,{100 + n}}}){{1,3}}$"} for n in range(400)}
    server = stands(OddServer, tools=[tool(name, inputSchema=has(**many)) for name in ("one", "two")])
    _, said = asked(server, json.dumps({"call": "one", "with": {"p1": "x"}}))
    assert json.loads(said) == {"p1": "x"} or "do not fit" in said
