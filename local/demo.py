"""`make demo`: someone lists the agents, asks one a question, reads the answer."""

import json
import time
import uuid
from datetime import UTC, datetime

from .example import Example, main, say

QUESTION = "What do you get when you add 17 and 25?"
PATIENCE_SECONDS = 120


def show(example: Example):
    lambdas = example.aws.client("lambda")
    say("== The agents (ListAvailableAgents) ==")
    answer = lambdas.invoke(FunctionName=example.outputs["ListAvailableAgentsFunctionArn"], Payload=b"{}")
    agents = json.load(answer["Payload"])
    if answer.get("FunctionError"):
        raise RuntimeError(agents["errorMessage"])
    for agent in agents:
        say(f"  {agent['agent_id']:<18} {agent['status']:<12} {agent['agent_description']}")

    say(f"\n== A question to `calculator` ==\n  {QUESTION}")
    job = submit(example, QUESTION, ["calculator"])
    lambdas.invoke(
        FunctionName=example.outputs["AgentProcessorFunctionArn"],
        InvocationType="Event",
        Payload=json.dumps({"userId": "demo", "jobId": job}).encode(),
    )
    item = wait_for_end(example, job)
    say("\n== What happened ==")
    for message in json.loads(item["agent_messages"]):
        say(f"  {message['sequence_number']}. {message['role']:<10} {shown(message)}")

    say("\n== The job record ==")
    for name in ("status", "createdAt", "completedAt", "agentIds", "result", "error"):
        if name in item:
            say(f"  {name:<12} {item[name]}")
    if item["status"] != "COMPLETED":
        raise RuntimeError("the job failed")
    say(f"\n== The answer ==\n  {json.loads(item['result']).get('content')}")


def submit(example: Example, query: str, agent_ids: list[str]) -> str:
    """Puts a pending job into the table, as the accelerator's resolver does."""
    job = str(uuid.uuid4())
    item = {
        "PK": "agent#demo",
        "SK": job,
        "query": query,
        "agentIds": json.dumps(agent_ids),
        "status": "PENDING",
        "createdAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    item = {name: {"S": value} for name, value in item.items()}
    example.aws.client("dynamodb").put_item(TableName=example.outputs["AgentTableName"], Item=item)
    return job


def wait_for_end(example: Example, job: str) -> dict[str, str]:
    """Reads the job until it has ended, as the page does, and gives it."""
    dynamodb = example.aws.client("dynamodb")
    key = {"PK": {"S": "agent#demo"}, "SK": {"S": job}}
    give_up = time.monotonic() + PATIENCE_SECONDS
    said = None
    while time.monotonic() < give_up:
        item = dynamodb.get_item(TableName=example.outputs["AgentTableName"], Key=key)["Item"]
        item = {name: next(iter(value.values())) for name, value in item.items()}
        if item["status"] != said:
            said = item["status"]
            say(f"  ... {said}")
        if said in ("COMPLETED", "FAILED"):
            return item
        time.sleep(0.2)
    raise RuntimeError(f"the job did not end within {PATIENCE_SECONDS} s")


def shown(message: dict) -> str:
    content = message["content"]
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


if __name__ == "__main__":
    main(show)
