//! The lease holder: exchanges a grant's refresh token or the client's credentials, and stores the result.
//!
//! Started by [`super::renewal`], which takes the lease. Decides what a failed exchange means for the grant; what the
//! refusal itself means is decided by [`super::verdict`]. Does not discover the authorization server.

use std::{sync::Arc, time::Duration};

use egress::EgressError;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{sleep, timeout};
use vault::VaultError;

use super::{
    authorization_server::AuthorizationServer,
    config::OAuthConfig,
    error::OAuthError,
    grant::{Grant, GrantEndReason, SignInNeeded, union},
    grant_store::{OAuth, StoredGrant},
    request_context::Endpoint,
    revocation::RevocationOutcome,
    token_request::{TokenRequest, TokenResponse, request_tokens},
    verdict::{Verdict, verdict},
};
use crate::AuthError;

/// Length of the lease, in seconds: covers [`EXCHANGE_TIMEOUT`] and [`STORE_TIMEOUT`]. The 3 s left are for taking the lease
/// and storing the client's authentication method. If a lease holder dies, the other processes wait this long, and 2 s
/// more for differences between clocks; then they end a user's grant.
pub(super) const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// Time limit for the request to the token endpoint, its repetitions included, in seconds. EXCHANGE_TIMEOUT +
/// STORE_TIMEOUT stays below LEASE.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit for storing the token response, in seconds. EXCHANGE_TIMEOUT + STORE_TIMEOUT stays below LEASE.
const STORE_TIMEOUT: Duration = Duration::from_secs(12);
/// How often storing the token response is attempted while the vault does not answer: the response cannot be had again.
const STORE_ATTEMPTS: u32 = 4;
/// Pause before the second attempt to store is twice this, in milliseconds; it doubles with each attempt.
const STORE_PAUSE: Duration = Duration::from_millis(60);
/// Pause before a refresh token is sent once more that was refused with another error than `invalid_grant`, in minutes. A
/// listing asks the server again after 15 minutes (`TOOL_CACHE_TTL_SECONDS`) in any case.
const RETRY_REFUSED: SignedDuration = SignedDuration::from_mins(15);

/// The process that holds the lease on a grant, for the time of one exchange.
pub(super) struct LeaseHolder {
    pub(super) oauth: OAuth,
    pub(super) config: OAuthConfig,
    /// The time at which the lease was taken.
    pub(super) at: Timestamp,
}

impl LeaseHolder {
    /// Requests tokens and stores the result, a failure too. Returns the renewed grant.
    #[tracing::instrument(name = "auth.oauth.renew", skip_all)]
    pub(super) async fn renew(
        &self,
        mut stored: StoredGrant,
        server: &AuthorizationServer,
    ) -> Result<StoredGrant, AuthError> {
        let scopes = union(&union(&server.scopes, &self.config.scopes), &stored.grant.scopes);
        let scopes = union(&scopes, &stored.grant.wanted);
        match self.request_tokens(&stored.grant, server, &scopes).await {
            Ok(TokenResponse { tokens, auth_method }) => {
                let issuer = stored.grant.issuer.clone();
                let client = &mut stored.grant.client;
                self.oauth.store_auth_method(&self.config, &issuer, client, auth_method).await;
                let granted = tokens.scopes.clone().unwrap_or_default();
                stored.grant.set_tokens(tokens);
                stored.issued_here = true;
                if stored.grant.is_clients_own {
                    // A client credentials response should have no refresh token (RFC 6749 §4.4.3): not used.
                    stored.grant.refresh = None;
                    stored.grant.scopes = union(&scopes, &granted);
                    stored.grant.wanted.clear();
                }
                self.store_renewed(stored, server).await
            }
            Err(error) => Err(self.store_failure(stored, error.scrubbed(&self.config)).await),
        }
    }

    async fn request_tokens(
        &self,
        grant: &Grant,
        server: &AuthorizationServer,
        scopes: &[String],
    ) -> Result<TokenResponse, OAuthError> {
        let registration = grant.client.registration(&self.config);
        let client = grant.client.as_client(&registration, &self.config);
        let request = match &grant.refresh {
            Some(refresh) if !grant.is_clients_own => TokenRequest::RefreshToken(refresh),
            _ => TokenRequest::ClientCredentials { scopes, audience: self.config.audience.as_deref() },
        };
        let sent = request_tokens(&self.oauth.posts, server, client, request, self.at);
        timeout(EXCHANGE_TIMEOUT, sent).await.unwrap_or_else(|_| {
            let host = server.token_endpoint.host_str().unwrap_or_default().to_owned();
            let source = Arc::new(EgressError::Timeout { host });
            Err(OAuthError::Unreachable { endpoint: Endpoint::Token, source })
        })
    }

