//! Taking a grant back: forgotten here, revoked where the authorization server can (RFC 7009).

use jiff::Timestamp;
use secrecy::SecretString;
use url::Url;

use super::{
    about::{About, Place},
    authorization_server::AuthorizationServer,
    client_proof::{Client, ClientRequest},
    config::{OAuthConfig, Owner},
    discovery::discover,
    error::OAuthError,
    grant::Grant,
    grant_store::OAuth,
    issuer::is_same_issuer,
    token_refusal::refusal,
    verdict::{Verdict, verdict},
};
use vault::VaultError;

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
        if let Err(error) = self.vault.remove(&kept.key, kept.state.version).await {
            // Refreshed in this very moment: what it is now is forgotten and revoked.
            let changed = error == VaultError::Changed;
            let now_there = self.find_of(config, owner.clone()).await?.filter(|_| changed);
            kept = now_there.ok_or(error)?;
            self.vault.remove(&kept.key, kept.state.version).await?;
        }
        let revocation = self.revoke(config, &kept.grant, now).await;
        if let Revocation::Failed(error) = &revocation {
            tracing::warn!(%error, "External MCP: a forgotten sign-in was not revoked");
        }
        Ok(Some(revocation))
    }

    /// Has the authorization server revoke a grant, if it can (RFC 7009).
    pub(super) async fn revoke(&self, config: &OAuthConfig, grant: &Grant, now: Timestamp) -> Revocation {
        let refresh = grant.refresh.as_ref().map(|token| (token, "refresh_token"));
        let Some((token, kind)) = refresh.or(grant.access.as_ref().map(|token| (token, "access_token")))
        else {
            return Revocation::NotOffered;
        };
        let revoked: Result<Revocation, OAuthError> = async {
            let server = discover(&self.http, config, Some(&grant.issuer), &[]).await?;
            let is_same = is_same_issuer(&server.issuer, &grant.issuer);
            let Some(endpoint) = server.revocation_endpoint.as_ref().filter(|_| is_same) else {
                return Ok(Revocation::NotOffered);
            };
            let registration = grant.client.registration(config);
            let client = grant.client.as_client(&registration, config);
            // FastMCP 2 takes its own refresh token for an access token where it is not told what it is.
            let mut form = vec![("token", token.clone()), ("token_type_hint", kind.into())];
            let Err(refused) = self.ask_to_revoke(&server, endpoint, client, form.clone(), now).await? else {
                return Ok(Revocation::Done);
            };
            if !misses_client_secret(&refused) {
                return Err(refused);
            }
            form.push(("client_secret", "".into()));
            let asked_again = self.ask_to_revoke(&server, endpoint, client, form, now).await?;
            asked_again.map(|()| Revocation::Done)
        }
        .await;
        match revoked {
            Ok(revocation) => revocation,
            Err(error) => {
                if verdict(&error) == Verdict::ClientForgotten {
                    self.forget_registration(&grant.issuer, &grant.client).await;
                }
                Revocation::Failed(error.without(config))
            }
        }
    }

    /// Sends one request to the revocation endpoint. The inner error is the authorization server's refusal.
    async fn ask_to_revoke(
        &self,
        server: &AuthorizationServer,
        endpoint: &Url,
        client: Client<'_>,
        form: Vec<(&'static str, SecretString)>,
        now: Timestamp,
    ) -> Result<Result<(), OAuthError>, OAuthError> {
        let (http, to, place) = (&self.posts, endpoint, Place::Revocation);
        let request = ClientRequest { http, server, client, to, place, form, repeats: &|_| false, now };
        let answered = request.send().await?;
        if answered.answer.status.is_success() {
            return Ok(Ok(()));
        }
        let about = About { client: Some(client.kind), ..About::default() };
        Ok(Err(refusal(&answered.answer, Place::Revocation, &answered.secrets).about(about)))
    }
}

/// Returns true if the server refused because the form had no `client_secret`.
///
/// The revocation endpoint of the MCP Python SDK (1.x and 2.x) wants the parameter also from clients that have no
/// secret, or that send it in the header: "client_secret: Field required". An empty one says the same as none (RFC
/// 6749 §2.3.1).
fn misses_client_secret(refused: &OAuthError) -> bool {
    matches!(refused, OAuthError::Refused { error, description: Some(description), .. }
        if error.whole() == "invalid_request" && description.whole().contains("client_secret"))
}
