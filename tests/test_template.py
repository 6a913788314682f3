"""template.yaml: the deployed stack and the template's rules. The same template goes to AWS."""

import json
import re
import subprocess
import sys
from collections import Counter
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
    """Returns the properties of every resource of a type, by logical id."""
    resources = template()["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


@pytest.fixture(scope="module")
def beside(world):
    """Deploys a second stack with the first one's secret, table and key. Returns its outputs."""
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


def test_the_stack_has_the_outputs_and_table_that_the_accelerator_needs(world):
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
    """Checked in the template, because the local AWS does not support all of these settings."""
    tables = properties("AWS::DynamoDB::Table")
    assert set(tables) == {"AgentTable", "CatalogTable", "ConnectionsTable"}
    # Tool lists can be fetched again; jobs and tokens cannot.
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


def test_no_authorizer_stands_before_the_functions_which_know_whose_tokens_they_take(world):
    routes = properties("AWS::ApiGatewayV2::Route").values()
    assert {route["AuthorizationType"] for route in routes} == {"NONE"}
    assert not properties("AWS::ApiGatewayV2::Authorizer")
    for output in ("AgentJobs", "ConnectionsApi"):
        variables = world.configuration(f"{output}FunctionArn")["Environment"]["Variables"]
        assert variables["USER_POOL_ID"] == world.outputs["UserPoolId"]
        assert variables["USER_POOL_CLIENT_IDS"] == world.outputs["UserPoolClientId"]


def test_requests_without_a_route_reach_a_function():
    routes = {route["RouteKey"] for route in properties("AWS::ApiGatewayV2::Route").values()}
    assert {"$default", "ANY /oauth/{proxy+}"} <= routes


def test_concurrency_and_quotas_are_limited_and_requests_are_logged(world):
    functions = properties("AWS::Serverless::Function").values()
    assert all("ReservedConcurrentExecutions" in function for function in functions)
    configured = world.configuration("AgentJobsFunctionArn")["Environment"]["Variables"]
    assert configured["MAX_RUNNING_JOBS_PER_USER"] == "100" and configured["MAX_JOBS_PER_DAY_PER_USER"] == "2000"
    [stage] = properties("AWS::ApiGatewayV2::Stage").values()
    logged = json.loads(stage["AccessLogSettings"]["Format"])
    assert {"requestId", "ip", "route", "status", "latencyMs"} <= set(logged)
    # Paths and queries contain agent ids and the `state` of sign-ins.
    assert not any(word in value for value in logged.values() for word in ("path", "query", "Authorization"))


def test_the_stacks_own_user_pool_has_deletion_protection():
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
        assert {"ReadTheSecret", "KeepConnections", "SealTokens"} <= {right["Sid"] for right in checked}, name
        for right in checked:
            assert "*" not in json.dumps([right["Action"], right["Resource"]]), (name, right["Sid"])


# The permissions of each function, exactly.
RIGHTS = {
    "ListAvailableAgentsRole": {"KeepTheCatalog"},
    "AgentProcessorRole": {
        "KeepTheCatalog",
        "ClaimAndWriteJobs",
        "UseTheTablesKey",
        "AskTheModel",
        "KeepWhatFailed",
        "ApplyTheGuardrail",
    },
    "AgentJobsRole": {"KeepTheCatalog", "ReadAndWriteJobs", "FindUnfinishedJobs", "UseTheTablesKey", "StartRuns"},
    "ConnectionsApiRole": set(),
}
EVERYBODYS = {"WriteItsLog", "ReadTheSecret", "DecryptTheSecret", "KeepConnections", "SealTokens"}


def test_each_function_has_the_rights_that_it_needs():
    roles = properties("AWS::IAM::Role")
    assert {name: {right["Sid"] for right in rights(role)} - EVERYBODYS for name, role in roles.items()} == RIGHTS
    for name, role in roles.items():
        assert {right["Sid"] for right in rights(role)} >= EVERYBODYS, name
        [log] = [right for right in rights(role) if right["Sid"] == "WriteItsLog"]
        assert log["Resource"] == {"Fn::GetAtt": [name.replace("Role", "Logs"), "Arn"]}


def test_a_right_that_several_functions_have_is_written_once():
    policies = [*properties("AWS::IAM::Role").values(), *properties("AWS::IAM::ManagedPolicy").values()]
    sids = Counter(right["Sid"] for policy in policies for right in own_rights(policy))
    # Each function has a log of its own.
    assert sids.pop("WriteItsLog") == len(FUNCTIONS)
    assert set(sids.values()) == {1}
    attached = Counter(name for role in properties("AWS::IAM::Role").values() for name in managed(role))
    assert set(attached) == set(properties("AWS::IAM::ManagedPolicy")) and min(attached.values()) > 1


def test_no_aws_managed_policy_is_attached_outside_a_vpc():
    for role in properties("AWS::IAM::Role").values():
        for attached in role["ManagedPolicyArns"]:
            if not references(attached):
                condition, policy, nothing = attached["Fn::If"]
                assert (condition, nothing) == ("InVpc", {"Ref": "AWS::NoValue"})
                assert policy["Fn::Sub"].endswith(":policy/service-role/AWSLambdaVPCAccessExecutionRole")


def rights(role: dict):
    """Yields the statements of a role and of its managed policies, including those under a condition."""
    yield from own_rights(role)
    policies = properties("AWS::IAM::ManagedPolicy")
    for name in managed(role):
        yield from own_rights(policies[name])


def own_rights(policy: dict):
    """Yields the statements of a role's inline policies, or of a managed policy."""
    for inline in policy.get("Policies", [policy]):
        for statement in inline["PolicyDocument"]["Statement"]:
            branches = statement["Fn::If"][1:] if "Fn::If" in statement else [statement]
            yield from (branch for branch in branches if "Action" in branch)


def managed(role: dict) -> list[str]:
    """Returns the logical ids of the stack's managed policies that a role has."""
    return [name for attached in role["ManagedPolicyArns"] for name in references(attached)]


def references(attached: dict) -> list[str]:
    branches = attached["Fn::If"][1:] if "Fn::If" in attached else [attached]
    return [branch["Ref"] for branch in branches if "Ref" in branch and not branch["Ref"].startswith("AWS::")]


def reaches_data(right: dict) -> bool:
    actions = [right["Action"]] if isinstance(right["Action"], str) else right["Action"]
    services = {action.split(":")[0] for action in actions}
    return not services.isdisjoint({"dynamodb", "kms", "secretsmanager", "*"})


def test_no_partition_is_written_out():
    """Names of service principals are the same in all partitions. The consoles' hosts are in the mapping."""
    found = re.findall(r".*(?:arn:aws|\baws\.amazon\.com|amazonaws).*", (ROOT / "template.yaml").read_text())
    principal = re.compile(r"Principal: (\{Service: )?\w+\.amazonaws\.com}?$")
    mapped = re.compile(r"aws[a-z-]*: \{Console: [a-z0-9.-]+}$")
    assert [line for line in found if not principal.search(line) and not mapped.search(line)] == []
    consoles = template()["Mappings"]["Partitions"]
    assert {"aws", "aws-cn", "aws-us-gov"} <= set(consoles)


def test_the_outputs_are_addresses_of_this_partition(world):
    outputs = world.outputs
    assert outputs["JobsApiUrl"] == f"https://{outputs['JobsApiId']}.execute-api.us-east-1.amazonaws.com"
    assert outputs["ExternalMCPAgentsSecretConsoleURL"].startswith(
        "https://us-east-1.console.aws.amazon.com/secretsmanager/"
    )


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
    # The tables for tool lists and for connections.
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


def test_cfn_lint_finds_nothing_to_complain_about():
    command = [Path(sys.executable).parent / "cfn-lint", ROOT / "template.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sam_finds_nothing_to_complain_about(world):
    command = [Path(sys.executable).parent / "sam", "validate", "--lint", "--region", "us-east-1"]
    done = subprocess.run(command, cwd=ROOT, env=world.aws.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
