//! Taking a grant back: forgotten here, revoked where the authorization server can (RFC 7009).

use jiff::Timestamp;

use super::{
    config::{OAuthConfig, Owner},
    discovery::discover,
    error::{OAuthError, Place},
    grant::Grant,
    metadata::is_same_issuer,
    token::prepare,
    tokens::OAuth,
};
use crate::store::StoreError;

/// What became of a revocation.
#[derive(Debug)]
pub enum Revocation {
    /// The authorization server has revoked.
    Done,
    /// It offers no revocation, or there was nothing left to revoke.
    NotOffered,
    /// It was asked, or was to be, and did not.
    Failed(OAuthError),
}

impl OAuth {
    /// Takes a grant back: revoked where the authorization server can, forgotten here. Tells what became of
    /// the revocation; `None` if `owner` has no grant.
    ///
    /// # Errors
    /// [`OAuthError::Store`]; a server that does not revoke keeps nobody from forgetting.
    pub async fn forget(
        &self,
        config: &OAuthConfig,
        owner: &Owner,
        now: Timestamp,
    ) -> Result<Option<Revocation>, OAuthError> {
        let Some(mut kept) = self.find_of(config, owner.clone()).await? else { return Ok(None) };
        if let Err(error) = self.store.remove(&kept.key, kept.standing.version).await {
            // Refreshed in this very moment: what it is now is forgotten and revoked.
            let changed = error == StoreError::Changed;
            let now_there = self.find_of(config, owner.clone()).await?.filter(|_| changed);
            kept = now_there.ok_or(error)?;
            self.store.remove(&kept.key, kept.standing.version).await?;
        }
        let revocation = self.revoke(config, &kept.grant, now).await;
        if let Revocation::Failed(error) = &revocation {
            tracing::warn!(%error, "External MCP: a forgotten sign-in was not revoked");
        }
        Ok(Some(revocation))
    }

    /// Has the authorization server revoke a grant, if it can (RFC 7009).
    async fn revoke(&self, config: &OAuthConfig, grant: &Grant, now: Timestamp) -> Revocation {
        let Some(token) = grant.refresh.as_ref().or(grant.access.as_ref()) else {
            return Revocation::NotOffered;
        };
        let revoked = async {
            let server = discover(&self.http, config, Some(&grant.issuer)).await?;
            let is_same = is_same_issuer(&server.issuer, &grant.issuer);
            let Some(endpoint) = server.revocation_endpoint.as_ref().filter(|_| is_same) else {
                return Ok(Revocation::NotOffered);
            };
            let registration = grant.client.registration(config);
            let client = grant.client.as_client(&registration);
            let prepared = prepare(&server, client, vec![("token", token.clone())], now)?;
            let answer = prepared.post(&self.posts, endpoint, Place::Revocation).await?;
            match answer.status.is_success() {
                true => Ok(Revocation::Done),
                false => Err(prepared.refusal(&answer, Place::Revocation)),
            }
        };
        revoked.await.unwrap_or_else(|error: OAuthError| Revocation::Failed(error.without(config)))
    }
}
