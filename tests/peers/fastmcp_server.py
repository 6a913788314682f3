"""A server of FastMCP, 2.x or a later one, whichever is installed where this runs, that users sign in to.

Streamable HTTP at /mcp, one tool. Its first line on stdout says where it listens.

Environment:
  AUTH                  in_memory (default): FastMCP's own authorization server, which approves everything; or
                        proxy: its OAuthProxy, with its consent page, before the authorization server UPSTREAM,
                        where it is the client `proxy` with the secret `proxy-secret`
  UPSTREAM              the issuer that the proxy signs users in at
  ACCESS_TOKEN_SECONDS  life of an access token of in_memory (default 3600); the proxy's live as long as UPSTREAM's
  PUBLIC_URL            the origin that clients know the server by, if it is another than the one it listens on
"""

import os

import serving
from fastmcp import FastMCP
from fastmcp.server.auth import OAuthProxy
from fastmcp.server.auth.providers import in_memory
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from key_value.aio.stores.memory import MemoryStore
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions

SCOPE = "notes"


def in_memory_server(public_url: str):
    in_memory.DEFAULT_ACCESS_TOKEN_EXPIRY_SECONDS = int(os.environ.get("ACCESS_TOKEN_SECONDS", "3600"))
    return in_memory.InMemoryOAuthProvider(
        base_url=public_url,
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=[SCOPE], default_scopes=[SCOPE]
        ),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=[SCOPE],
    )


def proxy(public_url: str):
    upstream = os.environ["UPSTREAM"]
    client = {"client_id": "proxy", "client_secret": "proxy-secret"}
    verifier = IntrospectionTokenVerifier(introspection_url=f"{upstream}/introspect", required_scopes=[SCOPE], **client)
    return OAuthProxy(
        upstream_authorization_endpoint=f"{upstream}/authorize",
        upstream_token_endpoint=f"{upstream}/token",
        upstream_revocation_endpoint=f"{upstream}/revoke",
        **{f"upstream_{name}": value for name, value in client.items()},
        token_verifier=verifier,
        base_url=public_url,
        client_storage=MemoryStore(),
        jwt_signing_key="only-for-tests-only-for-tests-00",
    )


def main():
    listener, public_url = serving.listen()
    kinds = {"in_memory": in_memory_server, "proxy": proxy}
    server = FastMCP("fastmcp-peer", auth=kinds[os.environ.get("AUTH", "in_memory")](public_url))
    calls = 0

    @server.tool
    def count_calls() -> str:
        """Says how often it was called."""
        nonlocal calls
        calls += 1
        return f"call {calls}"

    serving.serve(server.http_app(), listener)


if __name__ == "__main__":
    main()
