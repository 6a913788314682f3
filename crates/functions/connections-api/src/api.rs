//! The operations on sign-ins: start, callback, complete, regenerate, forget, list. The HTTP routes call them.
//!
//! Every error leaves here as an [`ApiError`], without the secrets of the entry that it is about.

use auth::{
    AcceptedRedirect, AuthConfig, ClientIdentity, GrantType, OAuth, OAuthConfig, Owner, Purpose, Redirect,
    RedirectError, RegistrationChoice, User,
};
use aws_config::SdkConfig;
use backend::Backend;
use catalog::{Agent, SourceError};
use identity::{Authenticator, Caller};
use mcp::{Freshness, McpServer};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::{
    config::Config,
    dto::{
        Completed, CompletedStatus, Connection, ConnectionStatus, Connections, OwnerName, Regenerated,
        Started,
    },
    error::ApiError,
    origins::AllowedOrigins,
};

/// A request to start a sign-in.
pub(crate) struct SignInRequest<'a> {
    /// The agent whose server the user signs in to.
    pub(crate) agent_id: &'a str,
    /// The user who starts the sign-in.
    pub(crate) caller: &'a Caller,
    /// The owner of the tokens.
    pub(crate) owner: Owner,
    /// The origin of the page that waits for the sign-in, if the callback page has to tell that page.
    pub(crate) origin: Option<&'a str>,
}

/// The state of the function, made once at cold start.
pub struct Api {
    backend: Backend,
    authenticator: Authenticator,
    identity: ClientIdentity,
    allowed_origins: AllowedOrigins,
}