    /// Stores a renewed grant. If the grant was removed while it was renewed, revokes the new tokens; if it was replaced,
    /// drops them. If the vault does not answer, returns the grant nevertheless: this request can use it.
    async fn store_renewed(
        &self,
        stored: StoredGrant,
        server: &AuthorizationServer,
    ) -> Result<StoredGrant, AuthError> {
        match self.store(&stored).await {
            Ok(()) => {
                self.oauth.pin(&self.config, server, self.at).await;
                tracing::info!("External MCP: access token renewed");
                Ok(stored)
            }
            Err(VaultError::Changed) => {
                if let Ok(None) = self.oauth.vault.peek(&stored.key).await
                    && let RevocationOutcome::Failed(error) =
                        self.oauth.revoke(&self.config, &stored.grant, self.at).await
                {
                    tracing::warn!(
                        %error,
                        "External MCP: a removed sign-in was not revoked at the authorization server"
                    );
                }
                Err(SignInNeeded::Never.into())
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "External MCP: a renewed token was not stored: this request uses it, and a user must sign in again afterwards"
                );
                Ok(stored)
            }
        }
    }

    /// Stores what a failed exchange means for the grant: it ends, is suspended (ended, but its refresh token is tried once
    /// more), or stays as it was, without a lease. Returns the error for the caller.
    async fn store_failure(&self, mut stored: StoredGrant, error: OAuthError) -> AuthError {
        if stored.grant.is_clients_own {
            return self.store_clients_failure(stored, error).await;
        }
        let reason = end_reason(&error, stored.grant.rotates);
        // An answer that is no OAuth error may come from a proxy, after the authorization server has used the token.
        let is_token_unused =
            reason.is_none() || !stored.grant.rotates || matches!(error, OAuthError::Refused { .. });
        // A suspended grant stays suspended where the authorization server cannot answer now.
        let reason = reason.or_else(|| stored.grant.ended.clone());
        if let Some(reason) = &reason {
            match reason {
                GrantEndReason::RefreshRefused { .. } if is_token_unused => {
                    stored.grant.suspend(reason.clone(), self.at + RETRY_REFUSED);
                    tracing::warn!(%error, "External MCP: the refresh token was refused, it is sent once more in 15 minutes");
                }
                _ => {
                    stored.grant.end(reason.clone());
                    tracing::warn!(%error, "External MCP: the sign-in is over, a user must sign in again");
                }
            }
        }
        if reason == Some(GrantEndReason::ClientForgotten) {
            self.oauth.forget_registration(&stored.grant.issuer, &stored.grant.client).await;
        }
        if let Err(failed) = self.store(&stored).await {
            return OAuthError::Store(failed).into();
        }
        reason.map_or_else(|| error.into(), |reason| SignInNeeded::Ended(reason).into())
    }

    /// Stores a failed exchange of client credentials. Such a grant does not end: the client can sign in again.
    async fn store_clients_failure(&self, mut stored: StoredGrant, error: OAuthError) -> AuthError {
        if stored.grant.access.is_none() {
            // The first sign-in failed: the grant is removed, so that its issuer is not remembered.
            if let Err(failed) = self.oauth.vault.remove(&stored.key, stored.state.version).await {
                tracing::warn!(error = %failed, "External MCP: the grant of a failed first sign-in was not removed");
            }
            return error.into();
        }
        // The scopes wanted beyond those granted may be the reason of the refusal: the next renewal goes without them.
        stored.grant.wanted.clear();
        match self.store(&stored).await {
            Ok(()) => error.into(),
            Err(failed) => OAuthError::Store(failed).into(),
        }
    }

    /// Stores the grant within [`STORE_TIMEOUT`], in up to [`STORE_ATTEMPTS`] attempts. Ends the lease.
    async fn store(&self, stored: &StoredGrant) -> Result<(), VaultError> {
        let late = VaultError::unavailable("no answer within the lease");
        timeout(STORE_TIMEOUT, self.store_with_retries(stored)).await.unwrap_or(Err(late))
    }

    async fn store_with_retries(&self, stored: &StoredGrant) -> Result<(), VaultError> {
        let content = stored.grant.content(&self.config, &stored.owner, self.at);
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.oauth.vault.put(&stored.key, &content, Some(stored.state.version)).await {
                Err(VaultError::Unavailable { .. }) if attempts < STORE_ATTEMPTS => {
                    sleep(STORE_PAUSE * 2_u32.pow(attempts)).await;
                }
                written => return written.map(drop),
            }
        }
    }
}

/// Returns why a failed refresh ends the grant; `None` if it does not.
///
/// A refusal by the authorization server says that no tokens were issued. No answer, or a proxy's answer, leaves that
/// open. Then a rotating refresh token may be used up, and the grant ends.
fn end_reason(error: &OAuthError, rotates: bool) -> Option<GrantEndReason> {
    match verdict(error) {
        Verdict::ClientForgotten => return Some(GrantEndReason::ClientForgotten),
        Verdict::GrantEnds => {
            return Some(match error {
                OAuthError::Refused { error, description, .. } if error.whole() == "invalid_grant" => {
                    let description = description.as_ref().map(|text| text.whole().to_owned());
                    GrantEndReason::Revoked { description }
                }
                _ => {
                    let server_message = error.server_message().map(|message| message.to_string());
                    GrantEndReason::RefreshRefused { server_message: server_message.unwrap_or_default() }
                }
            });
        }
        Verdict::RetryLater | Verdict::EntryWrong | Verdict::ClientNeeded => {}
    }
    match error {
        OAuthError::Status { status: 502 | 504, .. } => rotates.then_some(GrantEndReason::Lost),
        OAuthError::Unreachable { source, .. } => match source.as_ref() {
            EgressError::Timeout { .. } | EgressError::Broken { .. } | EgressError::TooLarge { .. } => {
                rotates.then_some(GrantEndReason::Lost)
            }
            _ => None,
        },
        // A token response that cannot be read. If the token rotates, the old one is used up and the new one is lost.
        // If not, the old one stays good, and the authorization server is broken.
        OAuthError::NotJson { .. }
        | OAuthError::TooLarge { .. }
        | OAuthError::Incomplete { .. }
        | OAuthError::TokenType { .. } => match rotates {
            true => Some(GrantEndReason::Lost),
            false => Some(GrantEndReason::RefreshRefused { server_message: error.to_string() }),
        },
        _ => None,
    }
}
