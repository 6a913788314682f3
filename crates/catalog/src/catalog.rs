//! The list of agents: the agents of a source, each with the tools of its server.
//!
//! Finds no single agent ([`AgentSource::find`] does) and keeps no list: [`ToolCache`] caches the tools. Called by the
//! functions and by `mcp-agents ask`.

use std::sync::Arc;

use auth::User;
use jiff::{SignedDuration, Timestamp};
use mcp::{Freshness, Listing, ListingStatus, ToolCache};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use crate::{
    naming::{SAMPLE_QUERIES, described},
    source::{Agent, AgentSource, SourceError},
};

/// Shortest time between two forced lists of one process. Limits the load on the servers from a page's refresh button.
const FORCED_AT_MOST_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// Maximum size of the list as it is sent, in bytes. Lambda's limit for a response is 6 MB.
const MAX_RESPONSE_BYTES: usize = 5_500_000;

/// The catalog of agents. Cheap to clone; clones share the cached tools.
#[derive(Clone)]
pub struct Catalog {
    source: Arc<dyn AgentSource>,
    tools: ToolCache,
    last_forced: Arc<Mutex<Option<Timestamp>>>,
}

/// One agent of the list, as the API returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedAgent {
    /// The id by which jobs name the agent.
    pub agent_id: String,
    /// The name for people.
    pub agent_name: String,
    /// The purpose of the agent, with the names of its tools.
    pub agent_description: String,
    /// Examples of queries.
    pub sample_queries: Vec<String>,
    /// The state of the tool list.
    pub status: AgentStatus,
    /// The reason why the status is not `available`, or the tools that were left out; one line without secrets.
    pub status_reason: Option<String>,
    /// The names of its tools.
    pub tools: Vec<String>,
}

/// The state of an agent's tool list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// Read from its server within the TTL.
    Available,
    /// From the last good list; the server has failed since.
    Stale,
    /// None; the server failed and no list is available.
    Unavailable,
    /// From the last good list, if there is one; a user must sign in.
    NeedsSignIn,
}

impl Catalog {
    /// Creates a catalog of the agents of `source`, with their tools from `tools`.
    pub fn new(source: Arc<dyn AgentSource>, tools: ToolCache) -> Self {
        Self { source, tools, last_forced: Arc::default() }
    }

