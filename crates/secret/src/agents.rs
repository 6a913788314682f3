//! The source of agents that reads the secret, at most once a minute.
//!
//! Contacts the source of the secret and no MCP server. While the secret cannot be reached, the agents of the last
//! successful read stay in use. Every other fault of the secret is an error, since an operator has just caused it.

use std::sync::Arc;

use auth::User;
use catalog::{Agent, AgentSource, SourceError, UniqueIds, agent_id, default_name, select};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use mcp::{Freshness, McpServer};
use tokio::sync::Mutex;
use url::Url;

use crate::{
    entry::{ParsedEntry, parse_entries},
    error::SecretError,
    parse::parse_secret,
    source::SecretSource,
};

/// The time for which the agents of one read are used. An edited secret takes effect after a minute at the latest, and a
/// busy environment reads it 60 times an hour.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(60);

/// The agents of one secret. Cheap to clone; clones share the last read.
#[derive(Clone)]
pub struct SecretAgents {
    source: Arc<dyn SecretSource>,
    agentcore: Option<Url>,
    last: Arc<Mutex<Option<LastRead>>>,
}

/// The agents of the last successful read.
#[derive(Clone)]
struct LastRead {
    agents: Arc<[Agent]>,
    read_at: Timestamp,
}

impl SecretAgents {
    /// The agents of the entries in `source`. AgentCore runtimes are reached at `agentcore` if it is given, otherwise at
    /// AWS's endpoint.
    pub fn new(source: Arc<dyn SecretSource>, agentcore: Option<Url>) -> Self {
        Self { source, agentcore, last: Arc::default() }
    }

    /// Returns the agents, at most a minute old.
    async fn agents(&self, now: Timestamp) -> Result<Arc<[Agent]>, SecretError> {
        let mut last = self.last.lock().await;
        match last.as_ref() {
            Some(last) if now.duration_since(last.read_at) < MAX_AGE => Ok(last.agents.clone()),
            _ => self.reread(&mut last, now).await,
        }
    }

    /// Reads the secret again and returns its agents.
    async fn reread_agents(&self, now: Timestamp) -> Result<Arc<[Agent]>, SecretError> {
        self.reread(&mut *self.last.lock().await, now).await
    }

    async fn reread(&self, last: &mut Option<LastRead>, now: Timestamp) -> Result<Arc<[Agent]>, SecretError> {
        let entries = match (self.source.read().await, last.as_ref()) {
            (Ok(text), _) => parse_secret(&text)?,
            (Err(error @ SecretError::Unreachable { .. }), Some(last)) => {
                tracing::warn!(%error, "External MCP: going on with the entries read last");
                return Ok(last.agents.clone());
            }
            (Err(error), _) => return Err(error),
        };
        let parsed = parse_entries(&entries, self.agentcore.as_ref());
        for diagnostic in parsed.iter().flat_map(|entry| &entry.diagnostics) {
            let outcome = if diagnostic.fatal { "entry skipped" } else { "entry used all the same" };
            tracing::warn!(entry.position = diagnostic.position, %diagnostic, "External MCP: {outcome}");
        }
        let agents: Arc<[Agent]> = agents_of(parsed).into();
        *last = Some(LastRead { agents: agents.clone(), read_at: now });
        Ok(agents)
    }
}

impl AgentSource for SecretAgents {
    fn list<'a>(
        &'a self,
        caller: Option<&'a User>,
        freshness: Freshness,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Agent>, SourceError>> {
        Box::pin(async move {
            let agents = match freshness {
                Freshness::Cached => self.agents(now).await?,
                Freshness::Forced => self.reread_agents(now).await?,
            };
            Ok(for_caller(&agents, caller))
        })
    }

    fn find<'a>(
        &'a self,
        caller: Option<&'a User>,
        ids: &'a [String],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Agent>, SourceError>> {
        Box::pin(async move {
            let found = match select(&self.agents(now).await?, ids) {
                Err(SourceError::UnknownAgent { .. }) => select(&self.reread_agents(now).await?, ids)?,
                found => found?,
            };
            Ok(for_caller(&found, caller))
        })
    }
}

