//! Where agents come from: the trait [`AgentSource`].

use auth::User;
use futures::future::BoxFuture;
use jiff::Timestamp;
use mcp::{Freshness, McpServer};

/// An agent as its source describes it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The id that jobs name it by.
    pub id: String,
    /// The name that people read.
    pub name: String,
    /// The description that its source gives, if any.
    pub given_description: Option<String>,
    /// The MCP server whose tools it has.
    pub server: McpServer,
}

impl Agent {
    /// The same agent for `caller`: its server is signed in to with the caller's own sign-in before everybody's.
    pub fn for_caller(&self, caller: &User) -> Self {
        Self { server: self.server.on_behalf_of(caller), ..self.clone() }
    }
}

/// A source of agents.
pub trait AgentSource: Send + Sync {
    /// All agents as they are for `caller` (`None`: for a call without a user), in the order in which they are listed.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`].
    fn list<'a>(
        &'a self,
        caller: Option<&'a User>,
        freshness: Freshness,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Agent>, SourceError>>;

    /// The agents with these ids, each once, in the order of `ids`. Reads the source again before it says that there is
    /// no agent of an id: it may have been added within the last minute.
    ///
    /// # Errors
    /// [`SourceError`].
    fn find<'a>(
        &'a self,
        caller: Option<&'a User>,
        ids: &'a [String],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Agent>, SourceError>>;
}

/// The reason why a source gives no agents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no agent of this id.
    #[error("there is no agent {id}: {}", existing(known))]
    UnknownAgent {
        /// The id.
        id: String,
        /// The ids that exist.
        known: Vec<String>,
    },
    /// The source cannot be read, or holds something else than agents.
    #[error("{message}")]
    Unavailable {
        /// The error's type, such as `SecretNotFound`; resolvers and direct callers match on it.
        kind: &'static str,
        /// What is wrong and what to do, without content.
        message: String,
    },
}

impl SourceError {
    /// The error of a source that was not read within the invocation's time.
    pub fn timed_out() -> Self {
        let message =
            "the secret was not read in time: try again; if it stays, check the network of this function";
        Self::Unavailable { kind: "SecretUnreachable", message: message.to_owned() }
    }

    /// The error's type, as a function answers it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownAgent { .. } => "NoAgent",
            Self::Unavailable { kind, .. } => kind,
        }
    }
}

/// The agents among `agents` with these ids, each once, in the order of `ids`.
///
/// # Errors
/// [`SourceError::UnknownAgent`].
pub fn select(agents: &[Agent], ids: &[String]) -> Result<Vec<Agent>, SourceError> {
    let mut selected: Vec<Agent> = Vec::new();
    for id in ids {
        let Some(agent) = agents.iter().find(|agent| agent.id == *id) else {
            let known = agents.iter().map(|agent| agent.id.clone()).collect();
            return Err(SourceError::UnknownAgent { id: id.clone(), known });
        };
        if !selected.iter().any(|other| other.id == *id) {
            selected.push(agent.clone());
        }
    }
    Ok(selected)
}

fn existing(known: &[String]) -> String {
    match known {
        [] => "there are none at all; add one to the secret".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
