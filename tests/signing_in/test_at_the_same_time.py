"""Several environments that sign in or refresh at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.signing_in.steps import guarded, listed
from tests.support import connect, machine_entry, user_entry, wait_for


@pytest.fixture
def together(backend):
    """Lists in three cold environments of one entry at once: `together(entry, a, user)` returns their agents.

    The authorization server answers after all three have read the stored tokens and found no valid one.
    """

    def together(first, a, user=None):
        same = {name: first.environment[name] for name in ("CONNECTIONS_TABLE", "CATALOG_TABLE")}
        environments = [first, *[backend(EXTERNAL_MCP_AGENTS_SECRET=first.name, **same) for _ in range(2)]]
        before = {each: each.calls("GetItem") for each in environments}
        answered = a.answer

        def answer(request):
            if request.route.endswith("/token"):
                wait_for(lambda: all(each.calls("GetItem") > before[each] for each in environments), 14)
            return answered(request)

        a.answer = answer
        with ThreadPoolExecutor(3) as threads:
            return list(threads.map(lambda environment: listed(environment, user), environments))

    return together


def test_cold_environments_that_list_at_once_refresh_once(backend, stands, together):
    server, a = guarded(stands, token_with={"expires_in": 0})
    first = backend(user_entry(server))
    connect(first, "notes")
    a.token_with = {}
    agents = together(first, a, "ada")
    assert [agent["status"] for agent in agents] == ["available"] * 3, agents
    assert (len(a.requests("token", grant_type="refresh_token")), a.reuses) == (1, 0)


def test_cold_environments_that_list_at_once_sign_a_client_in_once(backend, stands, together):
    server, a = guarded(stands)
    agents = together(backend(machine_entry(server)), a)
    assert [agent["status"] for agent in agents] == ["available"] * 3, agents
    assert len(a.requests("token")) == 1
