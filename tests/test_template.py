"""template.yaml: what is deployed here is what goes to AWS."""

import subprocess
import sys
from pathlib import Path

from samcli.yamlhelper import yaml_parse

from local.processes import ROOT
from local.stack import FUNCTIONS, deploy, local_template


def test_locally_only_the_code_lies_elsewhere():
    ours = (ROOT / "template.yaml").read_text().splitlines()
    local = local_template(Path("/built")).splitlines()
    differing = [(a, b) for a, b in zip(ours, local, strict=True) if a != b]
    assert [(a.strip(), b.strip()) for a, b in differing] == [
        ("CodeUri: .", f"CodeUri: /built/{function}") for function in FUNCTIONS
    ]


def test_the_stack_has_what_others_rely_on(world):
    assert {
        "ExternalMCPAgentsSecretConsoleURL",
        "ListAvailableAgentsFunctionArn",
        "AgentProcessorFunctionArn",
        "AgentTableName",
    } <= set(world.outputs)
    table = world.dynamodb.describe_table(TableName=world.outputs["AgentTableName"])["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_the_secret_begins_as_an_empty_list():
    secret = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]["AgentsSecret"]["Properties"]
    assert secret["SecretString"] == "[]"


def test_both_tables_expire_encrypt_and_cost_by_use():
    """Read from the template: the local AWS does not take all of it over."""
    resources = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
    jobs, known_tools = resources["AgentTable"]["Properties"], resources["CatalogTable"]["Properties"]
    assert jobs["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    for table in (jobs, known_tools):
        assert table["TimeToLiveSpecification"] == {"AttributeName": "ExpiresAfter", "Enabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_every_parameter_and_output_is_described():
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for section in ("Parameters", "Outputs"):
        for name, fields in template[section].items():
            assert fields.get("Description"), name


def test_beside_an_existing_stack_its_table_and_secret_are_used(world):
    """A second stack on the first one's table and secret makes neither."""
    secret = world.secrets.describe_secret(SecretId="mcp-agents/external-mcp-agents/credentials")["ARN"]
    outputs = deploy(
        world.aws,
        world.aws.folder / "bootstraps",
        name="beside",
        ExistingSecretArn=secret,
        ExistingAgentTableName=world.outputs["AgentTableName"],
    )
    assert outputs["AgentTableName"] == world.outputs["AgentTableName"]
    assert outputs["ExternalMCPAgentsSecretArn"] == secret
    made = world.aws.client("cloudformation").list_stack_resources(StackName="beside")
    kinds = [resource["ResourceType"] for resource in made["StackResourceSummaries"]]
    assert "AWS::SecretsManager::Secret" not in kinds and kinds.count("AWS::DynamoDB::Table") == 1
    function = world.lambdas.get_function_configuration(FunctionName=outputs["ListAvailableAgentsFunctionArn"])
    assert function["Environment"]["Variables"]["EXTERNAL_MCP_AGENTS_SECRET"] == secret


def test_sam_finds_nothing_to_complain_about(world):
    command = [Path(sys.executable).parent / "sam", "validate", "--lint", "--region", "us-east-1"]
    done = subprocess.run(command, cwd=ROOT, env=world.aws.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
