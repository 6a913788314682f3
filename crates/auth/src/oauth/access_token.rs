//! Decides which access token is used: the stored one, a renewed one, or a first one for the client itself.
//!
//! [`super::renewal`] renews a stored grant. A user's first token comes from a sign-in ([`super::consent`]). Called by
//! [`crate::SignIn`], which caches what is returned here.

use egress::Shown;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use vault::{ItemState, VaultError};

use super::{
    authorization_server::AuthorizationServer,
    config::{ClientAuthentication, ClientRegistration, GrantType, OAuthConfig, Owner},
    discovery::{discover, named_by_server},
    error::OAuthError,
    grant::{Grant, SignInNeeded, StoredClient, grant_key, union},
    grant_store::{OAuth, StoredGrant},
    renewal::{IsUsable, Renewal},
    request_context::{Endpoint, RequestContext},
};
use crate::{AuthError, Credential};

/// Time for which a process uses a token without reading its grant again, in seconds: the longest time for which a
/// removed grant is still used.
const READ_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// An access token, and the time from which the caller must ask for it again.
#[derive(Debug, Clone)]
pub(crate) struct AccessToken {
    pub(crate) token: SecretString,
    pub(crate) stale_from: Timestamp,
    /// True if this process got the token from the authorization server, false if it read it from the vault.
    pub(crate) issued_here: bool,
}

impl OAuth {
    /// Discovers the authorization server of an MCP server, as a sign-in would. For explaining a failure.
    ///
    /// # Errors
    /// [`OAuthError`].
    pub async fn discover(&self, config: &OAuthConfig) -> Result<AuthorizationServer, OAuthError> {
        self.discover_except(config, &[]).await
    }

    /// Discovers the authorization server. Of several that the MCP server names, those in `excluded` are not used.
    pub(super) async fn discover_except(
        &self,
        config: &OAuthConfig,
        excluded: &[String],
    ) -> Result<AuthorizationServer, OAuthError> {
        // A vault that fails is reported later: before a secret is sent, the pin is read again.
        let pinned = self.pinned(config).await.unwrap_or_default();
        let found = discover(&self.http, config, pinned.as_deref(), excluded).await;
        found.map_err(|error| error.scrubbed(config))
    }

    /// Returns the issuers that the MCP server's metadata names, whether or not the server asks for a sign-in.
    pub async fn named_by_server(&self, config: &OAuthConfig) -> Vec<String> {
        named_by_server(&self.http, config).await.into_iter().map(|issuer| config.scrub(issuer)).collect()
    }

    /// Returns an access token that can be used at `now` and is not `rejected`.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`] if no owner has a grant, or the grant has ended or lacks scopes;
    /// [`AuthError::OAuth`] if the authorization server or the vault fails.
    pub(crate) async fn access_token(
        &self,
        config: &OAuthConfig,
        rejected: Option<&Credential>,
        now: Timestamp,
    ) -> Result<AccessToken, AuthError> {
        let Some(mut stored) = self.find_grant(config).await? else {
            return self.first_access_token(config, now).await;
        };
        if let Some(reason) = stored.grant.end_reason(now) {
            return Err(SignInNeeded::Ended(reason.clone()).into());
        }
        let missing = stored.grant.missing_scopes(&config.scopes);
        if !missing.is_empty() && !stored.grant.is_clients_own {
            return Err(SignInNeeded::Scopes(missing).into());
        }
        let is_rejected = |token: &SecretString| {
            rejected.is_some_and(|rejected| Credential::bearer(token).is_same(rejected))
        };
        let is_usable = |grant: &Grant| {
            now < grant.stale_from
                && grant.access.as_ref().is_some_and(|token| !is_rejected(token))
                && grant.missing_scopes(&config.scopes).is_empty()
        };
        if !is_usable(&stored.grant) {
            stored = self.renew(config, stored, &is_usable, now).await?;
        }
        access_token_of(config, &stored, now)
    }

    /// Returns an access token for the scopes in `wanted`, which `held` lacks; or another token than `held`, if one is stored
    /// already.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`] if a user must grant the scopes; [`OAuthError::Refused`] if the sign-in requested them
    /// already, so that a new token would not have more.
    pub(crate) async fn stepped_up(
        &self,
        config: &OAuthConfig,
        held: &Credential,
        wanted: &[String],
        now: Timestamp,
    ) -> Result<AccessToken, AuthError> {
        let Some(mut stored) = self.find_grant(config).await? else {
            return Err(SignInNeeded::Scopes(scrubbed(config, wanted)).into());
        };
        let is_held = |token: &SecretString| Credential::bearer(token).is_same(held);
        if stored.grant.access.as_ref().is_some_and(|token| !is_held(token)) {
            // Another process has renewed or stepped up the grant, or a user has signed in again. The MCP server is tried with
            // that token, which may still lack the scopes.
            return access_token_of(config, &stored, now);
        }
        if stored.grant.missing_scopes(wanted).is_empty() {
            return Err(insufficient_scope(wanted).into());
        }
        self.store_wanted(config, &mut stored, wanted, now).await?;
        if !stored.grant.is_clients_own {
            return Err(SignInNeeded::Scopes(scrubbed(config, wanted)).into());
        }
        let is_usable = |grant: &Grant| grant.access.as_ref().is_some_and(|token| !is_held(token));
        access_token_of(config, &self.renew(config, stored, &is_usable, now).await?, now)
    }

