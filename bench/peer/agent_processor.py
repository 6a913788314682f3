"""AgentProcessor as it is usually written in Python. The bench compares ours with it.

For each event it reads the job, marks it as PROCESSING, connects to the agent's MCP server, and lets a Strands agent
answer the query with the server's tools. `awslambdaric` runs it, as it runs the list function.

It does less than ours: one agent per job, no lease, no budgets, no transcript, no usage. The clients and the model are
created, and the secret is read, once, at import.
"""

import json
import os
from datetime import UTC, datetime

import boto3
from strands import Agent
from strands.models import BedrockModel
from strands.tools.mcp import MCPClient

table = boto3.resource("dynamodb").Table(os.environ["AGENT_TABLE"])
model = BedrockModel(model_id=os.environ["BEDROCK_MODEL_ID"], streaming=False)
secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["EXTERNAL_MCP_AGENTS_SECRET"])
servers = {entry["agent_name"]: entry["mcp_url"] for entry in json.loads(secret["SecretString"])}


def update(key: dict, **fields: str):
    """Sets fields of the job."""
    table.update_item(
        Key=key,
        UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in fields),
        ExpressionAttributeNames={f"#{name}": name for name in fields},
        ExpressionAttributeValues={f":{name}": value for name, value in fields.items()},
    )


def handler(event, context) -> dict:
    key = {"PK": f"agent#{event['userId']}", "SK": event["jobId"]}
    job = table.get_item(Key=key)["Item"]
    update(key, status="PROCESSING")
    (agent_id,) = json.loads(job["agentIds"])
    with MCPClient(url=servers[agent_id]) as client:
        agent = Agent(model=model, tools=client.list_tools_sync(), callback_handler=None)
        answer = str(agent(job["query"])).strip()
    result = json.dumps({"responseType": "text", "content": answer})
    update(key, status="COMPLETED", result=result, completedAt=datetime.now(UTC).isoformat())
    return {"statusCode": 200, "jobId": event["jobId"], "status": "COMPLETED"}
