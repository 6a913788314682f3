//! Request and response bodies of the connections API, in JSON. The OpenAPI document contains these types.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A sign-in to start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Purpose)]
pub(crate) struct SignInBody {
    /// The id of an agent, as GET /agents lists it.
    pub(crate) agent_id: String,
    /// The owner of the sign-in: the caller, or all users if an Admin says so. The caller if it is not given.
    pub(crate) owner: Option<OwnerName>,
    /// The origin of the web page that waits for the sign-in, such as https://app.example.com. The callback page posts
    /// `{type: "mcp-agents.oauth", state}` to the page that opened it, if that page has this origin. An origin that the
    /// stack's parameter OAuthAllowedOrigins does not name is refused with 400.
    pub(crate) origin: Option<String>,
}

/// The owner of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OwnerName {
    /// The caller.
    Me,
    /// All users of the stack. Only an Admin can create or delete such a sign-in.
    Everybody,
}

/// A sign-in that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Started {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// The URL to open in the user's browser: https, or http on the user's own machine.
    pub(crate) authorization_url: String,
    /// The state with which the same user completes the sign-in, once.
    pub(crate) state: String,
    /// The time at which the state expires: ten minutes after the start, in RFC 3339.
    pub(crate) expires_at: String,
}

/// The sign-in to complete.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) struct Completion {
    /// The `state` in the response of POST /oauth/start.
    pub(crate) state: String,
}

/// A sign-in that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Completed {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// The status.
    pub(crate) status: CompletedStatus,
}

/// The status of a sign-in that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CompletedStatus {
    /// The tokens are stored.
    Connected,
}

/// A sign-in that was started again, or is complete if the grant type is client credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Regenerated {
    /// The user has to sign in.
    Started(Started),
    /// No user has to sign in.
    Completed(Completed),
}

/// The agents that use OAuth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Connections {
    /// One connection for each such agent.
    pub(crate) connections: Vec<Connection>,
}

/// An agent that uses OAuth, with the sign-in that the caller would use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// The agent's id.
    pub(crate) agent_id: String,
    /// The state of the sign-in.
    pub(crate) status: ConnectionStatus,
    /// The reason why a user must sign in.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// The owner of the sign-in, if there is or was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) owner: Option<OwnerName>,
    /// The issuer of the sign-in's tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) issuer: Option<String>,
    /// The scopes that were granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) scopes: Option<Vec<String>>,
}

/// The state of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConnectionStatus {
    /// There is a sign-in, and the caller can use the agent.
    Connected,
    /// There is no sign-in, or it has ended.
    NeedsSignIn,
}

/// The owner of the sign-in to delete.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnerQuery {
    /// The owner: me (the default), or everybody for Admins.
    #[param(inline)]
    pub(crate) owner: Option<OwnerName>,
}

/// The sign-in to delete.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConnectionQuery {
    /// The agent's id. It may contain slashes.
    #[param(min_length = 1)]
    pub(crate) agent_id: String,
    /// The owner: me (the default), or everybody for Admins.
    #[param(inline)]
    pub(crate) owner: Option<OwnerName>,
}

/// The query of a redirect (RFC 6749 §4.1.2, RFC 9207).
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query in the OpenAPI document; the handler reads all of it")]
pub(crate) struct CallbackQuery {
    /// The state of the sign-in.
    #[param(required = false)]
    state: String,
    /// The authorization code. It is exchanged when the user completes the sign-in.
    #[param(required = false)]
    code: String,
    /// The issuer identifier of the authorization server.
    #[param(required = false)]
    iss: String,
    /// The error code, if there is no authorization code.
    #[param(required = false)]
    error: String,
    /// The authorization server's description of the error.
    #[param(required = false)]
    error_description: String,
}