    /// Lists all agents in the order of their source, as they are for `caller`. `Freshness::Forced` reads the source
    /// and asks every server again, at most once in 30 s per process; until then it works as `Cached`. Returns by
    /// `until`.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]. A failing server is no error: its agent gets another status.
    pub async fn agents(
        &self,
        caller: Option<&User>,
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Result<Vec<ListedAgent>, SourceError> {
        let freshness = self.limited(freshness, now).await;
        let agents = timeout_at(until, self.source.list(caller, freshness, now)).await;
        let agents = agents.unwrap_or_else(|_| Err(SourceError::timed_out()))?;
        Ok(self.list(&agents, freshness, now, until).await)
    }

    /// Lists the given agents alone, in the given order, and contacts no other server.
    pub async fn listed(&self, agents: &[Agent], now: Timestamp, until: Instant) -> Vec<ListedAgent> {
        self.list(agents, Freshness::Cached, now, until).await
    }

    async fn list(
        &self,
        agents: &[Agent],
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Vec<ListedAgent> {
        let servers: Vec<_> = agents.iter().map(|agent| &agent.server).collect();
        let listings = self.tools.listings(&servers, freshness, now, until).await;
        let mut listed: Vec<_> =
            agents.iter().zip(listings).map(|(agent, listing)| listed(agent, listing)).collect();
        shorten(&mut listed, MAX_RESPONSE_BYTES);
        for (listed, agent) in listed.iter_mut().zip(agents) {
            // Some reasons quote an authorization server, which may have quoted a secret of the entry.
            listed.status_reason = listed.status_reason.take().map(|reason| agent.server.scrub(reason));
        }
        listed
    }

    /// Returns `Cached` instead of `Forced` if the last forced list was less than 30 s ago.
    async fn limited(&self, requested: Freshness, now: Timestamp) -> Freshness {
        if requested == Freshness::Cached {
            return requested;
        }
        let mut last = self.last_forced.lock().await;
        match *last {
            Some(last) if now.duration_since(last) < FORCED_AT_MOST_EVERY => {
                tracing::info!("External MCP: refreshed less than 30 s ago, answering from the cache");
                Freshness::Cached
            }
            _ => {
                *last = Some(now);
                Freshness::Forced
            }
        }
    }
}

/// Removes the tool names of the largest agents until the list has at most `max_bytes` as it is sent.
fn shorten(agents: &mut [ListedAgent], max_bytes: usize) {
    let mut sizes: Vec<usize> = agents.iter().map(size_as_sent).collect();
    while sizes.iter().sum::<usize>() > max_bytes {
        let named = agents.iter().zip(&sizes).enumerate().filter(|(_, (agent, _))| !agent.tools.is_empty());
        let Some(largest) = named.max_by_key(|(_, (_, size))| **size).map(|(index, _)| index) else {
            return;
        };
        let agent = &mut agents[largest];
        let count = agent.tools.len();
        agent.tools.clear();
        agent.status_reason = Some(format!("its {count} tools are not named: the list would be too large"));
        sizes[largest] = size_as_sent(agent);
    }
}

/// Returns the size of an agent in a Lambda response to an HTTP request, in bytes. There the JSON is a string inside
/// JSON, so every quotation mark and backslash is escaped once more.
fn size_as_sent(agent: &ListedAgent) -> usize {
    let json = serde_json::to_string(agent).unwrap_or_default();
    json.len() + json.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 1
}

fn listed(agent: &Agent, listing: Listing) -> ListedAgent {
    let tools = listing.tools.names.clone();
    let (status, status_reason) = match &listing.status {
        ListingStatus::Fresh => (AgentStatus::Available, left_out(&listing.tools.left_out)),
        ListingStatus::Stale(error) | ListingStatus::Unavailable(error) if error.needs_sign_in() => {
            (AgentStatus::NeedsSignIn, Some(error.to_string()))
        }
        ListingStatus::Stale(error) => (AgentStatus::Stale, Some(error.to_string())),
        ListingStatus::Unavailable(error) => (AgentStatus::Unavailable, Some(error.to_string())),
    };
    ListedAgent {
        agent_id: agent.id.clone(),
        agent_name: agent.name.clone(),
        agent_description: described(agent.given_description.as_deref(), tools.iter().map(String::as_str)),
        sample_queries: SAMPLE_QUERIES.map(str::to_owned).to_vec(),
        status,
        status_reason,
        tools,
    }
}

/// Returns one line about the tools that were left out.
fn left_out(notes: &[String]) -> Option<String> {
    match notes {
        [] => None,
        [note] => Some(format!("left out: {note}")),
        [first, rest @ ..] => Some(format!("left out: {first}, and {} more", rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mcp::{McpError, ToolNames};

    use super::*;

    fn agent(description: Option<&str>) -> Agent {
        Agent {
            id: "calculator".into(),
            name: "Calculator".into(),
            given_description: description.map(Into::into),
            server: mcp::McpServer::new(
                "https://mcp.example.com/mcp".parse().unwrap(),
                auth::AuthConfig::None,
            ),
        }
    }

    fn tools() -> ToolNames {
        ToolNames { names: ["add", "subtract"].map(str::to_owned).to_vec(), left_out: Vec::new() }
    }

    #[test]
    fn the_json_has_the_shape_that_the_page_reads() {
        let listing = Listing { tools: tools().into(), status: ListingStatus::Fresh };
        insta::assert_json_snapshot!(listed(&agent(Some("Adds numbers.")), listing), @r#"
        {
          "agent_id": "calculator",
          "agent_name": "Calculator",
          "agent_description": "Adds numbers. The tools available are: add, subtract.",
          "sample_queries": [
            "What tools are available from the external MCP server?",
            "Help me use the external tools to solve my problem",
            "Show me what capabilities the MCP server provides"
          ],
          "status": "available",
          "status_reason": null,
          "tools": [
            "add",
            "subtract"
          ]
        }
        "#);
    }

    #[test]
    fn a_failing_server_gets_a_status_and_its_last_tools() {
        let failure = || McpError::Timeout { after: Duration::from_secs(8) };
        let stale = Listing { tools: tools().into(), status: ListingStatus::Stale(failure()) };
        let stale = listed(&agent(None), stale);
        assert_eq!((stale.status, stale.tools.len()), (AgentStatus::Stale, 2));
        assert_eq!(stale.status_reason.as_deref(), Some("no answer within 8.0 s"));
        let gone =
            Listing { tools: ToolNames::default().into(), status: ListingStatus::Unavailable(failure()) };
        assert_eq!(listed(&agent(None), gone).status, AgentStatus::Unavailable);
    }

    #[test]
    fn tool_names_are_removed_until_the_list_fits_into_the_response() {
        let agent_with = |count: usize| ListedAgent {
            tools: vec!["x".repeat(96); count],
            ..listed(&agent(None), Listing { tools: tools().into(), status: ListingStatus::Fresh })
        };
        let mut agents = [agent_with(5), agent_with(50), agent_with(4)];
        shorten(&mut agents, 5_000);
        assert_eq!(agents.each_ref().map(|agent| agent.tools.len()), [5, 0, 4]);
        assert!(agents[1].status_reason.as_ref().is_some_and(|reason| reason.contains("its 50 tools")));
        // The size counts as sent: a control character takes six bytes, and its backslash is escaped once more.
        let mut agents = [agent_with(5), ListedAgent { tools: vec!["\u{1}".repeat(96); 8], ..agent_with(0) }];
        shorten(&mut agents, 5_000);
        assert_eq!(agents.each_ref().map(|agent| agent.tools.len()), [5, 0]);
    }

    #[test]
    fn left_out_tools_are_reported_in_one_line() {
        let tools = ToolNames { left_out: vec!["one".into(), "two".into()], ..tools() };
        let listing = Listing { tools: tools.into(), status: ListingStatus::Fresh };
        let listed = listed(&agent(None), listing);
        assert_eq!(listed.status, AgentStatus::Available);
        assert_eq!(listed.status_reason.as_deref(), Some("left out: one, and 1 more"));
    }
}
