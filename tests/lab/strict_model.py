"""A stand-in for a model behind Converse that applies Bedrock's rules for tools, with an independent validator."""

import base64
import json
import re

import jsonschema

from .loopback import Answer, LoopbackServer, Request

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
COMBINATORS = ("oneOf", "anyOf", "allOf")
FORMATS = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF", "pdf": b"%PDF-"}


class StrictModel(LoopbackServer):
    """Refuses a call if one of its tools violates Bedrock's rules. `refusals` has the messages.

    If the query is JSON, `{"call": tool, "with": {...}}`, the model calls that tool. Otherwise it answers with the
    names of its tools. After a tool result it answers with the content of the result. With `takes_media=False`, it
    refuses images and documents.
    """

    def __init__(self, **settings):
        super().__init__()
        self.refusals: list[str] = []
        self.takes_media = True
        self._start(settings)

    def answer(self, request: Request) -> Answer:
        request.endpoint = "converse"
        asked = request.json
        tools = [tool["toolSpec"] for tool in (asked.get("toolConfig") or {}).get("tools", [])]
        contents = [block for message in asked["messages"] for block in message["content"]]
        media = [
            piece
            for block in contents
            for piece in block.get("toolResult", {}).get("content", [])
            if "text" not in piece
        ]
        faults = [fault for tool in tools for fault in faults_of(tool)] + [
            fault for piece in media for fault in media_faults(piece)
        ]
        if media and not self.takes_media:
            faults.append("This model doesn't support images or documents in tool results.")
        if faults:
            self.refusals += faults
            return Answer(400, {"message": faults[0]}, {"x-amzn-errortype": "ValidationException"})
        return Answer(200, spoken(self._content(asked, tools, contents)))

    def _content(self, asked: dict, tools: list, contents: list) -> list:
        results = [block["toolResult"] for block in contents if "toolResult" in block]
        if results:
            return [{"text": " | ".join(said(piece) for piece in results[-1]["content"])}]
        try:
            call = json.loads(contents[0]["text"])
        except json.JSONDecodeError:
            return [{"text": "tools: " + ", ".join(tool["name"] for tool in tools)}]
        return [{"toolUse": {"toolUseId": "t1", "name": call["call"], "input": call["with"]}}]


def said(piece: dict) -> str:
    if "text" in piece:
        return piece["text"]
    [(kind, media)] = piece.items()
    return f"{kind} {media['format']} {len(base64.b64decode(media['source']['bytes']))}"


def spoken(content: list) -> dict:
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if "toolUse" in content[0] else "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    }


def faults_of(tool: dict) -> list[str]:
    """Returns the reasons why Bedrock or its models would refuse a tool."""
    name, schema = tool["name"], tool["inputSchema"]["json"]
    faults = []
    if not NAME.fullmatch(name):
        faults.append(f"{name}: the name does not match")
    if "description" in tool and not tool["description"].strip():
        faults.append(f"{name}: the description is blank")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        faults.append(f"{name}: JSON schema is invalid. It must match JSON Schema draft 2020-12: {error.message}")
    if schema.get("type") != "object":
        faults.append(f"{name}: the type of the schema must be object")
    faults += [f"{name}: {word} is not supported at the top level" for word in COMBINATORS if word in schema]
    faults += [
        f"{name}: property keys should match pattern: {key}" for key in keys(schema) if not PROPERTY.fullmatch(key)
    ]
    faults += [f"{name}: reference not found: {at}" for at in references(schema) if not leads_somewhere(schema, at)]
    return faults


def keys(schema) -> list[str]:
    """Returns the names of all properties, including nested ones."""
    if isinstance(schema, list):
        return [key for item in schema for key in keys(item)]
    if not isinstance(schema, dict):
        return []
    properties = schema.get("properties")
    own = list(properties) if isinstance(properties, dict) else []
    return own + [key for value in schema.values() for key in keys(value)]


def references(schema) -> list[str]:
    if isinstance(schema, list):
        return [found for item in schema for found in references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [found for value in schema.values() for found in references(value)]


def leads_somewhere(schema: dict, reference: str) -> bool:
    from urllib.parse import unquote

    if not reference.startswith("#"):
        return False
    at = schema
    for part in unquote(reference[1:]).split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        at = at[int(part)] if isinstance(at, list) else at.get(part)
        if at is None:
            return False
    return True


def media_faults(piece: dict) -> list[str]:
    [(kind, media)] = piece.items()
    data = base64.b64decode(media["source"]["bytes"])
    return [] if data.startswith(FORMATS[media["format"]]) else [f"the {kind} is not of the format {media['format']}"]
