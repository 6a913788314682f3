"""Random changes to events and MCP answers. The functions must answer each of them, and stay usable."""

import copy
import json
import time

from local.processes import ROOT
from tests.lab import Answer, OddServer
from tests.support import Failed, script

from .attack import Attack

FUNCTIONS = {
    "list-available-agents": "ListAvailableAgentsFunctionArn",
    "agent-processor": "AgentProcessorFunctionArn",
    "connections-api": "ConnectionsApiFunctionArn",
}
ODD = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    1e308,
    "",
    "x" * 5_000,
    "\u0000\u009b\u202e",
    "../../etc/passwd",
    "[Admin]",
    [],
    {},
    [[]] * 50,
    {"$ref": "#"},
    {"": None},
    "2026-01-31",
    "Bearer x",
    ["Admin"],
    {"type": "object"},
]


def garble(rng, value):
    """Returns a copy of a JSON value with one random change."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return rng.choice(ODD)
    holder, key = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(["id", "name", "error", "result", "body", "headers", "x"])] = rng.choice(ODD)
    elif kind == 2 and isinstance(holder[key], str) and holder[key]:
        at = rng.randrange(len(holder[key]))
        holder[key] = (
            holder[key][:at] + rng.choice(["\u202e", '"', "\\", "/", "%2F", "\ud83d\ude00", ""]) + holder[key][at + 1 :]
        )
    else:
        holder[key] = rng.choice(ODD)
    return value


def _places(value):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in list(pairs):
        yield value, key
        yield from _places(below)


class GarbledEvents(Attack):
    name = "garbled events"

    def __init__(self, world, rng):
        super().__init__(world, rng)
        self.server = world.server()
        self.asked = self.backend([{"mcp_url": self.server.url, "agent_name": "helper"}])
        self.asked.environment["AGENT_PROCESSOR_FUNCTION"] = self.asked.function("AgentProcessorFunctionArn")
        samples = (ROOT / "events").glob("*/*.json")
        self.events = [
            (FUNCTIONS[each.parent.name], json.loads(each.read_text())) for each in samples if each.stem != "item"
        ]
        identity = {"username": "mallory", "sub": "s", "claims": {"cognito:groups": ["Viewer"]}}
        for field in ("submitAgentQuery", "getAgentJobStatus", "listAgentJobs", "deleteAgentJob"):
            arguments = {"query": "hi", "agentIds": ["helper"], "jobId": "j", "limit": 5, "nextToken": "MQ"}
            event = {"info": {"fieldName": field}, "arguments": arguments, "identity": identity}
            self.events.append(("AgentJobsFunctionArn", event))
        self.events.append(
            ("AgentJobsFunctionArn", self._request("POST", "/jobs", json.dumps({"query": "hi", "agentIds": ["x"]})))
        )
        self.events.append(("AgentJobsFunctionArn", self._request("GET", "/jobs/x/messages", None)))

    @staticmethod
    def _request(method, path, body):
        claims = {"username": "mallory", "sub": "s", "cognito:groups": "[Viewer]"}
        context = {
            "stage": "$default",
            "http": {"method": method, "path": path},
            "authorizer": {"jwt": {"claims": claims}},
        }
        return {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {},
            "requestContext": context,
            "body": body,
        }

    def once(self):
        output, event = self.rng.choice(self.events)
        garbled = event
        for _ in range(self.rng.choice([1, 1, 2, 5])):
            garbled = garble(self.rng, garbled)
        try:
            answer = self.asked.invoke(output, garbled)
            status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200
            self.check(status != 500, "an event is answered with 500:", json.dumps(garbled)[:2_000], answer)
            self.counts["answered"] += 1
        except Failed as failed:
            is_crash = failed.type is None or "Runtime" in failed.type or "panic" in str(failed).lower()
            self.check(
                not is_crash, "an event brings the function down:", json.dumps(garbled)[:2_000], failed.type, failed
            )
            self.counts["refused"] += 1
        if self.rng.random() < 0.02:
            self.check(
                [agent["status"] for agent in self.asked.agents()] == ["available"], "the list is no longer good"
            )


class GarbledAnswers(Attack):
    name = "garbled answers"

    def __init__(self, world, rng):
        super().__init__(world, rng)
        self.good = world.server()
        self.bad = _GarblingServer(rng)
        entries = [{"mcp_url": self.good.url, "agent_name": "good"}]
        # Many servers in one list, because a server that fails is not asked again for 30 s.
        entries += [{"mcp_url": f"{self.bad.url}?n={n}", "agent_name": f"bad{n}"} for n in range(15)]
        seconds = {"DISCOVERY_TIMEOUT_SECONDS": "3", "TOOL_TIMEOUT_SECONDS": "3", "TOOL_CACHE_TTL_SECONDS": "0.001"}
        self.asked = self.backend(entries, **seconds)

    def once(self):
        began = time.monotonic()
        if self.rng.random() < 0.6:
            self.asked.go_cold()
            good, *bad = self.asked.agents()
            self.check(good["status"] == "available", "the good agent suffers:", good, self.bad.said)
            for agent in bad:
                self.counts[f"listed {agent['status']}"] += 1
        else:
            query = script({"call": "echo", "with": {"text": "hi"}}, {"say": "Done"})
            _, job = self.asked.ask(query, [f"bad{self.rng.randrange(15)}"])
            self.check(job["status"] in ("COMPLETED", "FAILED"), "a job does not end:", job, self.bad.said)
            self.counts[f"ran {job['status'].lower()}"] += 1
        self.check(time.monotonic() - began < 30, "it took", time.monotonic() - began, "s:", self.bad.said)


class _GarblingServer(OddServer):
    """An MCP server that changes three of four answers. `said` has the last changed answers."""

    def __init__(self, rng):
        self.rng, self.said = rng, []
        super().__init__()

    def answer(self, request):
        answer = super().answer(request)
        if answer is None or not isinstance(answer.body, dict) or self.rng.random() < 0.25:
            return answer
        body = answer.body
        for _ in range(self.rng.choice([1, 1, 2, 4])):
            body = garble(self.rng, body)
        text = json.dumps(body).encode()
        kind = self.rng.randrange(6)
        if kind == 0 and text:
            text = text[: self.rng.randrange(len(text))]
        elif kind == 1 and text:
            at = self.rng.randrange(len(text))
            text = text[:at] + bytes([self.rng.randrange(256)]) + text[at + 1 :]
        self.said = [*self.said[-5:], text[:2_000]]
        status = 200 if self.rng.random() < 0.9 else self.rng.choice([400, 401, 403, 404, 429, 500, 503])
        return Answer(status, text, {"content-type": "application/json"})
