//! The handler of the function's events: checks the caller's permission and lists the agents from the catalog.

use std::time::Duration;

use backend::{Backend, BackendConfig};
use catalog::{AgentStatus, Catalog, ListedAgent};
use identity::Caller;
use lambda_runtime::Diagnostic;
use mcp::Freshness;
use serde_json::Value;
use tokio::time::Instant;

/// The part of the invocation's time that is reserved for the work after discovery: the snapshots, the response.
const MARGIN: Duration = Duration::from_secs(2);

/// The part of [`MARGIN`] that a token refresh under way may take.
const SETTLING: Duration = Duration::from_millis(1_500);

/// The state of the function, made once at cold start.
pub(crate) struct Context {
    backend: Backend,
    catalog: Catalog,
}

impl Context {
    /// Creates the clients. Sends no request.
    pub(crate) async fn new(config: &BackendConfig) -> Self {
        let aws = runtime::aws_config().await;
        let backend = Backend::new(&aws, config, config.cache.discovery);
        Self { catalog: backend.catalog(&aws), backend }
    }
}

/// Lists the agents. The event is `{}` or a resolver's: `{info, arguments: {refresh?}, identity}`.
///
/// # Errors
/// `Unauthorized` if the caller may not list agents, or the type of the secret's error.
pub(crate) async fn handle(
    context: &Context,
    event: Value,
    time_left: Duration,
) -> Result<Vec<ListedAgent>, Diagnostic> {
    authorize(&event)?;
    let until = Instant::now() + time_left.saturating_sub(MARGIN);
    let caller = Caller::of_resolver(&event["identity"]).map(|caller| caller.user);
    let agents = context.catalog.agents(caller.as_ref(), freshness(&event), runtime::now(), until).await;
    context.backend.settled(until + SETTLING).await;
    let agents = agents.map_err(|error| {
        tracing::error!(%error, error.type = error.kind(), "External MCP: no agents can be listed");
        Diagnostic { error_type: error.kind().to_owned(), error_message: error.to_string() }
    })?;
    for agent in agents.iter().filter(|agent| agent.status != AgentStatus::Available) {
        let reason = agent.status_reason.as_deref().unwrap_or_default();
        tracing::warn!(agent.id = agent.agent_id, agent.status = ?agent.status, reason, "External MCP: agent listed without fresh tools");
    }
    tracing::info!(agents = agents.len(), "External MCP: agents listed");
    Ok(agents)
}

/// Returns whether MCP servers have to list their tools again.
fn freshness(event: &Value) -> Freshness {
    if event["arguments"]["refresh"] == Value::Bool(true) { Freshness::Forced } else { Freshness::Cached }
}

/// Checks that the caller may list agents. A caller with an identity needs one of the groups. A resolver's event without
/// an identity was sent with an API key, which has no groups, and is refused. Any other event without an identity is a
/// direct invocation, which IAM has allowed.
fn authorize(event: &Value) -> Result<(), Diagnostic> {
    // The accelerator's dispatcher converts a message that begins with `Unauthorized` to 403.
    let refused = |reason: &str| {
        tracing::warn!("External MCP: listing refused: {reason}");
        Diagnostic { error_type: "Unauthorized".to_owned(), error_message: format!("Unauthorized: {reason}") }
    };
    match event.get("identity") {
        None | Some(Value::Null) if event.get("info").is_none() => Ok(()),
        None | Some(Value::Null) => Err(refused("listing agents needs a signed-in user, not an API key")),
        Some(identity) if identity::may_list(identity) => Ok(()),
        Some(_) => Err(refused("listing agents needs membership in the group Admin, Author or Viewer")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a sample event, as `cargo lambda invoke --data-file` sends it.
    fn sample(case: &str) -> Value {
        let path =
            format!("{}/../../../events/list-available-agents/{case}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
    }

    fn check(event: Value, allowed: bool) {
        let outcome = authorize(&event);
        assert_eq!(outcome.is_ok(), allowed, "{event}");
        if let Err(diagnostic) = outcome {
            assert_eq!(diagnostic.error_type, "Unauthorized");
            assert!(diagnostic.error_message.starts_with("Unauthorized: "), "{}", diagnostic.error_message);
        }
    }

    #[test]
    fn members_of_the_groups_and_direct_invocations_may_list() {
        check(sample("direct"), true);
        check(sample("refresh"), true);
        check(sample("resolver-admin"), true);
        check(sample("resolver-no-group"), false);
        check(sample("resolver-api-key"), false);
        let of_groups = |groups: Value| json!({"identity": {"claims": {"cognito:groups": groups}}});
        check(of_groups(json!(["Viewer"])), true);
        check(of_groups(json!("[Guest Author]")), true);
        // A group's name may contain a comma.
        check(of_groups(json!("Admin,Guest")), false);
        check(of_groups(json!("Administrators")), false);
        check(of_groups(json!(null)), false);
        check(json!({"identity": {}}), false);
        check(json!({"identity": "alice"}), false);
        check(json!({"info": {"fieldName": "listAvailableAgents"}}), false);
        check(json!(null), true);
    }

    #[test]
    fn only_the_boolean_true_forces_a_refresh() {
        assert_eq!(freshness(&sample("refresh")), Freshness::Forced);
        assert_eq!(freshness(&sample("direct")), Freshness::Cached);
        assert_eq!(freshness(&json!({"arguments": {"refresh": "true"}})), Freshness::Cached);
        assert_eq!(freshness(&json!(null)), Freshness::Cached);
    }
}
