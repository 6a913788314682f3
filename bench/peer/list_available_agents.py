"""ListAvailableAgents as it is usually written in Python. The bench compares ours with it.

Reads the secret and asks every server, one after another, while the module is imported. A call then returns that list.
`awslambdaric`, the client of Lambda's Python runtime, runs it:
`python -m awslambdaric list_available_agents.handler`.

It does less than ours: one session per server, no deadlines, no refresh, no check of addresses.
"""

import json
import os

import boto3
from strands.tools.mcp import MCPClient

DESCRIPTION = "Agent which connects to external MCP servers to provide additional tools and capabilities."
SAMPLE_QUERIES = [
    "What tools are available from the external MCP server?",
    "Help me use the external tools to solve my problem",
    "Show me what capabilities the MCP server provides",
]

secrets = boto3.client("secretsmanager")
cognito = boto3.client("cognito-idp")


def read_entries() -> list[dict]:
    secret = secrets.get_secret_value(SecretId=os.environ["EXTERNAL_MCP_AGENTS_SECRET"])
    return json.loads(secret["SecretString"])


def sign_in(entry: dict) -> dict[str, str]:
    """The headers that a server's requests carry; none for an entry without Cognito fields."""
    if "cognito_client_id" not in entry:
        return {}
    answer = cognito.initiate_auth(
        ClientId=entry["cognito_client_id"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": entry["cognito_username"], "PASSWORD": entry["cognito_password"]},
    )
    return {"Authorization": f"Bearer {answer['AuthenticationResult']['AccessToken']}"}


def tool_names(url: str, headers: dict[str, str]) -> list[str]:
    """The names of a server's tools, all pages."""
    names = []
    with MCPClient(url=url, headers=headers) as client:
        page = client.list_tools_sync()
        names += [tool.tool_name for tool in page]
        while page.pagination_token:
            page = client.list_tools_sync(page.pagination_token)
            names += [tool.tool_name for tool in page]
    return names


def describe(number: int, entry: dict) -> dict:
    """The agent of one entry, with what its server has."""
    name = entry.get("agent_name")
    tools = tool_names(entry["mcp_url"], sign_in(entry))
    return {
        "agent_id": name.lower().replace(" ", "_") if name else f"external-mcp-agent-{number}",
        "agent_name": name or f"External MCP Agent {number}",
        "agent_description": (
            f"{entry.get('agent_description', DESCRIPTION)} The tools available are: {', '.join(tools)}."
        ),
        "sample_queries": SAMPLE_QUERIES,
    }


agents = {
    agent["agent_id"]: agent
    for agent in (describe(number, entry) for number, entry in enumerate(read_entries(), start=1))
}


def handler(event, context) -> list[dict]:
    return list(agents.values())
