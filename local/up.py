"""`make local`: keeps the example running until Ctrl-C or SIGTERM, for manual tests or for another program.

While the example runs, `target/local.json` has its addresses. Other programs wait for that file. It is written in one
step when everything is ready, and removed before anything is stopped.
"""

import json
import os
import secrets
import signal
import uuid
from pathlib import Path

from .aws import REGION
from .example import MODEL_ID, Example, main, say
from .processes import TARGET

LOCAL_JSON = TARGET / "local.json"
# One user per level of rights: sign-ins for all users, agents and own jobs, no access.
USERS = (("admin", ["Admin"]), ("author", ["Author"]), ("nobody", []))


def show(example: Example):
    use_local_callback(example)
    description = {
        "endpoint": example.aws.endpoint,
        "region": REGION,
        "urls": {"api": api_url(example)},
        "outputs": example.outputs,
        "users": [make_user(example, name, groups) for name, groups in USERS],
    }
    text = json.dumps(description, indent=2) + "\n"
    write_whole(LOCAL_JSON, text)
    try:
        print_instructions(example, description)
        signal.pause()
    finally:
        # Another `make local` may have replaced the file with its own.
        if LOCAL_JSON.exists() and LOCAL_JSON.read_text() == text:
            LOCAL_JSON.unlink()


def api_url(example: Example) -> str:
    """Returns the HTTP API's URL. It is a path of the local AWS, because not every client resolves `*.localhost`."""
    return f"{example.aws.endpoint}/_aws/execute-api/{example.outputs['JobsApiId']}/$default"


def use_local_callback(example: Example):
    """Sets the redirect URI of sign-ins to the local API. The template's is on AWS, where no browser comes back from.

    The client metadata document is left out: authorization servers request it over https alone.
    """
    function, callback = example.outputs["ConnectionsApiFunctionArn"], f"{api_url(example)}/oauth/callback"
    lambdas = example.aws.client("lambda")
    variables = lambdas.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    variables |= {"OAUTH_CALLBACK_URL": callback, "OAUTH_CLIENT_METADATA_URL": ""}
    lambdas.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
    example.outputs["OAuthCallbackUrl"] = callback


def make_user(example: Example, name: str, groups: list[str]) -> dict:
    """Creates a user in the stack's own user pool, with a permanent password."""
    cognito, pool = example.aws.client("cognito-idp"), example.outputs["UserPoolId"]
    password = f"{secrets.token_urlsafe(16)}aA1!"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    for group in groups:
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=group)
    return {"username": name, "password": password, "groups": groups}


def write_whole(path: Path, text: str):
    """Writes a file that only its owner can read. Readers see the whole file or none, never a part."""
    half = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def print_instructions(example: Example, description: dict):
    """Prints commands for working with the running stack in another terminal."""
    outputs, api = example.outputs, description["urls"]["api"]
    author = next(user for user in description["users"] if user["groups"] == ["Author"])
    say(f"The stack is up; {LOCAL_JSON} has its addresses, outputs and users. In another terminal:\n")
    say(f"  export AWS_ENDPOINT_URL={example.aws.endpoint} AWS_REGION={REGION}")
    say("  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test\n")
    say("List the agents, as a user of the API:")
    say(
        f"  TOKEN=$(aws cognito-idp initiate-auth --client-id {outputs['UserPoolClientId']} "
        "--auth-flow USER_PASSWORD_AUTH \\"
    )
    say(f"      --auth-parameters 'USERNAME={author['username']},PASSWORD={author['password']}' \\")
    say("      --query AuthenticationResult.AccessToken --output text)")
    say(f"  curl -H \"Authorization: Bearer $TOKEN\" '{api}/agents'")
    say("or as the function's caller:")
    say(f"  aws lambda invoke --function-name {outputs['ListAvailableAgentsFunctionArn']} \\")
    say(
        "      --cli-binary-format raw-in-base64-out"
        " --payload file://events/list-available-agents/direct.json /dev/stdout"
    )
    say("Edit the servers:")
    say(f"  aws secretsmanager get-secret-value --secret-id {outputs['ExternalMCPAgentsSecretArn']}")
    say("Check the servers:")
    say("  AWS_STACK_NAME=mcp-agents ALLOW_PRIVATE_MCP_SERVERS=true target/debug/mcp-agents doctor")
    say("Submit a job, then run it:")
    say(
        f"  aws dynamodb put-item --table-name {outputs['AgentTableName']} --item file://events/agent-processor/item.json"
    )
    say(f"  aws lambda invoke --function-name {outputs['AgentProcessorFunctionArn']} \\")
    say("      --cli-binary-format raw-in-base64-out --payload file://events/agent-processor/job.json /dev/stdout\n")
    say("Run the functions with `cargo lambda watch`, in this environment:")
    say("  export AWS_STACK_NAME=mcp-agents ALLOW_PRIVATE_MCP_SERVERS=true")
    say(f"  export AGENT_TABLE={outputs['AgentTableName']} BEDROCK_MODEL_ID={MODEL_ID}")
    say(f"  export AWS_ENDPOINT_URL_BEDROCK_RUNTIME={example.model_url}\n")
    say("Ctrl-C stops everything.")


if __name__ == "__main__":
    # A file that a killed earlier run left behind is no longer true.
    LOCAL_JSON.unlink(missing_ok=True)
    main(show)
