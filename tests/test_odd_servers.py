"""MCP servers with unusual answers, made after public bug reports. An unusual part of an answer affects no other part.

The tests use the deployed functions or the command line. Errors say what happened, and come without waiting for a
timeout.
"""

import base64
import gzip
import itertools
import json
import time

import pytest

from tests.lab import Answer, OddServer
from tests.lab.certificate import certify
from tests.lab.odd_server import ECHO, events, result
from tests.peers import Http2Server
from tests.support import CANARY, script, tool

NOT_MCP = "does not speak MCP"


@pytest.fixture
def backend(backend, world):
    """Creates a backend with its own catalog table, because ports are reused."""
    return lambda *entries, **environment: backend(entries, **{"CATALOG_TABLE": world.table()} | environment)


@pytest.fixture
def doctor(line):
    """Returns the last step of `mcp-agents doctor` for one server."""

    def examine(server, **fields) -> dict:
        line.put({"mcp_url": server.url, "agent_name": "odd"} | fields)
        started = time.monotonic()
        [report] = line.doctor("--timeout", "20")
        assert time.monotonic() - started < 15, "it waited for an answer that had come"
        return report["steps"][-1] | {"tools": report["tools"]}

    return examine


def listed(backend, server, **environment) -> dict:
    [agent] = backend({"mcp_url": server.url, "agent_name": "odd"}, **environment).agents()
    return agent


def ran(backend, server, *steps, **fields) -> dict:
    """Runs a scripted job, and returns its item."""
    made = backend({"mcp_url": server.url, "agent_name": "odd"} | fields)
    return made.ask(script(*steps), ["odd"])[1]


def heard(job: dict) -> str:
    """Returns the text that the model was given, which the scripted model repeats."""
    assert job["status"] == "COMPLETED", job
    return json.loads(job["result"])["content"]


def messages(job: dict) -> list[dict]:
    return json.loads(job["agent_messages"])


CALL = ({"call": "echo", "with": {"text": "hi"}}, {"say": "{status}: {result}"})


# Every request gets one answer


def refusing(status, id, code=-32000, text="no such session here"):
    """Answers with an error whose id is not the request's id."""

    def answer(message):
        error = {"jsonrpc": "2.0", "error": {"code": code, "message": text}}
        return Answer(status, error if id == "missing" else error | {"id": id})

    return answer


@pytest.mark.parametrize("method", ["initialize", "tools/list"])
@pytest.mark.parametrize(("status", "id"), itertools.product((200, 400, 500), (None, "server-error", "missing")))
def test_an_error_under_another_id_is_reported_at_once(doctor, stands, method, status, id):
    server = stands(OddServer, odd={method: refusing(status, id, -32011, "it is closed today")})
    step = doctor(server)
    assert step["reason"] == "rejected"
    assert f"refused {method} with JSON-RPC error -32011: it is closed today" in step["detail"]
    assert (f"HTTP status {status}" in step["detail"]) == (status != 200)
    assert NOT_MCP not in step["detail"] and "mcp_url" not in step["remedy"]


@pytest.mark.parametrize(("status", "id"), [(200, None), (400, "server-error"), (500, "missing")])
def test_a_refused_call_is_reported_to_the_model_at_once(backend, stands, status, id):
    server = stands(OddServer, odd={"tools/call": refusing(status, id, -32602, "b must be above 0")})
    started = time.monotonic()
    said = heard(ran(backend, server, *CALL))
    assert said.startswith("error:") and "-32602: b must be above 0" in said
    assert time.monotonic() - started < 20, "TOOL_TIMEOUT_SECONDS is 60"
    assert len(server.requests("tools/call")) == 1


