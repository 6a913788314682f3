"""template.yaml: what is deployed here is what goes to AWS."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_parse

from local.processes import ROOT
from local.stack import FUNCTIONS, deploy, local_template

SECRET = "mcp-agents/external-mcp-agents/credentials"
BASE = "https://agents.example.com"


def template() -> dict:
    return yaml_parse((ROOT / "template.yaml").read_text())


def properties(kind: str) -> dict[str, dict]:
    """The properties of every resource of a kind, by logical id."""
    resources = template()["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


@pytest.fixture(scope="module")
def beside(world):
    """The outputs of a second stack, on the first one's secret, table and key, with an address of its own."""
    secret = world.secrets.describe_secret(SecretId=SECRET)["ARN"]
    return deploy(
        world.aws,
        world.aws.folder / "bootstraps",
        name="beside",
        ExistingSecretArn=secret,
        ExistingAgentTableName=world.outputs["AgentTableName"],
        ExistingConnectionsKeyArn=world.outputs["ConnectionsKeyArn"],
        PublicBaseUrl=BASE,
    )


def test_locally_only_the_code_lies_elsewhere():
    ours = (ROOT / "template.yaml").read_text().splitlines()
    local = local_template(Path("/built")).splitlines()
    differing = [(a, b) for a, b in zip(ours, local, strict=True) if a != b]
    assert [(a.strip(), b.strip()) for a, b in differing] == [
        ("CodeUri: .", f"CodeUri: /built/{function}.zip") for function in FUNCTIONS
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
    assert template()["Resources"]["AgentsSecret"]["Properties"]["SecretString"] == "[]"


def test_the_tables_expire_encrypt_and_cost_by_use():
    """Read from the template: the local AWS does not take all of it over."""
    tables = properties("AWS::DynamoDB::Table")
    assert set(tables) == {"AgentTable", "CatalogTable", "ConnectionsTable"}
    # Known tools can be fetched again; jobs and tokens cannot.
    for name in ("AgentTable", "ConnectionsTable"):
        assert tables[name]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    for table in tables.values():
        assert table["TimeToLiveSpecification"] == {"AttributeName": "ExpiresAfter", "Enabled": True}
        assert table["SSESpecification"] == {"SSEEnabled": True}
        assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_the_key_of_the_connections_rotates_and_checks_what_it_is_used_for(world):
    kms, key = world.aws.client("kms"), world.outputs["ConnectionsKeyArn"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    context = {"owner": "alice", "issuer": "https://issuer.example", "resource": "https://server.example/mcp"}
    sealed = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context)
    assert opened["Plaintext"] == sealed["Plaintext"]
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context | {"owner": "mallory"})


def test_all_functions_know_where_connections_are_kept(world):
    for output in ("ListAvailableAgents", "AgentProcessor", "AgentJobs", "ConnectionsApi"):
        variables = world.configuration(f"{output}FunctionArn")["Environment"]["Variables"]
        assert variables["CONNECTIONS_TABLE"] == world.outputs["ConnectionsTableName"]
        assert variables["CONNECTIONS_KEY"] == world.outputs["ConnectionsKeyArn"]


def test_the_routes_without_a_token_are_four():
    routes = properties("AWS::ApiGatewayV2::Route").values()
    assert {route["RouteKey"] for route in routes if route["AuthorizationType"] != "JWT"} == {
        "GET /openapi.json",
        "GET /oauth/callback",
        "GET /oauth/callback/{server}",
        "GET /oauth/client-metadata.json",
    }
    assert all("AuthorizerId" in route for route in routes if route["AuthorizationType"] == "JWT")


def test_there_is_a_brake_on_cost_and_a_record_of_requests(world):
    functions = properties("AWS::Serverless::Function").values()
    assert all("ReservedConcurrentExecutions" in function for function in functions)
    configured = world.configuration("AgentJobsFunctionArn")["Environment"]["Variables"]
    assert configured["MAX_RUNNING_JOBS_PER_USER"] == "100" and configured["MAX_JOBS_PER_DAY_PER_USER"] == "2000"
    [stage] = properties("AWS::ApiGatewayV2::Stage").values()
    logged = json.loads(stage["AccessLogSettings"]["Format"])
    assert {"requestId", "ip", "user", "route", "status", "latencyMs"} <= set(logged)
    # Ids of agents and states of sign-ins stand in paths and queries.
    assert not any(word in value for value in logged.values() for word in ("path", "query", "Authorization"))