impl Api {
    /// Creates the clients. Sends no request.
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let backend = Backend::new(aws, &config.backend, config.backend.cache.discovery);
        Self {
            backend,
            authenticator: config.callers.authenticator(),
            identity: config.identity,
            allowed_origins: config.allowed_origins,
        }
    }

    pub(crate) fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    /// Returns the authenticator: who calls, and for which tenant.
    pub(crate) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Waits for token refreshes under way, but not past `until`.
    pub(crate) async fn settled(&self, until: Instant) {
        self.backend.settled(until).await;
    }

    fn oauth(&self) -> &OAuth {
        self.backend.connector.sign_in().oauth()
    }

    /// Starts a sign-in.
    pub(crate) async fn start(
        &self,
        request: &SignInRequest<'_>,
        registration: RegistrationChoice,
    ) -> Result<Started, ApiError> {
        let SignInRequest { agent_id, caller, owner, origin } = request;
        if origin.is_some_and(|origin| !self.allowed_origins.contains(origin)) {
            return Err(ApiError::OriginNotAllowed);
        }
        let server = self.server(agent_id).await?;
        let config = oauth_config(&server)?;
        let purpose = Purpose { agent_id, starter: &caller.user, owner, origin: *origin };
        let started = self.oauth().start(config, purpose, &self.identity, registration, runtime::now()).await;
        let started = started.map_err(|error| ApiError::oauth(&error, &server))?;
        Ok(Started {
            agent_id: (*agent_id).to_owned(),
            authorization_url: started.authorization_url.into(),
            state: started.state.expose_secret().to_owned(),
            expires_at: started.expires.to_string(),
        })
    }

    /// Accepts the redirect that a browser brings, and stores its code until the user completes the sign-in.
    pub(crate) async fn callback(&self, redirect: &Redirect) -> Result<AcceptedRedirect, ApiError> {
        let RedirectError { agent_id, error } = match self.oauth().callback(redirect, runtime::now()).await {
            Ok(arrived) => return Ok(arrived),
            Err(refused) => refused,
        };
        let Some(agent_id) = agent_id else { return Err(ApiError::state(&error)) };
        Err(match self.server(&agent_id).await {
            Ok(server) => ApiError::oauth(&error, &server),
            Err(_) => ApiError::without_texts(&error),
        })
    }

    /// Completes a sign-in that `user` has started.
    pub(crate) async fn complete(&self, state: &str, user: &User) -> Result<Completed, ApiError> {
        let ready = self.oauth().ready_sign_in(state, user, runtime::now()).await;
        let ready = ready.map_err(|error| ApiError::state(&error))?;
        let agent_id = ready.agent_id().to_owned();
        let server = self.server(&agent_id).await?;
        let completed = self.oauth().complete(oauth_config(&server)?, ready, runtime::now()).await;
        completed.map_err(|error| ApiError::oauth(&error, &server))?;
        Ok(Completed { agent_id, status: CompletedStatus::Connected })
    }

    /// Starts a sign-in again; for an administrator, with a client that is registered again. If the grant type is
    /// client credentials, signs in at once instead, for all users, and only for an administrator.
    pub(crate) async fn regenerate(&self, request: &SignInRequest<'_>) -> Result<Regenerated, ApiError> {
        let is_admin = request.caller.is_admin();
        let server = self.server(request.agent_id).await?;
        let config = oauth_config(&server)?;
        let oauth_error = |error| ApiError::oauth(&error, &server);
        let grant = match config.grant {
            Some(grant) => grant,
            None => self.oauth().discover(config).await.map_err(oauth_error)?.grant,
        };
        if grant != GrantType::ClientCredentials {
            // All users share the client that registered itself, so that only an administrator may replace it.
            let registration = if is_admin { RegistrationChoice::New } else { RegistrationChoice::Stored };
            return Ok(Regenerated::Started(self.start(request, registration).await?));
        }
        if !is_admin {
            return Err(ApiError::NotAdmin);
        }
        let forgotten = self.oauth().forget(config, &Owner::Everybody, runtime::now()).await;
        forgotten.map_err(oauth_error)?;
        let signed_in = self.backend.connector.sign_in().credential(&server.auth, runtime::now()).await;
        signed_in.map_err(|error| ApiError::auth(&error, &server))?;
        let (agent_id, status) = (request.agent_id.to_owned(), CompletedStatus::Connected);
        Ok(Regenerated::Completed(Completed { agent_id, status }))
    }

    /// Deletes a sign-in, and revokes its tokens if the authorization server can do that.
    pub(crate) async fn forget(&self, agent_id: &str, owner: &Owner) -> Result<(), ApiError> {
        let server = self.server(agent_id).await?;
        let forgotten = self.oauth().forget(oauth_config(&server)?, owner, runtime::now()).await;
        let forgotten = forgotten.map_err(|error| ApiError::oauth(&error, &server))?;
        forgotten.map(drop).ok_or(ApiError::NoConnection)
    }

    /// Lists the agents that use OAuth, each with the sign-in that `user` would use.
    pub(crate) async fn connections(&self, user: &User) -> Result<Connections, ApiError> {
        let mut connections = Vec::new();
        for agent in &self.backend.agents.list(None, Freshness::Cached, runtime::now()).await? {
            let AuthConfig::OAuth(config) = &agent.server.auth else { continue };
            connections.push(self.connection(agent, config, user).await?);
        }
        Ok(Connections { connections })
    }

    async fn connection(
        &self,
        agent: &Agent,
        config: &OAuthConfig,
        user: &User,
    ) -> Result<Connection, ApiError> {
        let owners = [(Owner::User(user.clone()), OwnerName::Me), (Owner::Everybody, OwnerName::Everybody)];
        for (owner, name) in owners {
            let grant = self.oauth().grant_summary(config, &owner).await;
            let grant = grant.map_err(|error| ApiError::oauth(&error, &agent.server))?;
            if let Some(grant) = grant {
                let is_connected = grant.ended.is_none();
                let scrub = |text: String| agent.server.scrub(text);
                let reason = grant.ended.map(|ended| scrub(ended.to_string()));
                let scopes = grant.scopes.into_iter().map(scrub).collect();
                return Ok(Connection {
                    agent_id: agent.id.clone(),
                    status: if is_connected {
                        ConnectionStatus::Connected
                    } else {
                        ConnectionStatus::NeedsSignIn
                    },
                    reason,
                    owner: Some(name),
                    issuer: Some(scrub(grant.issuer)),
                    scopes: Some(scopes),
                });
            }
        }
        Ok(Connection {
            agent_id: agent.id.clone(),
            status: ConnectionStatus::NeedsSignIn,
            reason: Some("nobody has signed in yet".to_owned()),
            owner: None,
            issuer: None,
            scopes: None,
        })
    }

    /// Returns the MCP server of the agent with this id.
    async fn server(&self, agent_id: &str) -> Result<McpServer, ApiError> {
        let ids = [agent_id.to_owned()];
        let found = self.backend.agents.find(None, &ids, runtime::now()).await;
        let found = found.map_err(|error| match error {
            SourceError::UnknownAgent { .. } => ApiError::NoAgent,
            error => error.into(),
        })?;
        found.into_iter().next().map(|agent| agent.server).ok_or(ApiError::NoAgent)
    }
}

/// Returns the OAuth configuration of a server.
fn oauth_config(server: &McpServer) -> Result<&OAuthConfig, ApiError> {
    match &server.auth {
        AuthConfig::OAuth(config) => Ok(config),
        _ => Err(ApiError::NotOAuth),
    }
}