def test_a_refusals_words_lose_the_secrets_that_they_quote(backend, stands):
    key = f"{CANARY}-key"
    server = stands(OddServer, odd={"tools/call": refusing(400, None, -1, f"not with {key} and {CANARY}-header")})
    entry = {"auth_type": "api_key", "credentials": key, "extra_headers": {"X-Token": f"{CANARY}-header"}}
    job = ran(backend, server, *CALL, **entry)
    assert CANARY not in json.dumps(job) and "[credential]" in heard(job)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (lambda message: Answer(202), "bare acceptance"),
        (lambda message: events("event: message\ndata: {}"), "before the server's answer to tools/list"),
        (lambda message: events('data: {"jsonrpc": '), "not JSON"),
        (lambda message: Answer(200, b"", {"content-type": "application/json"}), "empty"),
        (lambda message: Answer(200, [1, 2]), "not JSON-RPC"),
        (lambda message: Answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": {"tools": "none"}}), "no array"),
        (lambda message: Answer(200, "<html>Please wait</html>"), "neither JSON nor an event stream"),
    ],
)
def test_an_invalid_answer_is_reported_at_once_with_its_kind(doctor, stands, odd, reason):
    step = doctor(stands(OddServer, odd={"tools/list": odd}))
    assert step["step"] == "tools_listed" and reason in step["detail"], step
    assert "tools/list" in step["detail"] and NOT_MCP not in step["detail"]


def test_an_answer_in_a_batch_is_found(backend, stands):
    def batched(message):
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
        return Answer(200, [note, result(message, {"tools": [ECHO]})])

    assert listed(backend, stands(OddServer, odd={"tools/list": batched}))["status"] == "available"


# Sessions

LOST = {
    "404": lambda message: Answer(404),
    "404 with an error": refusing(404, "missing"),
    "400, id null": refusing(400, None, -32000, "Bad Request: No valid session ID provided"),
    "400, id of its own": refusing(400, "server-error", -32600, "Bad Request: Missing session ID"),
    "400, the request's id": lambda message: Answer(
        400, {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": -32001, "message": "x"}}
    ),
    "400, plain": lambda message: Answer(400, b"Invalid session ID", {"content-type": "text/plain"}),
    "410": lambda message: Answer(410),
    "200, id null": refusing(200, None, -32001, "Session not found"),
}


@pytest.mark.parametrize("lost", LOST)
def test_a_lost_session_is_replaced_and_the_call_made_once_more(backend, stands, lost):
    server = stands(OddServer, sessions=True, lost=LOST[lost])
    carried_out = []

    def call(message):
        carried_out.append(message["params"]["arguments"]["text"])
        server.forget_sessions()  # after this one
        return None

    server.odd["tools/call"] = call
    steps = [{"call": "echo", "with": {"text": text}} for text in ("one", "two")]
    said = heard(ran(backend, server, *steps, {"say": "{status}: {result}"}))
    assert "two" in said and said.startswith("success"), said
    assert carried_out == ["one", "two"], "each had its effect once"
    assert len(server.requests("initialize")) == 2


@pytest.mark.parametrize("lost", LOST)
def test_a_session_lost_before_the_list_is_replaced(backend, stands, lost):
    server = stands(OddServer, sessions=True, lost=LOST[lost])
    forgotten = iter([True])

    def forget(message):
        if next(forgotten, False):
            server.forget_sessions()

    server.odd["notifications/initialized"] = forget
    assert listed(backend, server)["status"] == "available"
    assert len(server.requests("initialize")) == 2


def test_a_server_that_loses_every_session_is_asked_once_more_only(doctor, stands):
    server = stands(OddServer, sessions=True, lost=LOST["400, id null"])
    server.odd["notifications/initialized"] = lambda message: server.forget_sessions()
    step = doctor(server)
    assert "refused tools/list with JSON-RPC error -32000" in step["detail"] and "HTTP status 400" in step["detail"]
    assert len(server.requests("tools/list")) == 2


# Results

ODD_BLOCKS = [
    {"type": "hologram", "pixels": [1, 2]},
    {"type": "resource_link", "uri": "file:///nameless"},
    {"type": "image", "data": "AAAA"},
    {"type": "text", "text": 7},
    {"type": "resource"},
    None,
    5,
]


@pytest.mark.parametrize("odd", ODD_BLOCKS, ids=json.dumps)
def test_an_odd_block_costs_no_other(backend, stands, odd):
    content = [{"type": "text", "text": "before"}, odd, {"type": "text", "text": "after"}]
    said = heard(ran(backend, stands(OddServer, results={"tools/call": {"content": content}}), *CALL))
    assert said.startswith("success: before\n") and said.endswith("\nafter")
    assert json.loads(said.split("\n")[1]) == odd


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"content": [{"type": "text", "text": "a", "annotations": {"priority": "high", "audience": "me"}}]},
            "success: a",
        ),
        ({"content": [{"type": "text", "text": "a"}], "isError": "false"}, "success: a"),
        ({"content": [{"type": "text", "text": "a"}], "isError": "true"}, "error: a"),
        ({"content": "words"}, "success: words"),
        ({"content": None, "structuredContent": [1, 2]}, "success: [1,2]"),
        ({"structuredContent": "text"}, 'success: "text"'),
        ({"structuredContent": 5, "content": []}, "success: 5"),
        ({"toolResult": {"sum": 5}}, 'success: {"toolResult":{"sum":5}}'),
        ("bare", "success: bare"),
    ],
)
def test_a_result_in_another_form_is_taken(backend, stands, given, said):
    assert heard(ran(backend, stands(OddServer, results={"tools/call": given}), *CALL)) == said


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"." * 88).decode()
PDF = base64.b64encode(b"%PDF-1.7\n....").decode()


