//! What can be done with connections.

use auth::{
    AcceptedRedirect, AuthConfig, ClientIdentity, GrantType, OAuth, OAuthConfig, OAuthError, Owner, Purpose,
    Redirect, RegistrationChoice, User,
};
use aws_config::SdkConfig;
use backend::Backend;
use catalog::{Agent, SourceError};
use edge::Caller;
use mcp::Freshness;
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

/// All that a cold start makes.
pub struct Api {
    backend: Backend,
    identity: ClientIdentity,
    allowed_origins: AllowedOrigins,
}

impl Api {
    /// Makes the clients; calls nothing.
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let backend = Backend::new(aws, &config.backend, config.backend.cache.discovery);
        Self { backend, identity: config.identity, allowed_origins: config.allowed_origins }
    }

    pub(crate) fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    pub(crate) async fn settled(&self, until: Instant) {
        self.backend.settled(until).await;
    }

    /// `text` without any secret of the entries: an authorization server's own words may stand in it.
    pub(crate) async fn scrub(&self, text: String) -> String {
        match self.backend.agents.list(None, Freshness::Cached, runtime::now()).await {
            Ok(agents) => agents.iter().fold(text, |text, agent| agent.server.scrub(text)),
            Err(_) => "what went wrong cannot be told: the secret cannot be read".to_owned(),
        }
    }

    fn oauth(&self) -> &OAuth {
        self.backend.connector.sign_in().oauth()
    }

    /// Starts a sign-in. `origin` is that of the page that waits for it, if that page is to be told when the user is
    /// back.
    pub(crate) async fn start(
        &self,
        agent_id: &str,
        starter: &User,
        owner: &Owner,
        origin: Option<&str>,
        registration: RegistrationChoice,
    ) -> Result<Started, ApiError> {
        if origin.is_some_and(|origin| !self.allowed_origins.contains(origin)) {
            return Err(ApiError::OriginNotAllowed);
        }
        let config = self.config(agent_id).await?;
        let purpose = Purpose { agent_id, starter, owner, origin };
        let started =
            self.oauth().start(&config, purpose, &self.identity, registration, runtime::now()).await?;
        Ok(Started {
            agent_id: agent_id.to_owned(),
            authorization_url: started.authorization_url.into(),
            state: started.state.expose_secret().to_owned(),
            expires_at: started.expires.to_string(),
        })
    }

    /// Takes in a browser's return.
    pub(crate) async fn callback(&self, redirect: &Redirect) -> Result<AcceptedRedirect, OAuthError> {
        self.oauth().callback(redirect, runtime::now()).await
    }

    /// Completes a sign-in that `user` has started.
    pub(crate) async fn complete(&self, state: &str, user: &User) -> Result<Completed, ApiError> {
        let sign_in = self.oauth().ready_sign_in(state, user, runtime::now()).await?;
        let agent_id = sign_in.agent_id().to_owned();
        let config = self.config(&agent_id).await?;
        self.oauth().complete(&config, sign_in, runtime::now()).await?;
        Ok(Completed { agent_id, status: CompletedStatus::Connected })
    }

    /// Has a user sign in anew; an administrator, as a client that is registered anew. Where the client signs in
    /// for itself, that is done here and now, for everybody, and so by an administrator.
    pub(crate) async fn regenerate(
        &self,
        agent_id: &str,
        caller: &Caller,
        owner: &Owner,
        origin: Option<&str>,
    ) -> Result<Regenerated, ApiError> {
        let config = self.config(agent_id).await?;
        let grant = match config.grant {
            Some(grant) => grant,
            None => self.oauth().discover(&config).await?.grant,
        };
        if grant != GrantType::ClientCredentials {
            // The client that registered itself is everybody's.
            let registration =
                if caller.is_admin() { RegistrationChoice::New } else { RegistrationChoice::Stored };
            let started = self.start(agent_id, &caller.user, owner, origin, registration).await?;
            return Ok(Regenerated::Started(started));
        }
        if !caller.is_admin() {
            return Err(ApiError::NotAdmin);
        }
        self.oauth().forget(&config, &Owner::Everybody, runtime::now()).await?;
        let auth = AuthConfig::OAuth(Box::new(config));
        self.backend.connector.sign_in().credential(&auth, runtime::now()).await?;
        let (agent_id, status) = (agent_id.to_owned(), CompletedStatus::Connected);
        Ok(Regenerated::Completed(Completed { agent_id, status }))
    }

    /// Takes a sign-in back.
    pub(crate) async fn forget(&self, agent_id: &str, owner: &Owner) -> Result<(), ApiError> {
        let config = self.config(agent_id).await?;
        let forgotten = self.oauth().forget(&config, owner, runtime::now()).await?;
        forgotten.map(drop).ok_or(ApiError::NoConnection)
    }

    /// How `user` stands with every server that is signed in to with OAuth.
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
            if let Some(grant) = self.oauth().grant_summary(config, &owner).await? {
                let is_connected = grant.ended.is_none();
                let told = |text: String| agent.server.scrub(text);
                let reason = grant.ended.map(|ended| told(ended.to_string()));
                let scopes = grant.scopes.into_iter().map(told).collect();
                return Ok(Connection {
                    agent_id: agent.id.clone(),
                    status: if is_connected {
                        ConnectionStatus::Connected
                    } else {
                        ConnectionStatus::NeedsSignIn
                    },
                    reason,
                    owner: Some(name),
                    issuer: Some(told(grant.issuer)),
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

    /// How the server of the agent with this id is signed in to.
    async fn config(&self, agent_id: &str) -> Result<OAuthConfig, ApiError> {
        let ids = [agent_id.to_owned()];
        let found = self.backend.agents.find(None, &ids, runtime::now()).await;
        let found = found.map_err(|error| match error {
            SourceError::UnknownAgent { .. } => ApiError::NoAgent,
            error => error.into(),
        })?;
        let agent = found.into_iter().next().ok_or(ApiError::NoAgent)?;
        match agent.server.auth {
            AuthConfig::OAuth(config) => Ok(*config),
            _ => Err(ApiError::NotOAuth),
        }
    }
}
