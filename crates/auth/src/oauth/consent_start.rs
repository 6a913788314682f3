//! Starts a user's sign-in: discovers the authorization server, chooses the client, makes the authorization request,
//! and stores the pending sign-in.
//!
//! Sends no user anywhere: the caller (the connections API, `mcp-agents login`) opens the URL. The redirect and the
//! completion are in [`super::consent`].

use egress::Shown;
use jiff::{Timestamp, Unit};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use vault::Key;

use super::{
    authorization_code::authorization_request,
    authorization_server::AuthorizationServer,
    config::{GrantType, OAuthConfig, Owner},
    error::OAuthError,
    grant::{Grant, GrantEndReason, StoredClient, grant_key},
    grant_store::OAuth,
    issuer::is_same_issuer,
    pending_sign_in::{PendingSignIn, STATE_LIFE, UNFINISHED_LIFE, state_key, unfinished_key},
    registered_client::RegistrationChoice,
    registration::ClientIdentity,
    request_context::{ClientKind, EntryFacts},
    resource::without_query,
};
use crate::user::User;

/// The purpose of a sign-in: for which agent, by which user, for which owner.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The agent with the MCP server.
    pub agent_id: &'a str,
    /// The user who starts the sign-in; only this user may complete it.
    pub starter: &'a User,
    /// The owner of the tokens.
    pub owner: &'a Owner,
    /// The origin of the web page that waits for the sign-in: the callback page sends it a message. The code that calls
    /// `start` has checked that the origin is allowed.
    pub origin: Option<&'a str>,
}

/// A sign-in that was started: the user's browser can be sent to the authorization server.
#[derive(Debug, Clone)]
pub struct StartedSignIn {
    /// The authorization endpoint URL that the user's browser is sent to.
    pub authorization_url: Url,
    /// The `state` parameter. Together with the stored code it completes the sign-in. The user who started it may see it.
    pub state: SecretString,
    /// The time until which the sign-in must be completed, rounded to a whole second.
    pub expires: Timestamp,
}

