"""An MCP server of the official Python SDK, 1.x or 2.x, whichever is installed where this runs.

Streamable HTTP with sessions at /mcp, one tool. With SIGN_IN=oauth the SDK's own authorization endpoints stand
beside it, on a provider that keeps everything in memory and approves every authorization request for ada. Its
first line on stdout says where it listens.

Environment: SIGN_IN is oauth or none (default); ACCESS_TOKEN_SECONDS is the life of an access token (default
3600); PUBLIC_URL is the origin that clients know the server by, if it is another than the one that it listens on.

POST /_forget_sessions makes it forget every session, as a restart would; POST /_end_access_tokens ends every access
token, and no refresh token. The answers say how many.
"""

import os
import secrets
import time

import serving
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthToken
from starlette.responses import JSONResponse

try:
    from mcp.server import MCPServer
except ImportError:  # the name of 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer

ACCESS_TOKEN_SECONDS = int(os.environ.get("ACCESS_TOKEN_SECONDS", "3600"))
SCOPE = "notes"


class Provider(OAuthAuthorizationServerProvider):
    """The storage behind the SDK's endpoints: rotates refresh tokens; a revoked token takes its grant with it."""

    def __init__(self):
        self.clients = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access_tokens: dict[str, AccessToken] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.grants: dict[str, str] = {}  # by token

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params):
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            scopes=params.scopes or [SCOPE],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        if not self.codes.pop(authorization_code.code, None):
            raise TokenError("invalid_grant", "the code was used already")
        return self._give(client, authorization_code.scopes, secrets.token_hex(8), authorization_code.resource)

    async def load_refresh_token(self, client, refresh_token):
        return self.refresh_tokens.get(refresh_token)

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        if not self.refresh_tokens.pop(refresh_token.token, None):
            raise TokenError("invalid_grant", "the refresh token was used already")
        return self._give(client, scopes, self.grants.pop(refresh_token.token))

    async def load_access_token(self, token):
        found = self.access_tokens.get(token)
        return found if found and found.expires_at > time.time() else None

    async def revoke_token(self, token):
        grant = self.grants.get(token.token)
        for each in [each for each, its in self.grants.items() if its == grant]:
            self.grants.pop(each)
            self.access_tokens.pop(each, None)
            self.refresh_tokens.pop(each, None)

    def _give(self, client, scopes, grant, resource=None):
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.grants |= {access: grant, refresh: grant}
        over = int(time.time()) + ACCESS_TOKEN_SECONDS
        who = {"client_id": client.client_id, "scopes": scopes}
        self.access_tokens[access] = AccessToken(token=access, expires_at=over, resource=resource, **who)
        self.refresh_tokens[refresh] = RefreshToken(token=refresh, **who)
        return OAuthToken(
            access_token=access,
            token_type="Bearer",
            expires_in=ACCESS_TOKEN_SECONDS,
            refresh_token=refresh,
            scope=" ".join(scopes),
        )


def sign_in(provider: Provider, public_url: str) -> dict:
    """What MCPServer takes to be its own authorization server."""
    if os.environ.get("SIGN_IN", "none") == "none":
        return {}
    settings = AuthSettings(
        issuer_url=public_url,
        resource_server_url=f"{public_url}/mcp",
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=[SCOPE], default_scopes=[SCOPE]
        ),
        revocation_options=RevocationOptions(enabled=True),
        required_scopes=[SCOPE],
        validate_token_resource=False,
    )
    return {"auth_server_provider": provider, "auth": settings}


def main():
    listener, public_url = serving.listen()
    provider = Provider()
    server = MCPServer("python-sdk-peer", **sign_in(provider, public_url))
    calls = 0

    @server.tool()
    def count_calls() -> str:
        """Says how often it was called."""
        nonlocal calls
        calls += 1
        return f"call {calls}"

    @server.custom_route("/_forget_sessions", methods=["POST"])
    async def forget_sessions(_):
        sessions = server.session_manager._server_instances
        forgotten = len(sessions)
        sessions.clear()
        return JSONResponse({"forgotten": forgotten})

    @server.custom_route("/_end_access_tokens", methods=["POST"])
    async def end_access_tokens(_):
        ended = len(provider.access_tokens)
        provider.access_tokens.clear()
        return JSONResponse({"ended": ended})

    serving.serve(server.streamable_http_app(), listener)


if __name__ == "__main__":
    main()
