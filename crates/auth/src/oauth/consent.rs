//! The second and third step of a user's sign-in: the redirect, and the completion.
//!
//! [`super::consent_start`] starts it and stores it as a pending sign-in. The redirect stores its authorization code
//! there, once. The completion, by the user who started, removes the pending sign-in and only then exchanges the code,
//! so that no code is exchanged twice. Called by the connections API and `mcp-agents login`.

use egress::Shown;
use jiff::Timestamp;
use vault::{Key, SealedItem};

use super::{
    authorization_code::{Redirect, validate_redirect},
    config::OAuthConfig,
    error::OAuthError,
    grant::{Grant, grant_key, union},
    grant_store::OAuth,
    pending_sign_in::{PendingSignIn, changed_means_used, unfinished_key},
    request_context::RequestContext,
    token_request::{TokenRequest, TokenResponse, request_tokens},
    token_set::TokenSet,
    verdict::{Verdict, verdict},
};
use crate::user::User;

/// A redirect that was accepted, with what its sign-in was started for.
#[derive(Debug, Clone)]
pub struct AcceptedRedirect {
    /// The agent with the MCP server.
    pub agent_id: String,
    /// The name of the user who started the sign-in.
    pub starter: String,
    /// The origin of the web page that waits for the sign-in, as given at the start.
    pub origin: Option<String>,
}

/// An error of [`OAuth::callback`], with the agent whose sign-in it ended.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RedirectError {
    /// The agent's id. `None` if the state is not known or not readable; the error holds no text of an authorization
    /// server then.
    pub agent_id: Option<String>,
    /// The reason why the redirect is not accepted.
    #[source]
    pub error: OAuthError,
}

impl From<OAuthError> for RedirectError {
    fn from(error: OAuthError) -> Self {
        Self { agent_id: None, error }
    }
}

impl From<RedirectError> for OAuthError {
    fn from(refused: RedirectError) -> Self {
        refused.error
    }
}

/// A sign-in whose redirect has arrived, checked to be the user's who completes it.
pub struct ReadySignIn {
    key: Key,
    item: SealedItem,
    pending: PendingSignIn,
}

impl ReadySignIn {
    /// The agent with the MCP server.
    pub fn agent_id(&self) -> &str {
        &self.pending.agent_id
    }
}

impl OAuth {
    /// Accepts a redirect: checks its state and issuer, and stores its authorization code with the pending sign-in.
    /// Exchanges nothing, since the browser that followed the redirect may not be the browser of the user who started.
    ///
    /// # Errors
    /// [`OAuthError::State`]; the errors of [`validate_redirect`], [`OAuthError::OtherRedirect`]: the state is used up
    /// then.
    #[tracing::instrument(name = "auth.oauth.callback", skip_all)]
    pub async fn callback(
        &self,
        redirect: &Redirect,
        now: Timestamp,
    ) -> Result<AcceptedRedirect, RedirectError> {
        let state = redirect.state.as_deref().ok_or(OAuthError::State)?;
        let (key, item, mut pending) = self.pending_sign_in(state, now).await?;
        if pending.code.is_some() {
            return Err(OAuthError::State.into());
        }
        let came_elsewhere = redirect.redirect_uri.as_ref().is_some_and(|uri| *uri != pending.redirect_uri);
        let code = match came_elsewhere {
            true => Err(OAuthError::OtherRedirect { expected: Shown::new(&pending.server.issuer) }),
            false => validate_redirect(redirect, &pending.server),
        };
        match code {
            Ok(code) => pending.code = Some(code),
            Err(error) => {
                self.use_up(&key, &item).await?;
                let client = Some(pending.client_kind);
                let context = RequestContext { client, entry: pending.entry, ..RequestContext::default() };
                let error = error.in_context(context);
                if verdict(&error) == Verdict::ClientForgotten {
                    self.forget_registration(&pending.server.issuer, &pending.client).await;
                }
                let error = error.with_redirect_uri(&pending.redirect_uri);
                return Err(RedirectError { agent_id: Some(pending.agent_id), error });
            }
        }
        let content = pending.content(&item.content.resource, item.content.expires);
        let stored = self.vault.put(&key, &content, Some(item.state.version)).await;
        stored.map_err(changed_means_used)?;
        let (agent_id, starter, origin) = (pending.agent_id, pending.starter.name, pending.origin);
        Ok(AcceptedRedirect { agent_id, starter, origin })
    }

