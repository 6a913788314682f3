"""`make demo`: lists the agents, asks them questions, and prints the answers."""

import json
import time
import uuid
from datetime import UTC, datetime

from .example import Example, main, say

QUESTION = "What do you get when you add 17 and 25?"
# A real model needs the first sentence only. The scripted stand-in needs the script; the demo prints both.
BOTH = """Ask both agents at once: the calculator to multiply 6 by 7, and client_addresses for where Ada \
Lovelace lives.
script: [
  {"calls": [
    {"call": "calculator", "with": {"query": "Please multiply 6 by 7"}},
    {"call": "client_addresses", "with": {"query": "What is the address of client Ada Lovelace"}}
  ]},
  {"say": "The agents answered: {results}"}
]"""
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

    ask(example, QUESTION, ["calculator"])
    ask(example, BOTH, ["calculator", "client_addresses"])


def ask(example: Example, query: str, agent_ids: list[str]):
    """Submits a question, waits until its job has ended, and prints the transcript, the job and the answer."""
    say(f"\n== A question to {' and '.join(agent_ids)} ==\n  {query}")
    job = submit(example, query, agent_ids)
    example.aws.client("lambda").invoke(
        FunctionName=example.outputs["AgentProcessorFunctionArn"],
        InvocationType="Event",
        Payload=json.dumps({"userId": "demo", "jobId": job}).encode(),
    )
    item = wait_for_end(example, job)
    say("\n-- What happened --")
    for message in json.loads(item["agent_messages"]):
        who = message.get("agent_id", "")
        say(f"  {message['sequence_number']:>2}. {message['role']:<10} {who:<17} {shown(message)}")

    say("\n-- The job record --")
    for name in ("status", "createdAt", "completedAt", "agentIds", "usage", "result", "error"):
        if name in item:
            say(f"  {name:<12} {item[name]}")
    if item["status"] != "COMPLETED":
        raise RuntimeError("the job failed")
    say(f"\n-- The answer --\n  {json.loads(item['result']).get('content')}")


def submit(example: Example, query: str, agent_ids: list[str]) -> str:
    """Writes a pending job to the table, as the accelerator's resolver does, and returns the job's id."""
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
    """Polls the job until it has ended, as the accelerator's web page does, and returns its item."""
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
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]} …"


if __name__ == "__main__":
    main(show)