fn for_caller(agents: &[Agent], caller: Option<&User>) -> Vec<Agent> {
    match caller {
        Some(caller) => agents.iter().map(|agent| agent.for_caller(caller)).collect(),
        None => agents.to_vec(),
    }
}

/// Returns an agent for each entry that is not skipped.
pub fn agents_of(entries: Vec<ParsedEntry>) -> Vec<Agent> {
    let ids = agent_positions(&entries);
    let working = entries.into_iter().filter_map(|entry| Some((entry.server.clone()?, entry)));
    let agent = |((server, entry), (id, _)): ((McpServer, ParsedEntry), (String, usize))| Agent {
        id,
        name: entry.agent_name.unwrap_or_else(|| default_name(entry.position)),
        given_description: entry.agent_description,
        server,
    };
    working.zip(ids).map(agent).collect()
}

/// Returns the ids of those agents, with the positions of their entries.
pub(crate) fn agent_positions(entries: &[ParsedEntry]) -> Vec<(String, usize)> {
    let mut ids = UniqueIds::default();
    let working = entries.iter().filter(|entry| entry.server.is_some());
    let id = |entry: &ParsedEntry| agent_id(entry.agent_name.as_deref(), entry.position);
    working.map(|entry| (ids.take(id(entry)), entry.position)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use futures::future::BoxFuture;
    use secrecy::SecretString;

    use super::*;

    /// A source that returns its answers in order, repeats the last one, and counts reads.
    struct Scripted(StdMutex<(Vec<Result<&'static str, SecretError>>, usize)>);

    impl SecretSource for Scripted {
        fn read(&self) -> BoxFuture<'_, Result<SecretString, SecretError>> {
            let mut state = self.0.lock().unwrap();
            let answer = state.0[state.1.min(state.0.len() - 1)].clone();
            state.1 += 1;
            Box::pin(async move { answer.map(Into::into) })
        }
    }

    fn entries(answers: Vec<Result<&'static str, SecretError>>) -> (SecretAgents, Arc<Scripted>) {
        let source = Arc::new(Scripted(StdMutex::new((answers, 0))));
        (SecretAgents::new(source.clone(), None), source)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn ids(agents: &[Agent]) -> Vec<&str> {
        agents.iter().map(|agent| agent.id.as_str()).collect()
    }

    #[tokio::test]
    async fn the_secret_is_read_again_after_a_minute() {
        let one = r#"[{"mcp_url": "https://a.example", "agent_name": "A"}]"#;
        let (entries, source) = entries(vec![Ok(one), Ok("[]")]);
        assert_eq!(entries.agents(at(0)).await.unwrap().len(), 1);
        assert_eq!(entries.agents(at(59)).await.unwrap().len(), 1);
        assert_eq!(source.0.lock().unwrap().1, 1);
        assert_eq!(entries.agents(at(60)).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn an_unreachable_source_leaves_the_last_entries_and_other_faults_are_told() {
        let unreachable = SecretError::Unreachable { id: "s".into(), reason: "timeout".into() };
        let one = r#"[{"mcp_url": "https://a.example"}]"#;
        let (entries, _) = entries(vec![Ok(one), Err(unreachable.clone()), Ok("{}")]);
        entries.agents(at(0)).await.unwrap();
        assert_eq!(entries.agents(at(60)).await.unwrap().len(), 1);
        let error = entries.agents(at(120)).await.unwrap_err();
        assert_eq!(error.error_type(), "SecretNotAnArray");
    }

    #[tokio::test]
    async fn positions_count_all_entries_and_bad_ones_hide_nobody() {
        let text = r#"[null, {"mcp_url": "https://a.example"}, {"mcp_url": 7},
            {"mcp_url": "https://b.example", "agent_name": "Two Words"},
            {"mcp_url": "https://c.example", "agent_name": "two words"}]"#;
        let (entries, _) = entries(vec![Ok(text)]);
        let agents = entries.agents(at(0)).await.unwrap();
        assert_eq!(ids(&agents), ["external-mcp-agent-2", "two_words", "two_words_2"]);
        assert_eq!(agents[0].name, "External MCP Agent 2");
    }
}