    /// Returns the sign-in with this state, for `user` to complete.
    ///
    /// # Errors
    /// [`OAuthError::State`]; [`OAuthError::NotYet`]; [`OAuthError::OtherUser`]: the state is used up then.
    pub async fn ready_sign_in(
        &self,
        state: &str,
        user: &User,
        now: Timestamp,
    ) -> Result<ReadySignIn, OAuthError> {
        let (key, item, pending) = self.pending_sign_in(state, now).await?;
        if pending.starter.name != user.name || user.is_another(pending.starter.sub.as_deref()) {
            self.use_up(&key, &item).await?;
            return Err(OAuthError::OtherUser);
        }
        match pending.code {
            Some(_) => Ok(ReadySignIn { key, item, pending }),
            None => Err(OAuthError::NotYet),
        }
    }

    /// Completes a sign-in: uses up its state, exchanges its code, and stores the grant.
    ///
    /// # Errors
    /// The error of the token endpoint; [`OAuthError::State`] if another request has used the state first, or if the
    /// entry has changed since the start.
    #[tracing::instrument(name = "auth.oauth.complete", skip_all)]
    pub async fn complete(
        &self,
        config: &OAuthConfig,
        sign_in: ReadySignIn,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let ReadySignIn { key, item, pending } = sign_in;
        if pending.code.is_none() || pending.verifier.is_none() {
            return Err(OAuthError::NotYet);
        }
        self.use_up(&key, &item).await?;
        let grant_key = grant_key(config, &pending.owner);
        if grant_key.as_str() != pending.grant_key {
            return Err(OAuthError::State);
        }
        self.check_pin(config, &pending.server.issuer).await?;
        let TokenResponse { tokens, auth_method } = self.exchange_code(config, &pending, now).await?;
        let unfinished = unfinished_key(&pending.grant_key, &pending.starter);
        let (owner, server) = (pending.owner.clone(), pending.server.clone());
        let mut grant = new_grant(pending, tokens, now);
        self.store_auth_method(config, &server.issuer, &mut grant.client, auth_method).await;
        self.replace(&grant_key, &grant.content(config, &owner, now)).await?;
        self.pin(config, &server, now).await;
        self.clear_unfinished(&unfinished).await;
        tracing::info!("External MCP: a user has signed in");
        Ok(())
    }

    async fn exchange_code(
        &self,
        config: &OAuthConfig,
        pending: &PendingSignIn,
        now: Timestamp,
    ) -> Result<TokenResponse, OAuthError> {
        let (Some(code), Some(verifier)) = (&pending.code, &pending.verifier) else {
            return Err(OAuthError::NotYet);
        };
        let registration = pending.client.registration(config);
        let client = pending.client.as_client(&registration, config);
        let redirect_uri = pending.redirect_uri.as_str();
        let request = TokenRequest::AuthorizationCode { code, verifier, redirect_uri };
        match request_tokens(&self.posts, &pending.server, client, request, now).await {
            Ok(response) => Ok(response),
            Err(error) => {
                if verdict(&error) == Verdict::ClientForgotten {
                    self.forget_registration(&pending.server.issuer, &pending.client).await;
                }
                Err(error.scrubbed(config).with_redirect_uri(redirect_uri))
            }
        }
    }
}

/// Returns the grant of a completed sign-in.
fn new_grant(pending: PendingSignIn, tokens: TokenSet, now: Timestamp) -> Grant {
    let mut grant = Grant {
        issuer: pending.server.issuer,
        resource: pending.server.resource,
        client: pending.client,
        access: None,
        refresh: None,
        stale_from: now,
        is_clients_own: false,
        scopes: union(&pending.scopes, tokens.scopes.as_deref().unwrap_or_default()),
        wanted: Vec::new(),
        rotates: true,
        ended: None,
        retry_from: None,
    };
    grant.set_tokens(tokens);
    grant
}