def test_images_and_documents_reach_the_model_and_the_transcript_has_their_size(backend, stands):
    content = [
        {"type": "text", "text": "look"},
        {"type": "image", "data": PNG, "mimeType": "image/jpeg"},  # Bedrock is told what it is
        {"type": "resource", "resource": {"uri": "file:///a.pdf", "mimeType": "application/pdf", "blob": PDF}},
        {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
    ]
    job = ran(backend, stands(OddServer, results={"tools/call": {"content": content}}), *CALL)
    said = heard(job)
    assert said.startswith("success: look\n[image png]\n[resource file:///a.pdf]\n[document pdf]\n[audio/wav, 3 bytes")
    [of_tool] = [message for message in messages(job) if message["role"] == "tool"]
    assert of_tool["media"] == [{"mime_type": "image/png", "bytes": 96}, {"mime_type": "application/pdf", "bytes": 13}]
    assert PNG not in json.dumps(job)


def test_a_model_that_takes_no_images_is_told_of_them_in_words(backend, stands):
    content = [{"type": "image", "data": PNG, "mimeType": "image/png"}]
    refusal = {"status": 400, "type": "ValidationException", "message": "This model doesn't support images", "times": 1}
    call, say = CALL
    said = heard(
        ran(backend, stands(OddServer, results={"tools/call": {"content": content}}), call, say | {"fault": refusal})
    )
    assert said == "success: [image, 96 bytes, which cannot be shown here]"


# Invalid JSON with a clear meaning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r'{"content": [{"type": "text", "text": "half \ud83d"}]}', "half \ufffd"),
        ('{"content": [], "structuredContent": {"a": NaN, "b": -Infinity}}', '{"a":null,"b":null}'),
        ('{"content": [{"type": "text", "text": "two\nlines"}]}', "two\nlines"),
    ],
)
@pytest.mark.parametrize("as_event", [False, True])
def test_text_that_is_almost_json_is_read(backend, stands, text, said, as_event):
    def answer(message):
        body = f'{{"jsonrpc": "2.0", "id": {json.dumps(message["id"])}, "result": {text}}}'
        if as_event:
            return events("\n".join(f"data: {line}" for line in body.split("\n")))
        return Answer(200, b"\xef\xbb\xbf" + body.encode(), {"content-type": "Application/JSON; charset=utf-8"})

    assert heard(ran(backend, stands(OddServer, odd={"tools/call": answer}), *CALL)) == f"success: {said}"


