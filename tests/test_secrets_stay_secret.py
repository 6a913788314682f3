"""Canaries: a password, a client secret and tokens show in no log, error, answer or record."""

import gzip
import json

import pytest

from tests.support import CANARY, Failed, script


def everything(backend, *answers) -> str:
    """All that came out of the functions: answers, logs, and what they wrote into tables."""
    texts = [json.dumps(answers), *backend.log_lines()]
    for table in (backend.table, backend.world.outputs["CatalogTableName"]):
        for page in backend.world.dynamodb.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                texts += [text for value in item.values() for text in readable(value)]
    return "\n".join(texts)


def readable(value) -> list[str]:
    """What an attribute holds, unpacked where it is packed."""
    if "B" not in value:
        return [repr(value)]
    try:
        return [gzip.decompress(value["B"]).decode()]
    except (OSError, EOFError):
        return []


def test_canaries_show_nowhere(backend, server, world):
    """Good and bad paths with logging turned up; a server that quotes what it was sent."""
    pool = world.pool(client_secret=True)
    good, refusing = server(require_auth=True), server(status=401)
    quoting = server(
        calls={"echo": {"error": {"code": -32000, "message": f"bad password {CANARY}"}}},
        quote_token=True,
    )
    repeating = server(quote_token=True)
    entries = [
        pool.entry(good.url, agent_name="good"),
        pool.entry(refusing.url, agent_name="refusing"),
        pool.entry(quoting.url, agent_name="quoting"),
        pool.entry(repeating.url, agent_name="repeating"),
        pool.entry(good.url, agent_name="wrong", cognito_password=f"{CANARY}wrong"),
        pool.entry("https://no-such-host.invalid/?key=" + CANARY, agent_name="nowhere"),
        pool.entry("not a url " + CANARY),
        {"mcp_url": f"https://user:{CANARY}@a.example/mcp"},
        {CANARY[:3]: CANARY},
    ]
    tried = backend(entries, LOG_LEVEL="TRACE")
    listed = tried.agents()
    assert {a["agent_name"]: a["status"] for a in listed}["good"] == "available"
    ran = [tried.ask(script({"call": "echo"}, {"say": "Done: {result}"}), [name]) for name in ("good", "quoting", "repeating", "wrong")]
    out = everything(tried, listed, ran)
    assert len(tried.log_lines()) > 10, "there are logs to look into"
    assert "you sent Bearer [credential]" in out, "what a server quotes is looked into too"
    for canary in (CANARY, pool.client_secret):
        assert canary not in out
    assert "eyJ" not in out, "no token either"


def test_a_canary_in_a_broken_secret_shows_nowhere(backend):
    broken = backend('[{"cognito_password": "%s", "x": }]' % CANARY, LOG_LEVEL="TRACE")
    with pytest.raises(Failed) as failed:
        broken.agents()
    event = broken.submit("hi", ["helper"])
    answer = broken.process(event)
    assert CANARY not in everything(broken, str(failed.value), answer, broken.job(event))
