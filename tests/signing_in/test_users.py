"""Users who sign in: whose tokens are used, when they are refreshed, and what ends a sign-in."""

import pytest

from tests.lab import follow
from tests.signing_in.steps import READ, WRITE, called, guarded, listed, listed_cold, ran, scopes_of
from tests.support import connect, script, user_entry, wait_for


def test_users_use_their_own_tokens_and_no_others(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
    nobody = listed(asked, "ada")
    assert (nobody["status"], nobody["tools"]) == ("needs_sign_in", [])
    assert "nobody has signed in yet" in nobody["status_reason"]
    connect(asked, "notes", "ada")
    agent = listed(asked, "ada")
    assert (agent["status"], agent["status_reason"], agent["tools"]) == ("available", None, [READ, WRITE])
    assert called(asked, user="ada") == {"tool": READ, "arguments": {"n": 1}, "user": "ada"}
    for other in ("grace", None):
        assert (listed(asked, other)["status"], listed(asked, other)["tools"]) == ("needs_sign_in", [])
    job = ran(asked, {"say": "never"}, user="grace")
    assert job["status"] == "FAILED" and "a user must sign in: nobody has signed in yet" in job["error"]
    connect(asked, "notes", "grace")
    assert [called(asked, user=user)["user"] for user in ("ada", "grace")] == ["ada", "grace"]
    assert len(a.requests("register")) == 1, "one client for all users"


def test_a_new_user_of_an_old_name_inherits_no_sign_in(backend, stands):
    server, _ = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes", "ada", sub="sub-of-the-first")

    def status(sub):
        return asked.http("GET", "/oauth/connections", user="ada", sub=sub)[1]["connections"][0]["status"]

    assert (status("sub-of-the-first"), status("sub-of-the-second")) == ("connected", "needs_sign_in")
    # The list's event has the sub `sub-ada`, which is a third user.
    assert listed(asked, "ada")["status"] == "needs_sign_in"
    ours = {"sub": {"S": "sub-of-the-first"}}
    theirs = {"sub": {"S": "sub-of-the-second"}}
    events = [asked.submit(script({"say": "hi"}), ["notes"], user="ada", **sub) for sub in (ours, theirs)]
    for event in events:
        asked.process(event)
    assert [asked.job(event)["status"] for event in events] == ["COMPLETED", "FAILED"]
    assert asked.http("DELETE", "/oauth/notes", user="ada", sub="sub-of-the-second")[0] == 404
    connect(asked, "notes", "ada", sub="sub-of-the-second")
    assert (status("sub-of-the-first"), status("sub-of-the-second")) == ("needs_sign_in", "connected")


def test_a_sign_in_is_completed_by_the_person_who_started_it(backend, stands):
    server, _ = guarded(stands)
    asked = backend(user_entry(server))
    started = asked.http("POST", "/oauth/start", {"agent_id": "notes"}, sub="one")[1]
    asked.http("GET", "/oauth/callback", user=None, query=follow(f"{started['authorization_url']}&login_hint=ada"))
    assert asked.http("POST", "/oauth/complete", {"state": started["state"]}, sub="two")[0] == 403


def test_an_administrators_sign_in_for_everybody_is_used_by_all_users(backend, stands):
    server, _ = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes", "root", group="Admin", owner="everybody")
    assert [listed(asked, user)["status"] for user in ("root", "ada", None)] == ["available"] * 3
    assert called(asked, user="ada")["user"] == "root"
    connect(asked, "notes", "ada")
    assert called(asked, user="ada")["user"] == "ada", "one's own comes first"
    assert called(asked, user="grace")["user"] == "root"


def test_a_server_with_a_sign_in_for_everybody_is_listed_once_for_all_users(backend, stands, world):
    server, _ = guarded(stands)
    asked = backend(user_entry(server), TOOL_CACHE_TTL_SECONDS="900")
    connect(asked, "notes", "root", group="Admin", owner="everybody")
    before = asked.calls("GetItem")
    for n in range(50):
        if n == 25:
            asked.go_cold()
        assert listed(asked, f"user-{n}")["status"] == "available"
    assert len(server.requests("tools/list")) == 1
    items = world.dynamodb.scan(TableName=asked.environment["CATALOG_TABLE"])["Items"]
    assert len([item for item in items if item["PK"]["S"].startswith("tools#")]) == 1
    # One batch per list for the states of all sign-ins, and two for tools, one in each new environment.
    assert asked.calls("BatchGetItem") == 50 + 2
    assert asked.calls("GetItem") - before <= 5, "the one sign-in is read to be used, not to be looked at"


def test_a_users_token_is_refreshed_before_every_expiry(backend, stands):
    server, a = guarded(stands, token_with={"expires_in": 1})
    asked = backend(user_entry(server))
    connect(asked, "notes")
    wait_for(lambda: called(asked)["user"] == "ada" and len(a.requests("token", grant_type="refresh_token")) >= 3)
    refreshes = a.requests("token", grant_type="refresh_token")
    assert len({request.form["refresh_token"] for request in refreshes}) == len(refreshes), "each is used once"
    assert a.reuses == 0
    began = [request for request in server.requests("initialize") if request.bearer]
    assert len(began) == len(server.requests("tools/call")), "no server saw a token that was over"


def test_a_users_refused_token_is_refreshed_in_mid_run(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    server.refuse_all()
    assert called(asked)["user"] == "ada"
    assert (len(a.requests("token", grant_type="refresh_token")), a.reuses) == (1, 0)


@pytest.mark.parametrize("unchecked", [set(), {"initialize", "notifications/initialized"}])
def test_a_token_that_another_process_got_and_the_server_refuses_too_is_refreshed_again(unchecked, backend, stands):
    server, a = guarded(stands, server={"unchecked": unchecked})
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.refuse_all()
    assert called(asked)["user"] == "ada", "the job's process refreshes"
    server.refuse_all()
    # The list's process has cached the first token and reads the second from the vault. The server refuses both.
    assert listed(asked, "ada")["status"] == "available"
    assert (len(a.requests("token", grant_type="refresh_token")), a.reuses) == (2, 0)


def test_a_refresh_token_that_does_not_rotate_is_used_again(backend, stands):
    server, a = guarded(stands, rotates=False, token_with={"expires_in": 0})
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert [called(asked)["user"] for _ in range(3)] == ["ada"] * 3
    refreshes = a.requests("token", grant_type="refresh_token")
    assert len(refreshes) >= 3 and len({request.form["refresh_token"] for request in refreshes}) == 1


def test_a_revoked_grant_needs_a_sign_in_keeps_its_tools_and_is_left_alone(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    a.revoke_all()
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert "no longer takes the sign-in: the grant was revoked" in agent["status_reason"]
    tokens, requests = len(a.requests("token")), len(server.seen)
    for _ in range(3):
        assert listed(asked, "ada")["status"] == "needs_sign_in"
    agent = listed_cold(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert ran(asked, {"say": "never"})["status"] == "FAILED"
    assert (len(a.requests("token")), len(server.seen)) == (tokens, requests), "nobody is asked any more"
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"


def test_an_authorization_server_that_is_down_ends_no_sign_in(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.refuse_all()
    a.token_error = {"error": "temporarily_unavailable", "status": 503}
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("stale", [READ, WRITE])
    assert "the token endpoint refused with temporarily_unavailable" in agent["status_reason"]
    a.token_error = None
    assert listed_cold(asked, "ada")["status"] == "available"
    assert a.reuses == 0


def test_a_lost_refresh_response_needs_a_new_sign_in_and_no_second_use_follows(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.refuse_all()
    a.lost = {"token": 1}
    agent = listed(asked, "ada")
    assert agent["status"] == "needs_sign_in" and "cut off" in agent["status_reason"]
    assert listed_cold(asked, "ada")["status"] == "needs_sign_in"
    assert a.reuses == 0


def test_an_access_token_without_a_refresh_token_needs_a_sign_in_when_it_is_over(backend, stands):
    server, a = guarded(stands, refresh_tokens="never", token_with={"expires_in": 1})
    asked = backend(user_entry(server))
    connect(asked, "notes")
    agent = wait_for(lambda: (agent := listed(asked, "ada"))["status"] != "available" and agent)
    assert agent["status"] == "needs_sign_in"
    assert "the access token has expired, and there is no refresh token" in agent["status_reason"]
    assert len(a.requests("token")) == 1


def test_scopes_that_only_a_user_can_grant_are_named_and_asked_for_at_the_next_sign_in(backend, stands):
    server, a = guarded(stands, server={"needs": {WRITE: "mcp:write"}})
    asked = backend(user_entry(server))
    assert scopes_of(connect(asked, "notes")) == set()
    assert "the server wants the scopes mcp:write" in called(asked, WRITE)
    assert called(asked, READ)["user"] == "ada", "what was granted is still good"
    assert len(a.requests("token")) == 1
    assert scopes_of(connect(asked, "notes")) == {"mcp:read", "mcp:write"}
    assert called(asked, WRITE)["user"] == "ada"


def test_a_server_that_wants_more_scopes_to_be_listed_needs_a_sign_in(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.needs = {"tools/list": "mcp:write"}
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert "the server wants the scopes mcp:write" in agent["status_reason"]
    assert scopes_of(connect(asked, "notes")) == {"mcp:read", "mcp:write"}
    assert listed(asked, "ada")["status"] == "available"
    server.never_enough = True
    for _ in range(3):
        assert listed_cold(asked, "ada")["status"] != "available"
    assert len(a.requests("token")) == 2, "it is not tried for ever"
