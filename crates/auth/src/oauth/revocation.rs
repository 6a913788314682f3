//! Removes a grant from the vault, and revokes its tokens if the authorization server offers that (RFC 7009).
//!
//! Called for `mcp-agents remove`, the connections API, and a lease holder whose grant was removed meanwhile.

use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

use super::{
    authorization_server::AuthorizationServer,
    client_authentication::{Client, ClientRequest},
    config::{OAuthConfig, Owner},
    discovery::discover,
    error::OAuthError,
    error_response::refusal,
    grant::Grant,
    grant_store::OAuth,
    issuer::is_same_issuer,
    request_context::{Endpoint, RequestContext},
    verdict::{Verdict, verdict},
};
use vault::VaultError;

/// Outcome of a revocation: revoked, not offered, or failed.
#[derive(Debug)]
pub enum RevocationOutcome {
    /// The authorization server has revoked the tokens.
    Revoked,
    /// The authorization server has no revocation endpoint, or the grant has no token.
    NotOffered,
    /// The request failed, or could not be made.
    Failed(OAuthError),
}

impl OAuth {
    /// Removes an owner's grant from the vault, then revokes its tokens. Returns the outcome of the revocation; `None` if
    /// the owner has no grant.
    ///
    /// # Errors
    /// [`OAuthError::Store`]. A failed revocation is no error: the grant is removed anyway.
    pub async fn forget(
        &self,
        config: &OAuthConfig,
        owner: &Owner,
        now: Timestamp,
    ) -> Result<Option<RevocationOutcome>, OAuthError> {
        let Some(mut stored) = self.find_grant_of(config, owner.clone()).await? else { return Ok(None) };
        if let Err(error) = self.vault.remove(&stored.key, stored.state.version).await {
            // Another process has just renewed the grant: the renewed one is removed and revoked.
            let changed = error == VaultError::Changed;
            let renewed = self.find_grant_of(config, owner.clone()).await?.filter(|_| changed);
            stored = renewed.ok_or(error)?;
            self.vault.remove(&stored.key, stored.state.version).await?;
        }
        let revocation = self.revoke(config, &stored.grant, now).await;
        if let RevocationOutcome::Failed(error) = &revocation {
            tracing::warn!(%error, "External MCP: a removed sign-in was not revoked at the authorization server");
        }
        Ok(Some(revocation))
    }

    /// Revokes a grant's refresh token, or its access token if it has no refresh token (RFC 7009).
    pub(super) async fn revoke(
        &self,
        config: &OAuthConfig,
        grant: &Grant,
        now: Timestamp,
    ) -> RevocationOutcome {
        let refresh = grant.refresh.as_ref().map(|token| (token, "refresh_token"));
        let Some((token, kind)) = refresh.or(grant.access.as_ref().map(|token| (token, "access_token")))
        else {
            return RevocationOutcome::NotOffered;
        };
        let revoked: Result<RevocationOutcome, OAuthError> = async {
            let server = discover(&self.http, config, Some(&grant.issuer), &[]).await?;
            let is_same = is_same_issuer(&server.issuer, &grant.issuer);
            let Some(endpoint) = server.revocation_endpoint.as_ref().filter(|_| is_same) else {
                return Ok(RevocationOutcome::NotOffered);
            };
            let registration = grant.client.registration(config);
            let client = grant.client.as_client(&registration, config);
            // FastMCP 2 takes its own refresh token for an access token without this hint.
            let mut form = vec![("token", token.clone()), ("token_type_hint", kind.into())];
            let Err(refused) = self.send_revocation(&server, endpoint, client, form.clone(), now).await?
            else {
                return Ok(RevocationOutcome::Revoked);
            };
            if !misses_client_secret(&refused) {
                return Err(refused);
            }
            form.push(("client_secret", "".into()));
            let repeated = self.send_revocation(&server, endpoint, client, form, now).await?;
            repeated.map(|()| RevocationOutcome::Revoked)
        }
        .await;
        match revoked {
            Ok(revocation) => revocation,
            Err(error) => {
                if verdict(&error) == Verdict::ClientForgotten {
                    self.forget_registration(&grant.issuer, &grant.client).await;
                }
                RevocationOutcome::Failed(error.scrubbed(config))
            }
        }
    }

    /// Sends one request to the revocation endpoint. The inner error is the authorization server's refusal.
    async fn send_revocation(
        &self,
        server: &AuthorizationServer,
        endpoint: &Url,
        client: Client<'_>,
        form: Vec<(&'static str, SecretString)>,
        now: Timestamp,
    ) -> Result<Result<(), OAuthError>, OAuthError> {
        let (http, to, endpoint) = (&self.posts, endpoint, Endpoint::Revocation);
        let request = ClientRequest { http, server, client, to, endpoint, form, may_repeat: &|_| false, now };
        let response = request.send().await?;
        if response.answer.status.is_success() {
            return Ok(Ok(()));
        }
        let context = RequestContext { client: Some(client.kind), ..RequestContext::default() };
        Ok(Err(refusal(&response.answer, Endpoint::Revocation, &response.secrets).in_context(context)))
    }
}

/// Returns true if the server refused because the form had no `client_secret`.
///
/// The revocation endpoint of the MCP Python SDK (1.x and 2.x) requires the parameter also from clients that have no
/// secret, or that send it in the header: "client_secret: Field required". An empty value means the same as none (RFC
/// 6749 §2.3.1).
fn misses_client_secret(refused: &OAuthError) -> bool {
    matches!(refused, OAuthError::Refused { error, description: Some(description), .. }
        if error.whole() == "invalid_request" && description.whole().contains("client_secret"))
}
