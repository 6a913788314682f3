//! What the connections API takes and answers, as JSON has it. The OpenAPI document is made of these types.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What a sign-in is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) struct Purpose {
    /// The id of an agent, as GET /agents lists it.
    pub(crate) agent_id: String,
    /// Whose the sign-in is: the caller's own, or, if an Admin says so, everybody's.
    pub(crate) owner: Option<OwnerName>,
    /// The origin of the web page that waits for the sign-in, such as https://app.example.com. The callback page posts
    /// `{type: "mcp-agents.oauth", state}` to the page that opened it, if that has this origin. One that the stack's
    /// parameter OAuthAllowedOrigins does not name is refused with 400.
    pub(crate) origin: Option<String>,
}

/// Whose a sign-in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OwnerName {
    /// The caller's own.
    Me,
    /// Of all users of the stack. Only an Admin makes or deletes it.
    Everybody,
}

/// A sign-in that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Started {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// Where the user's browser goes: https, or http on its own machine.
    pub(crate) authorization_url: String,
    /// What completes the sign-in, once, by the same user.
    pub(crate) state: String,
    /// When the state is over: ten minutes from the start, in RFC 3339.
    pub(crate) expires_at: String,
}

/// The state of a sign-in whose user is back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) struct Completion {
    /// `state` as POST /oauth/start answered it.
    pub(crate) state: String,
}

/// A sign-in that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Completed {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// That the tokens are kept.
    pub(crate) status: CompletedStatus,
}

/// The status of a sign-in that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CompletedStatus {
    /// The tokens are kept.
    Connected,
}

/// A sign-in that was started anew, or is complete where the client signs in for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Regenerated {
    /// The user has to sign in.
    Started(Started),
    /// Nobody has to sign in.
    Completed(Completed),
}

/// How the caller stands with every agent that is signed in to with OAuth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Connections {
    /// One for each such agent.
    pub(crate) connections: Vec<Connection>,
}

/// How the caller stands with one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// Whether the agent can be used.
    pub(crate) status: ConnectionStatus,
    /// Why a user must sign in.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// Whose the sign-in is, if there is or was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) owner: Option<OwnerName>,
    /// The issuer of its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) issuer: Option<String>,
    /// The scopes that were granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) scopes: Option<Vec<String>>,
}

/// Whether an agent can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConnectionStatus {
    /// There is a sign-in.
    Connected,
    /// There is none, or it has ended.
    NeedsSignIn,
}

/// Whose sign-in is deleted.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnerQuery {
    /// Whose: me, or everybody for Admins.
    #[param(inline)]
    pub(crate) owner: Option<OwnerName>,
}

/// Which sign-in is deleted.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConnectionQuery {
    /// The agent's id, which may hold slashes here.
    #[param(min_length = 1)]
    pub(crate) agent_id: String,
    /// Whose: me, or everybody for Admins.
    #[param(inline)]
    pub(crate) owner: Option<OwnerName>,
}

/// What an authorization server sends back with the browser.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query in the OpenAPI document; the handler reads all of it")]
pub(crate) struct CallbackQuery {
    /// The state of the sign-in, as it was sent.
    #[param(required = false)]
    state: String,
    /// The authorization code, which is exchanged later.
    #[param(required = false)]
    code: String,
    /// The issuer that sends the browser.
    #[param(required = false)]
    iss: String,
    /// Why there is no code.
    #[param(required = false)]
    error: String,
    /// What the authorization server says about it.
    #[param(required = false)]
    error_description: String,
}