@pytest.mark.parametrize("kind", ["Application/JSON", "text/json", "application/vnd.api+json", None])
def test_content_types_of_json_are_taken_in_any_spelling(backend, stands, kind):
    odd = {
        "tools/list": lambda message: Answer(
            200, json.dumps(result(message, {"tools": [ECHO]})).encode(), {"content-type": kind}
        )
    }
    assert listed(backend, stands(OddServer, odd=odd))["tools"] == ["echo"]


def test_bytes_that_are_no_utf_8_are_replaced(backend, stands):
    odd = {
        "tools/list": lambda message: Answer(
            200, json.dumps(result(message, {"tools": [ECHO]})).encode().replace(b"Gives", b"G\xefves")
        )
    }
    assert listed(backend, stands(OddServer, odd=odd))["tools"] == ["echo"]


# Missing values


@pytest.mark.parametrize(
    ("method", "given", "tools"),
    [
        (
            "initialize",
            {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": None},
                "serverInfo": None,
                "instructions": None,
            },
            ["echo"],
        ),
        ("initialize", {"protocolVersion": "2025-06-18"}, ["echo"]),
        ("tools/list", {"tools": None}, []),
        ("tools/list", {}, []),
        ("tools/list", {"tools": [ECHO], "nextCursor": None, "_meta": None}, ["echo"]),
        ("tools/list", {"tools": [ECHO | {"title": None, "annotations": None, "outputSchema": None}]}, ["echo"]),
        (
            "tools/list",
            {"tools": [ECHO | {"title": 7, "annotations": {"readOnlyHint": "yes"}, "icons": "i.png"}]},
            ["echo"],
        ),
        ("tools/list", {"tools": [ECHO | {"inputSchema": []}]}, ["echo"]),
    ],
)
def test_null_counts_as_not_given(backend, stands, method, given, tools):
    agent = listed(backend, stands(OddServer, results={method: given}))
    assert (agent["status"], agent["tools"]) == ("available", tools), agent


def test_a_null_error_beside_a_result_is_none(backend, stands):

    def beside(good):
        return lambda message: Answer(200, result(message, good) | {"error": None})

    odd = {"tools/list": beside({"tools": [ECHO]}), "tools/call": beside({"content": []})}
    server = stands(OddServer, odd=odd)
    assert listed(backend, server)["status"] == "available"
    assert heard(ran(backend, server, *CALL)) == "success: (no content)"


# Cursors


def paged(*pages):
    """A tool list in pages: `(cursor, tools, next)` for each page."""

    def answer(message):
        asked = (message.get("params") or {}).get("cursor")
        for cursor, names, following in pages:
            if cursor == asked:
                return Answer(200, result(message, {"tools": [tool(name) for name in names], "nextCursor": following}))
        return Answer(
            200, {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "invalid cursor"}}
        )

    return answer


@pytest.mark.parametrize(
    ("pages", "tools", "noted"),
    [
        ([(None, "ab", "n"), ("n", "c", None)], "abc", False),
        ([(None, "ab", 2), ("2", "c", False)], "abc", False),
        ([(None, "ab", ""), ("", "ab", "")], "ab", True),  # the first page again
        ([(None, "ab", "")], "ab", False),  # refused as a cursor
        ([(None, "a", ""), ("", "b", None)], "ab", False),  # 2026-07-28: a cursor like any other
        ([(None, "a", "x"), ("x", "b", "x")], "ab", True),  # stands still
        ([(None, "a", "x"), ("x", "", "y"), ("y", "b", None)], "ab", False),  # an empty page in between
        ([(None, "a", {"page": 2})], "a", True),
    ],
)
def test_a_cursor_is_followed_as_far_as_it_leads(backend, stands, pages, tools, noted):
    server = stands(OddServer, odd={"tools/list": paged(*pages)})
    agent = listed(backend, server)
    assert (agent["status"], agent["tools"]) == ("available", list(tools)), agent
    assert ("further pages" in (agent["status_reason"] or "")) == noted
    assert len(server.requests("tools/list")) <= 4


