//! The list of agents: entries joined with what is known of their servers' tools.

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

/// How often everything may be asked for anew in one environment: a page's refresh button must not
/// turn into a load on every server.
const FORCED_AT_MOST_EVERY: SignedDuration = SignedDuration::from_secs(30);

/// What the list may weigh as it is sent: Lambda answers with 6 MB at most.
const MAX_ANSWER_BYTES: usize = 5_500_000;

/// The list of agents. Cheap to clone; clones share what they keep.
#[derive(Clone)]
pub struct Catalog {
    source: Arc<dyn AgentSource>,
    tools: ToolCache,
    last_forced: Arc<Mutex<Option<Timestamp>>>,
}

/// One agent as callers read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedAgent {
    /// What jobs name it by.
    pub agent_id: String,
    /// What people read.
    pub agent_name: String,
    /// What it is for, with the names of its tools.
    pub agent_description: String,
    /// What one may ask it.
    pub sample_queries: Vec<String>,
    /// How its tools are known.
    pub status: AgentStatus,
    /// Why it is not `available`, or what of it is left out; one line without secrets.
    pub status_reason: Option<String>,
    /// The names of its tools.
    pub tools: Vec<String>,
}

/// How an agent's tools are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// From its server, within the TTL.
    Available,
    /// The last known ones: its server fails.
    Stale,
    /// Not at all: its server fails.
    Unavailable,
    /// The last known ones, if there are any: a user must sign in.
    NeedsSignIn,
}

impl Catalog {
    /// The agents of `source` with the tools that `tools` knows.
    pub fn new(source: Arc<dyn AgentSource>, tools: ToolCache) -> Self {
        Self { source, tools, last_forced: Arc::default() }
    }

    /// Lists all agents in the order of their source, as they are for `caller`. `Freshness::Forced` asks the source and
    /// every server anew, at most once in 30 s; in between it is as `Cached`. Nothing holds the answer up past
    /// `until`.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]: only the source as a whole can fail the list.
    pub async fn agents(
        &self,
        caller: Option<&User>,
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Result<Vec<ListedAgent>, SourceError> {
        let freshness = self.granted(freshness, now).await;
        let agents = timeout_at(until, self.source.list(caller, freshness, now)).await;
        let agents = agents.unwrap_or_else(|_| Err(SourceError::timed_out()))?;
        Ok(self.list(&agents, freshness, now, until).await)
    }

    /// Lists these agents alone: no other server is contacted. In the order given.
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
        fit(&mut listed, MAX_ANSWER_BYTES);
        for (listed, agent) in listed.iter_mut().zip(agents) {
            // An authorization server's own words stand in some of them.
            listed.status_reason = listed.status_reason.take().map(|reason| agent.server.scrub(reason));
        }
        listed
    }

    async fn granted(&self, asked: Freshness, now: Timestamp) -> Freshness {
        if asked == Freshness::Cached {
            return asked;
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

/// Leaves out the names of the tools of the largest agents until the list fits into its answer.
fn fit(agents: &mut [ListedAgent], room: usize) {
    let mut weights: Vec<usize> = agents.iter().map(weight).collect();
    while weights.iter().sum::<usize>() > room {
        let named = agents.iter().zip(&weights).enumerate().filter(|(_, (agent, _))| !agent.tools.is_empty());
        let Some(largest) = named.max_by_key(|(_, (_, weight))| **weight).map(|(index, _)| index) else {
            return;
        };
        let agent = &mut agents[largest];
        let count = agent.tools.len();
        agent.tools.clear();
        agent.status_reason = Some(format!("its {count} tools are not named: the list would be too large"));
        weights[largest] = weight(agent);
    }
}

/// What an agent weighs in an answer over HTTP: JSON as a text in JSON, so that what is escaped is escaped twice.
fn weight(agent: &ListedAgent) -> usize {
    let json = serde_json::to_string(agent).unwrap_or_default();
    json.len() + json.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + 1
}

fn listed(agent: &Agent, listing: Listing) -> ListedAgent {
    let tools = listing.known.names.clone();
    let (status, status_reason) = match &listing.status {
        ListingStatus::Fresh => (AgentStatus::Available, left_out(&listing.known.left_out)),
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

/// One line for what a server lists but cannot be used.
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

    use mcp::{KnownTools, McpError};

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

    fn tools() -> KnownTools {
        KnownTools { names: ["add", "subtract"].map(str::to_owned).to_vec(), left_out: Vec::new() }
    }

    #[test]
    fn the_answers_shape_is_what_the_page_reads() {
        let listing = Listing { known: tools().into(), status: ListingStatus::Fresh };
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
    fn a_failing_server_is_told_with_what_is_known() {
        let failure = || McpError::Timeout { after: Duration::from_secs(8) };
        let stale = Listing { known: tools().into(), status: ListingStatus::Stale(failure()) };
        let stale = listed(&agent(None), stale);
        assert_eq!((stale.status, stale.tools.len()), (AgentStatus::Stale, 2));
        assert_eq!(stale.status_reason.as_deref(), Some("no answer within 8.0 s"));
        let gone =
            Listing { known: KnownTools::default().into(), status: ListingStatus::Unavailable(failure()) };
        assert_eq!(listed(&agent(None), gone).status, AgentStatus::Unavailable);
    }

    #[test]
    fn one_agents_names_do_not_make_the_list_too_large() {
        let agent_with = |count: usize| ListedAgent {
            tools: vec!["x".repeat(96); count],
            ..listed(&agent(None), Listing { known: tools().into(), status: ListingStatus::Fresh })
        };
        let mut agents = [agent_with(5), agent_with(50), agent_with(4)];
        fit(&mut agents, 5_000);
        assert_eq!(agents.each_ref().map(|agent| agent.tools.len()), [5, 0, 4]);
        assert!(agents[1].status_reason.as_ref().is_some_and(|reason| reason.contains("its 50 tools")));
        // Of names what counts is what is sent: a control character takes six bytes, and its backslash another.
        let mut agents = [agent_with(5), ListedAgent { tools: vec!["\u{1}".repeat(96); 8], ..agent_with(0) }];
        fit(&mut agents, 5_000);
        assert_eq!(agents.each_ref().map(|agent| agent.tools.len()), [5, 0]);
    }

    #[test]
    fn what_is_left_out_is_told_in_one_line() {
        let known = KnownTools { left_out: vec!["one".into(), "two".into()], ..tools() };
        let listing = Listing { known: known.into(), status: ListingStatus::Fresh };
        let listed = listed(&agent(None), listing);
        assert_eq!(listed.status, AgentStatus::Available);
        assert_eq!(listed.status_reason.as_deref(), Some("left out: one, and 1 more"));
    }
}