impl OAuth {
    /// Starts a sign-in.
    ///
    /// # Errors
    /// [`OAuthError`] if discovery, registration or the vault fails. No user is sent anywhere then.
    #[tracing::instrument(name = "auth.oauth.start", skip_all)]
    pub async fn start(
        &self,
        config: &OAuthConfig,
        purpose: Purpose<'_>,
        identity: &ClientIdentity,
        registration: RegistrationChoice,
        now: Timestamp,
    ) -> Result<StartedSignIn, OAuthError> {
        let grant_key = grant_key(config, purpose.owner);
        let unfinished = unfinished_key(grant_key.as_str(), purpose.starter);
        let earlier = self.earlier_grant(&grant_key, purpose.owner).await?;
        let registration = self.without_suspect(registration, earlier.as_ref(), &unfinished, now).await?;
        let (server, mut client) = self.server_and_client(config, identity, &registration, now).await?;
        let earlier = earlier.filter(|grant| is_same_issuer(&grant.issuer, &server.issuer));
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.client.id == client.id) {
            client.auth_method = client.auth_method.or_else(|| earlier.client.auth_method.clone());
        }
        let scopes = earlier.map_or_else(|| server.scopes.clone(), |grant| grant.scopes_to_request(&server));
        // A client that registered itself has the redirect URI of its registration.
        let redirect_uri = client.redirect_uri.clone().unwrap_or_else(|| identity.redirect_uri.clone());
        let request = authorization_request(config, &server, &client.id, &redirect_uri, &scopes)?;
        let expires = (now + STATE_LIFE).round(Unit::Second).unwrap_or(now + STATE_LIFE);
        let pending = PendingSignIn {
            agent_id: purpose.agent_id.to_owned(),
            starter: purpose.starter.clone(),
            owner: purpose.owner.clone(),
            origin: purpose.origin.map(str::to_owned),
            grant_key: grant_key.as_str().to_owned(),
            redirect_uri,
            server,
            client_kind: client.kind(config),
            entry: EntryFacts::of(config),
            client,
            scopes,
            verifier: Some(request.verifier),
            code: None,
        };
        let resource = without_query(config.server_url.as_str());
        let state = state_key(request.state.expose_secret());
        self.vault.put(&state, &pending.content(&resource, expires), None).await?;
        if pending.client_kind == ClientKind::Registered {
            let content = pending.unfinished_content(&resource, now + UNFINISHED_LIFE);
            self.replace(&unfinished, &content).await?;
        }
        Ok(StartedSignIn { authorization_url: request.url, state: request.state, expires })
    }

    /// Returns the owner's earlier grant, an ended one too; `None` if there is none that can be read.
    async fn earlier_grant(&self, key: &Key, owner: &Owner) -> Result<Option<Grant>, OAuthError> {
        let item = self.vault.load(key).await?;
        let own = item.filter(|item| !owner.is_another(item.content.sub.as_deref()));
        Ok(own.and_then(|item| Grant::read(&item.content).ok()))
    }

    /// Replaces [`RegistrationChoice::Stored`] by a choice that excludes the client that the authorization server may
    /// have forgotten: the client of a grant that ended with `ClientForgotten`, else the client of a sign-in that
    /// was started and never completed.
    async fn without_suspect(
        &self,
        registration: RegistrationChoice,
        earlier: Option<&Grant>,
        unfinished: &Key,
        now: Timestamp,
    ) -> Result<RegistrationChoice, OAuthError> {
        if registration != RegistrationChoice::Stored {
            return Ok(registration);
        }
        Ok(RegistrationChoice::StoredUnless(match earlier {
            // A grant that an earlier release wrote does not say which registration it used, so that the registration was
            // not removed when the grant ended.
            Some(Grant { ended: Some(GrantEndReason::ClientForgotten), client, .. }) => {
                Some(client.id.clone())
            }
            _ => self.unfinished_client(unfinished, now).await?,
        }))
    }

    /// Returns the authorization server to send the user to, and the client to use there. If no client can be registered at
    /// an authorization server, the next one that the MCP server names is tried. This is safe, because no secret of the
    /// entry has been sent yet.
    async fn server_and_client(
        &self,
        config: &OAuthConfig,
        identity: &ClientIdentity,
        registration: &RegistrationChoice,
        now: Timestamp,
    ) -> Result<(AuthorizationServer, StoredClient), OAuthError> {
        let mut refusing: Vec<String> = Vec::new();
        let mut refusal: Option<OAuthError> = None;
        loop {
            let server = match (self.discover_except(config, &refusing).await, refusal.as_ref()) {
                (Ok(server), None) => server,
                (Ok(server), Some(_)) if !refusing.contains(&server.issuer) => server,
                (Err(error), None) => return Err(error),
                // The entry has the endpoints: there is no other authorization server.
                (Ok(_), Some(refusal)) => return Err(refusal.clone()),
                (Err(_), Some(refusal)) => {
                    return Err(self.with_alternatives(config, &refusing, refusal.clone()).await);
                }
            };
            if server.grant != GrantType::AuthorizationCode {
                let lacks = "signs in clients alone, no users";
                return Err(OAuthError::NotOffered { issuer: Shown::new(&server.issuer), lacks });
            }
            self.check_pin(config, &server.issuer).await?;
            match self.client(config, &server, identity, registration, now).await {
                Ok(client) => return Ok((server, client)),
                Err(error @ OAuthError::ClientNeeded { .. }) if config.issuer.is_none() => {
                    refusal = refusal.or_else(|| Some(error.scrubbed(config)));
                    refusing.push(server.issuer);
                }
                Err(error) => return Err(error.scrubbed(config)),
            }
        }
    }

    /// Returns the refusal of the first authorization server in `refusing`, with the issuers of the others that the
    /// MCP server names.
    async fn with_alternatives(
        &self,
        config: &OAuthConfig,
        refusing: &[String],
        refusal: OAuthError,
    ) -> OAuthError {
        let is_first = |issuer: &String| refusing.first().is_some_and(|first| is_same_issuer(first, issuer));
        let mut others = self.named_by_server(config).await;
        others.retain(|issuer| !is_first(issuer));
        if others.is_empty() {
            return refusal;
        }
        let others = Shown::new(&others.join(", "));
        OAuthError::OneOfSeveral { first: Box::new(refusal), others, were_tried: true }
    }
}