@pytest.mark.parametrize("behaviour", [{"repeat_cursor": "same"}, {"endless": True}])
def test_a_cursor_that_leads_to_nothing_new_costs_no_tool(backend, server, behaviour):
    endless = server(**behaviour)
    agent = listed(backend, endless)
    assert (agent["status"], agent["tools"]) == ("available", ["echo"])
    assert "further pages" in agent["status_reason"] and endless.seen["requests"]["tools/list"] == 2


def test_a_tool_that_is_listed_twice_is_offered_once(backend, stands, doctor):
    server = stands(OddServer, tools=[tool("a"), tool("b"), tool("a")])
    agent = listed(backend, server)
    assert agent["tools"] == ["a", "b"] and "second tool named a" in agent["status_reason"]
    assert "second tool named a" in doctor(server)["detail"]


# Event streams

VENDOR = 'data: {"jsonrpc": "2.0", "method": "notifications/vendor", "params": "odd"}'
PASSED_OVER = [
    "event: keepalive\ndata: {}",
    "event: ping\ndata: 1732522800",
    ": a comment",
    "data: ping",
    VENDOR,
    'data: {"jsonrpc": "2.0", "method": "notifications/message", "params": [1]}',
    'data: {"jsonrpc": "2.0", "id": 99, "method": "vendor/ask", "params": {"a": 1}}',
    "event: message\ndata:",
]


@pytest.mark.parametrize("before", PASSED_OVER)
def test_what_comes_before_an_answer_is_passed_over(backend, stands, before):
    server = stands(OddServer)
    good = server._result

    def streamed(message):
        return events(before, f"event: message\ndata: {json.dumps(result(message, good(message)))}")

    server.odd = dict.fromkeys(("initialize", "tools/list", "tools/call"), streamed)
    made = backend({"mcp_url": server.url, "agent_name": "odd"})
    [agent] = made.agents()
    assert agent["status"] == "available", agent
    assert heard(made.ask(script(*CALL), ["odd"])[1]) == 'success: {"text": "hi"}'


def test_an_error_in_an_event_belongs_to_the_request(doctor, stands):
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": -5, "message": "it is closed"}}
    step = doctor(stands(OddServer, odd={"tools/list": lambda message: events(f"data: {json.dumps(error)}")}))
    assert "JSON-RPC error -5: it is closed" in step["detail"]


# Notifications


@pytest.mark.parametrize("status", [400, 404, 405, 500, 501])
def test_a_refused_notification_stops_nothing(backend, stands, status):
    server = stands(OddServer, odd={"notifications/initialized": lambda message: Answer(status, {"detail": "no"})})
    assert listed(backend, server)["status"] == "available"
    assert heard(ran(backend, server, *CALL)).startswith("success")


def test_a_refused_notification_is_named_where_later_requests_fail(doctor, stands):
    odd = {"notifications/initialized": lambda message: Answer(500), "tools/list": lambda message: Answer(503)}
    step = doctor(stands(OddServer, odd=odd))
    assert "tools/list with HTTP status 503" in step["detail"]
    assert "had answered notifications/initialized with HTTP status 500" in step["detail"]


# Requirements of firewalls, CDNs and load balancers


def test_every_request_names_this_client_and_asks_for_no_coding(backend, stands):
    server = stands(OddServer)
    assert heard(ran(backend, server, *CALL)).startswith("success")
    assert len(server.seen) > 3
    for request in server.seen:
        assert request.headers["user-agent"].startswith("mcp-agents/0."), request
        assert request.headers["accept-encoding"] == "identity", request


def test_a_server_without_a_user_agent_is_refused_by_name_where_it_wants_its_own(backend, stands):
    """An entry can set another one."""
    server = stands(OddServer)
    made = backend({"mcp_url": server.url, "extra_headers": {"User-Agent": "curl/8"}})
    assert made.agents()[0]["status"] == "available"
    assert {request.headers["user-agent"] for request in server.seen} == {"curl/8"}


