"""Fields that belong to each sign-in type, and the errors for fields that do not."""

from tests.lab import PlainServer
from tests.signing_in.steps import skipped, statuses
from tests.support import CANARY

BAD = [
    (
        {"auth_type": "oauth2", "client_secrett": CANARY},
        "field client_secrett: is not a field of auth_type oauth2: did you mean client_secret?",
    ),
    (
        {"auth_type": "oauth2", "cognito_password": CANARY},
        "field cognito_password: does not belong to auth_type oauth2 but to cognito",
    ),
    (
        {"auth_type": "api_key", "credential": CANARY},
        "field credential: is not a field of auth_type api_key: did you mean credentials?",
    ),
    (
        {"auth_type": "none", "credentials": CANARY},
        "field credentials: does not belong to auth_type none but to api_key",
    ),
    (
        {"auth_type": "cognito", "transprt": "sse"},
        "field transprt: is not a field of auth_type cognito: did you mean transport?",
    ),
    (
        {"auth_type": "oauth", "client_secret": CANARY},
        "field auth_type: is unknown: use none, cognito, api_key or oauth2",
    ),
    ({"auth_type": "oauth2", "transport": "websocket"}, "field transport: websocket is not supported yet"),
    ({"auth_type": "oauth2", "resource": CANARY}, "field resource: is neither a URL"),
    ({"auth_type": "oauth2", "issuer": "http://as.example.com"}, "field issuer: is not an https URL"),
    ({"auth_type": "oauth2", "grant_type": "client_credentials", "client_id": "x"}, "field client_secret: is missing"),
    ({"auth_type": "none", "tools": {"alow": []}}, "field tools: is neither a list of names nor"),
    ({"auth_type": "none", "extra_headers": CANARY}, "field extra_headers: is not an object"),
]


def test_a_field_of_another_sign_in_is_refused_by_name_and_only_that_entry_is_skipped(backend, stands):
    url = stands(PlainServer).url
    mixed = backend(*[{"mcp_url": url} | bad for bad, _ in BAD], {"mcp_url": url, "agent_name": "good"})
    assert statuses(mixed.agents()) == {"good": "available"}
    for position, (_, problem) in enumerate(BAD, 1):
        assert any(each.startswith(f"entry {position}, {problem}") for each in skipped(mixed)), problem
    assert CANARY not in "\n".join(mixed.log_lines())
