//! The secret's entries as agents, read at most once a minute.
//!
//! Contacts the source of the secret and nobody else. When the source cannot be reached, the entries
//! read last go on being used; every other fault of the secret is told, since somebody just made it.

use std::sync::Arc;

use auth::User;
use jiff::{SignedDuration, Timestamp};
use mcp::McpServer;
use tokio::sync::Mutex;
use url::Url;

use crate::{
    entry::{ParsedEntry, parse_entries},
    naming::{self, UniqueIds},
    secret::{SecretError, SecretSource, parse_secret},
};

/// How long what was read is used: an edited secret shows after a minute at the latest, and a busy
/// environment reads it 60 times an hour.
const REREAD_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// One agent as its entry describes it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// What jobs name it by.
    pub id: String,
    /// What people read.
    pub name: String,
    /// The description its entry gives, if any.
    pub given_description: Option<String>,
    /// Its server.
    pub server: McpServer,
}

impl Agent {
    /// The same, its server signed in to on behalf of `user` where it matters whose tokens are used.
    pub fn on_behalf_of(&self, user: &User) -> Self {
        Self { server: self.server.on_behalf_of(user), ..self.clone() }
    }
}

/// The entries of one secret. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub struct Entries {
    source: Arc<dyn SecretSource>,
    agentcore: Option<Url>,
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Clone)]
struct Kept {
    agents: Arc<[Agent]>,
    read_at: Timestamp,
}

impl Entries {
    /// The entries that `source` holds; AgentCore's runtimes are below `agentcore`, if it is given.
    pub fn new(source: Arc<dyn SecretSource>, agentcore: Option<Url>) -> Self {
        Self { source, agentcore, kept: Arc::default() }
    }

    /// The agents, as the secret was within the last minute.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn agents(&self, now: Timestamp) -> Result<Arc<[Agent]>, SecretError> {
        let mut kept = self.kept.lock().await;
        match kept.as_ref() {
            Some(kept) if now.duration_since(kept.read_at) < REREAD_AFTER => Ok(kept.agents.clone()),
            _ => self.reread(&mut kept, now).await,
        }
    }

    /// The agents, as the secret is now.
    ///
    /// # Errors
    /// As [`Self::agents`].
    pub async fn reread_agents(&self, now: Timestamp) -> Result<Arc<[Agent]>, SecretError> {
        self.reread(&mut *self.kept.lock().await, now).await
    }

    async fn reread(&self, kept: &mut Option<Kept>, now: Timestamp) -> Result<Arc<[Agent]>, SecretError> {
        let values = match (self.source.read().await, kept.as_ref()) {
            (Ok(text), _) => parse_secret(&text)?,
            (Err(error @ SecretError::Unreachable { .. }), Some(kept)) => {
                tracing::warn!(%error, "External MCP: going on with the entries read last");
                return Ok(kept.agents.clone());
            }
            (Err(error), _) => return Err(error),
        };
        let parsed = parse_entries(&values, self.agentcore.as_ref());
        for diagnostic in parsed.iter().flat_map(|entry| &entry.diagnostics) {
            let outcome = if diagnostic.fatal { "entry skipped" } else { "entry used all the same" };
            tracing::warn!(entry.position = diagnostic.position, %diagnostic, "External MCP: {outcome}");
        }
        let agents: Arc<[Agent]> = agents_of(parsed).into();
        *kept = Some(Kept { agents: agents.clone(), read_at: now });
        Ok(agents)
    }
}

/// The agents that entries make.
pub fn agents_of(entries: Vec<ParsedEntry>) -> Vec<Agent> {
    let ids = agent_positions(&entries);
    let working = entries.into_iter().filter_map(|entry| Some((entry.server.clone()?, entry)));
    let agent = |((server, entry), (id, _)): ((McpServer, ParsedEntry), (String, usize))| Agent {
        id,
        name: entry.agent_name.unwrap_or_else(|| naming::default_name(entry.position)),
        given_description: entry.agent_description,
        server,
    };
    working.zip(ids).map(agent).collect()
}

/// The ids of the agents that entries make, with the positions of the entries.
pub(crate) fn agent_positions(entries: &[ParsedEntry]) -> Vec<(String, usize)> {
    let mut ids = UniqueIds::default();
    let working = entries.iter().filter(|entry| entry.server.is_some());
    let id = |entry: &ParsedEntry| naming::agent_id(entry.agent_name.as_deref(), entry.position);
    working.map(|entry| (ids.take(id(entry)), entry.position)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use futures::future::BoxFuture;
    use secrecy::SecretString;

    use super::*;

    /// A source that gives its answers in order, the last one for ever, and counts reads.
    struct Scripted(StdMutex<(Vec<Result<&'static str, SecretError>>, usize)>);

    impl SecretSource for Scripted {
        fn read(&self) -> BoxFuture<'_, Result<SecretString, SecretError>> {
            let mut state = self.0.lock().unwrap();
            let answer = state.0[state.1.min(state.0.len() - 1)].clone();
            state.1 += 1;
            Box::pin(async move { answer.map(Into::into) })
        }
    }

    fn entries(answers: Vec<Result<&'static str, SecretError>>) -> (Entries, Arc<Scripted>) {
        let source = Arc::new(Scripted(StdMutex::new((answers, 0))));
        (Entries::new(source.clone(), None), source)
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