def test_a_compressed_answer_is_read_within_the_limit(backend, doctor, stands):
    def packed(text: bytes):
        return Answer(200, gzip.compress(text), {"content-encoding": "gzip", "content-type": "application/json"})

    server = stands(
        OddServer, odd={"tools/list": lambda message: packed(json.dumps(result(message, {"tools": [ECHO]})).encode())}
    )
    assert listed(backend, server)["tools"] == ["echo"]
    server.odd["tools/list"] = lambda message: packed(b'["' + b"x" * 9_000_000 + b'"]')
    assert "larger than" in doctor(server)["detail"]
    server.odd["tools/list"] = lambda message: Answer(200, b"?", {"content-encoding": "compress"})
    assert "in the content coding compress" in doctor(server)["detail"]


def test_cookies_last_as_long_as_the_connection_and_serve_nobody_else(backend, stands):
    server = stands(OddServer)
    count = itertools.count()
    good = server._result

    def balanced(message):
        cookie = f"LB=server-{next(count)}; Path=/; HttpOnly"
        return Answer(200, result(message, good(message)), {"set-cookie": cookie})

    server.odd["initialize"] = balanced
    made = backend({"mcp_url": server.url, "agent_name": "odd"})
    made.ask(script(*CALL), ["odd"])
    made.ask(script(*CALL), ["odd"])
    connections = [
        list(cookies) for begins, cookies in itertools.groupby(server.seen, key=lambda r: r.headers["cookie"]) if begins
    ]
    assert [{request.headers["cookie"] for request in each} for each in connections] == [
        {"LB=server-0"},
        {"LB=server-1"},
    ]
    assert all(request.headers["cookie"] is None for request in server.requests("initialize"))


def test_a_server_with_http_2_only_works(line, stands, tmp_path):
    authority, certificate, key = certify(tmp_path)
    server = stands(Http2Server, certificate, key)
    line.put({"mcp_url": server.url, "agent_name": "odd"})
    [report] = line.doctor(SSL_CERT_FILE=str(authority))
    assert all(step["ok"] for step in report["steps"]), report
    assert report["tools"] == ["echo"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_its_target_in_the_remedy(doctor, stands, status):
    server = stands(OddServer)
    server.odd["initialize"] = lambda message: Answer(status, None, {"location": "/mcp/?key=hidden"})
    step = doctor(server)
    assert step["remedy"] == f"give mcp_url as {server.url}/"
    assert f"HTTP status {status}, a redirect to {server.url}/" in step["detail"]
    server.odd["initialize"] = lambda message: Answer(status, None, {"location": "https://elsewhere.example/mcp"})
    assert doctor(server)["remedy"] == "if you trust that server, give mcp_url as https://elsewhere.example/mcp"


def test_a_403_without_a_sign_in_mentions_a_firewall(doctor, stands):
    step = doctor(stands(OddServer, odd={"initialize": lambda message: Answer(403, "<html>Forbidden</html>")}))
    assert "user who signs in" not in step["detail"] + step["remedy"] and "firewall" in step["remedy"]


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(403, None, {"www-authenticate": 'Bearer error="invalid_token"'}),
        Answer(400, {"error": "invalid_token", "error_description": "expired"}),
        Answer(403, {"error": {"code": "invalid_token", "message": "expired"}}),
    ],
    ids=["403 challenge", "400 body", "403 body"],
)
def test_a_dead_token_under_another_status_is_renewed_once(backend, stands, world, refusal):
    """The pool issues a new token each time. The server refuses the first one only."""
    server = stands(OddServer)
    seen = []

    def guarded(message):
        token = server.seen[-1].headers["authorization"]
        seen.append(token)
        return refusal if token == seen[0] else None

    server.odd = dict.fromkeys(("tools/list",), guarded)
    made = backend(world.pool().entry(server.url, agent_name="odd"))
    [agent] = made.agents()
    assert agent["status"] == "available", agent
    assert len(set(seen)) == 2
