//! The source of agents: the trait [`AgentSource`], its [`Agent`] and its error.
//!
//! Implemented by `secret`; called by [`crate::Catalog`], the functions and the command line.

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
    /// The MCP server that provides its tools.
    pub server: McpServer,
}

impl Agent {
    /// Returns the same agent for `caller`: the caller's own sign-in is preferred to the one that all users share.
    pub fn for_caller(&self, caller: &User) -> Self {
        Self { server: self.server.on_behalf_of(caller), ..self.clone() }
    }
}

/// A source of agents.
pub trait AgentSource: Send + Sync {
    /// Returns all agents as they are for `caller` (`None` for a call without a user), in the order of the list.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`].
    fn list<'a>(
        &'a self,
        caller: Option<&'a User>,
        freshness: Freshness,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Agent>, SourceError>>;

    /// Returns the agents with these ids, each once, in the order of `ids`. If an id is not found, reads the source
    /// again before it fails, because the agent may have been added within the last minute.
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
    /// There is no agent with this id.
    #[error("there is no agent {id}: {}", existing(known))]
    UnknownAgent {
        /// The id.
        id: String,
        /// The ids that exist.
        known: Vec<String>,
    },
    /// The source cannot be read, or its content is not a list of agents.
    #[error("{message}")]
    Unavailable {
        /// The error's type, such as `SecretNotFound`; resolvers and direct callers match on it.
        kind: &'static str,
        /// What is wrong and what to do, without the content of the source.
        message: String,
    },
}

impl SourceError {
    /// Returns the error for a source that was not read within the time of the invocation.
    pub fn timed_out() -> Self {
        let message = "the secret was not read in time: try again; if it happens again, check the network of this function";
        Self::Unavailable { kind: "SecretUnreachable", message: message.to_owned() }
    }

    /// Returns the error's type, as the functions return it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownAgent { .. } => "NoAgent",
            Self::Unavailable { kind, .. } => kind,
        }
    }
}

/// Returns those of `agents` that have these ids, each once, in the order of `ids`.
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
        [] => "there are no agents; add one to the secret".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