def test_the_pool_of_ones_own_is_not_deleted_by_mistake():
    [pool] = properties("AWS::Cognito::UserPool").values()
    assert template()["Parameters"]["UserPoolDeletionProtection"]["Default"] == "ACTIVE"
    assert pool["DeletionProtection"] == {"Ref": "UserPoolDeletionProtection"}
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("OPTIONAL", ["SOFTWARE_TOKEN_MFA"])


def test_no_function_reaches_every_table_key_or_secret():
    functions, roles = properties("AWS::Serverless::Function"), properties("AWS::IAM::Role")
    assert len(functions) == len(FUNCTIONS)
    for function in functions.values():
        name, _ = function["Role"]["Fn::GetAtt"]
        checked = [right for right in rights(roles[name]) if reaches_data(right)]
        assert checked, name
        for right in checked:
            assert "*" not in json.dumps([right["Action"], right["Resource"]]), (name, right["Sid"])


def rights(role: dict):
    """The statements of a role, those under a condition too."""
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            branches = statement["Fn::If"][1:] if "Fn::If" in statement else [statement]
            yield from (branch for branch in branches if "Action" in branch)


def reaches_data(right: dict) -> bool:
    actions = [right["Action"]] if isinstance(right["Action"], str) else right["Action"]
    services = {action.split(":")[0] for action in actions}
    return not services.isdisjoint({"dynamodb", "kms", "secretsmanager", "*"})


def test_every_parameter_and_output_is_described():
    described = template()
    for section in ("Parameters", "Outputs"):
        for name, fields in described[section].items():
            assert fields.get("Description"), name


def test_beside_an_existing_stack_its_secret_table_and_key_are_used(world, beside):
    assert beside["AgentTableName"] == world.outputs["AgentTableName"]
    secret = world.secrets.describe_secret(SecretId=SECRET)["ARN"]
    assert beside["ExternalMCPAgentsSecretArn"] == secret
    assert beside["ConnectionsKeyArn"] == world.outputs["ConnectionsKeyArn"]
    made = world.aws.client("cloudformation").list_stack_resources(StackName="beside")
    kinds = [resource["ResourceType"] for resource in made["StackResourceSummaries"]]
    assert "AWS::SecretsManager::Secret" not in kinds and "AWS::KMS::Key" not in kinds
    # The known tools and the connections.
    assert kinds.count("AWS::DynamoDB::Table") == 2
    function = world.lambdas.get_function_configuration(FunctionName=beside["ListAvailableAgentsFunctionArn"])
    variables = function["Environment"]["Variables"]
    assert variables["EXTERNAL_MCP_AGENTS_SECRET"] == secret
    assert variables["CONNECTIONS_KEY"] == world.outputs["ConnectionsKeyArn"]


def test_users_come_back_to_the_apis_address_or_to_its_public_one(world, beside):
    own = f"https://{world.outputs['JobsApiId']}.execute-api.us-east-1.amazonaws.com"
    for outputs, base in ((world.outputs, own), (beside, BASE)):
        assert outputs["OAuthCallbackUrl"] == f"{base}/oauth/callback"
        function = world.lambdas.get_function_configuration(FunctionName=outputs["ConnectionsApiFunctionArn"])
        variables = function["Environment"]["Variables"]
        assert variables["OAUTH_CALLBACK_URL"] == f"{base}/oauth/callback"
        assert variables["OAUTH_CLIENT_METADATA_URL"] == f"{base}/oauth/client-metadata.json"


def test_sam_finds_nothing_to_complain_about(world):
    command = [Path(sys.executable).parent / "sam", "validate", "--lint", "--region", "us-east-1"]
    done = subprocess.run(command, cwd=ROOT, env=world.aws.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
