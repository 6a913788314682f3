//! The state of a faulty server: the requests, tokens and sessions that it has seen.
//!
//! Called by [`super`] for every request.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::behaviour::Behaviour;

/// Prefix of session ids.
const SESSION: &str = "session-";

/// The requests that a server has received.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// Number of requests by JSON-RPC method; `DELETE` for requests that end a session.
    pub requests: BTreeMap<String, usize>,
    /// Number of different `Authorization` values.
    pub tokens: usize,
    /// The arguments of each `tools/call`, in the order received.
    pub calls: Vec<Value>,
}

/// The state of one server.
#[derive(Default)]
pub(super) struct ServerState {
    pub(super) behaviour: Behaviour,
    pub(super) seen: Seen,
    tokens: BTreeSet<String>,
    revoked: BTreeSet<String>,
    /// Number of sessions started. Their ids are `session-1`, `session-2`, …
    sessions: usize,
    /// Number of sessions ended by `forget_session_at`: `session-1` to this one.
    forgotten: usize,
}

impl ServerState {
    /// Returns the id of the session that a request starts; `None` if it starts none.
    ///
    /// # Errors
    /// The HTTP status that refuses the request.
    pub(super) fn session(
        &mut self,
        method: &str,
        named: Option<&str>,
    ) -> Result<Option<String>, StatusCode> {
        if !self.behaviour.sessions {
            return Ok(None);
        }
        if method == "initialize" {
            self.sessions += 1;
            return Ok(Some(format!("{SESSION}{}", self.sessions)));
        }
        if self.behaviour.forget_session_at.take_if(|at| at == method).is_some() {
            self.forgotten = self.sessions;
        }
        let named = named.ok_or(StatusCode::BAD_REQUEST)?;
        let number = named.strip_prefix(SESSION).and_then(|number| number.parse::<usize>().ok());
        match number.filter(|number| *number > self.forgotten) {
            Some(_) => Ok(None),
            None => Err(StatusCode::NOT_FOUND),
        }
    }

    /// Records a request. Returns true if its token is accepted.
    pub(super) fn record(&mut self, method: &str, token: Option<&str>, request: &Value) -> bool {
        *self.seen.requests.entry(method.to_owned()).or_default() += 1;
        if let Some(token) = token {
            self.tokens.insert(token.to_owned());
            self.seen.tokens = self.tokens.len();
        }
        if self.behaviour.revoke_at.as_deref() == Some(method) {
            self.behaviour.revoke_at = None;
            self.revoked = self.tokens.clone();
        }
        if method == "tools/call" {
            self.seen.calls.push(request["params"]["arguments"].clone());
        }
        match token {
            Some(token) => !self.revoked.contains(token),
            None => !self.behaviour.require_auth,
        }
    }

    /// Refuses all tokens received so far from now on.
    pub(super) fn revoke_tokens(&mut self) {
        self.revoked.extend(self.tokens.clone());
    }
}
