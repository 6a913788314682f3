"""`make local`: the example stays up for work by hand until Ctrl-C."""

import signal

from .aws import REGION
from .example import MODEL_ID, Example, main, say


def show(example: Example):
    outputs = example.outputs
    say("The stack is up. In another terminal:\n")
    say(f"  export AWS_ENDPOINT_URL={example.aws.endpoint} AWS_REGION={REGION}")
    say("  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test\n")
    say("List the agents:")
    say(f"  aws lambda invoke --function-name {outputs['ListAvailableAgentsFunctionArn']} \\")
    say(
        "      --cli-binary-format raw-in-base64-out"
        " --payload file://events/list-available-agents/direct.json /dev/stdout"
    )
    say("Edit the servers:")
    say(f"  aws secretsmanager get-secret-value --secret-id {outputs['ExternalMCPAgentsSecretArn']}")
    say("Examine them:")
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
    signal.pause()


if __name__ == "__main__":
    main(show)