    /// Stores the wanted scopes with the grant, for the next request. Not while another process holds the lease: a
    /// write would end it. If another process writes first, the server will ask for the scopes again.
    async fn store_wanted(
        &self,
        config: &OAuthConfig,
        stored: &mut StoredGrant,
        wanted: &[String],
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let wanted_before = stored.grant.wanted.len();
        stored.grant.wanted = union(&stored.grant.wanted, wanted);
        let is_leased = stored.state.leased_until.is_some();
        if stored.grant.wanted.len() > wanted_before && !is_leased {
            match self.write(config, stored, stored.state.version, now).await {
                Ok(version) => stored.state.version = version,
                Err(OAuthError::Store(VaultError::Changed)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns the first access token of a client that signs in with its own credentials.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`] if a user must sign in.
    async fn first_access_token(
        &self,
        config: &OAuthConfig,
        now: Timestamp,
    ) -> Result<AccessToken, AuthError> {
        let can_authenticate =
            |client: &&ClientRegistration| !matches!(client.authentication, ClientAuthentication::Public);
        let needs_user = self.grant_type(config) == Some(GrantType::AuthorizationCode);
        let Some(client) = config.client.as_ref().filter(can_authenticate).filter(|_| !needs_user) else {
            return Err(SignInNeeded::Never.into());
        };
        let server = self.discover(config).await?;
        self.remember_grant_type(config, server.grant);
        if server.grant == GrantType::AuthorizationCode {
            return Err(SignInNeeded::Never.into());
        }
        self.check_pin(config, &server.issuer).await?;
        let grant = new_clients_grant(&server, client.client_id.clone(), now);
        let stored = self.store_first(config, grant, now).await?;
        let is_usable = |grant: &Grant| grant.access.is_some() && now < grant.stale_from;
        let renewal = Renewal::new(self, config, &is_usable, now).with_server(server);
        access_token_of(config, &renewal.run(stored).await?, now)
    }

    /// Stores a client's first grant, still without a token. If another process has stored one first, returns the grant of
    /// the first owner that has one.
    async fn store_first(
        &self,
        config: &OAuthConfig,
        grant: Grant,
        now: Timestamp,
    ) -> Result<StoredGrant, AuthError> {
        // A client's own grant belongs to everybody: no user is involved.
        let owner = Owner::Everybody;
        let key = grant_key(config, &owner);
        match self.vault.put(&key, &grant.content(config, &owner, now), None).await {
            Ok(version) => {
                let state = ItemState { version, leased_until: None, usable: true, sub: None };
                Ok(StoredGrant { key, owner, grant, state, issued_here: false })
            }
            Err(VaultError::Changed) => {
                Ok(self.find_grant(config).await?.ok_or(OAuthError::Store(VaultError::Changed))?)
            }
            Err(error) => Err(OAuthError::Store(error).into()),
        }
    }

    /// Renews a grant until it can be used.
    async fn renew(
        &self,
        config: &OAuthConfig,
        stored: StoredGrant,
        is_usable: IsUsable<'_>,
        now: Timestamp,
    ) -> Result<StoredGrant, AuthError> {
        Renewal::new(self, config, is_usable, now).run(stored).await
    }
}

/// Returns a client credentials grant without a token.
fn new_clients_grant(server: &AuthorizationServer, client_id: String, now: Timestamp) -> Grant {
    Grant {
        issuer: server.issuer.clone(),
        resource: server.resource.clone(),
        client: StoredClient::with_id(client_id),
        access: None,
        refresh: None,
        stale_from: now,
        is_clients_own: true,
        scopes: server.scopes.clone(),
        wanted: Vec::new(),
        rotates: false,
        ended: None,
        retry_from: None,
    }
}

/// Returns the error of an MCP server that asks for scopes which its token has.
fn insufficient_scope(wanted: &[String]) -> OAuthError {
    OAuthError::Refused {
        endpoint: Endpoint::McpServer,
        error: Shown::new("insufficient_scope"),
        description: Some(Shown::new(&format!("it was asked for and granted: {}", wanted.join(" ")))),
        context: RequestContext::default(),
    }
}

/// Removes the entry's secrets from scopes: a server may repeat as a scope what it was sent.
fn scrubbed(config: &OAuthConfig, scopes: &[String]) -> Vec<String> {
    scopes.iter().map(|scope| config.scrub(scope.clone())).collect()
}

/// Returns a grant's access token. The caller must read the grant again after [`READ_AGAIN_AFTER`]. If the grant belongs to a
/// later owner in `config.owners`, the token is not cached at all, so that a sign-in of the first owner takes effect at
/// the next request.
fn access_token_of(
    config: &OAuthConfig,
    stored: &StoredGrant,
    now: Timestamp,
) -> Result<AccessToken, AuthError> {
    let token = stored.grant.access.clone().ok_or(SignInNeeded::Never)?;
    let is_first_choice = stored.grant.is_clients_own || *config.first_owner() == stored.owner;
    let again = if is_first_choice { now + READ_AGAIN_AFTER } else { now };
    let stale_from = stored.grant.stale_from.min(again);
    Ok(AccessToken { token, stale_from, issued_here: stored.issued_here })
}
