//! Renewing a grant: one process at a time, across all of them.
//!
//! A refresh token is often good for one use, and a second use revokes the whole grant. So one process
//! refreshes, under a lease in the store; the others wait for what it writes. Who holds the lease sees the
//! exchange through, whoever stops waiting for it. Where a holder vanishes between its request and its
//! write nobody knows whether the token is used up: the grant then ends, and a user signs in again. Never
//! is an old token tried a second time to find out.

use std::{sync::Arc, time::Duration};

use egress::{EgressError, Shown};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};
use vault::VaultError;

use super::{
    about::Place,
    authorization_server::AuthorizationServer,
    config::OAuthConfig,
    discovery::discover,
    error::OAuthError,
    grant::{Ended, Grant, SignInNeeded, union},
    grant_store::{OAuth, StoredGrant},
    issuer::is_same_issuer,
    revocation::Revocation,
    token::{Exchange, Exchanged, exchange},
    verdict::{Verdict, verdict},
};
use crate::AuthError;

/// How long one holder may take: the exchange, and writing what came of it.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// How far clocks of processes may be apart.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);
/// How long an exchange may take; well within the lease.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(15);
/// How long writing what came of it may take: both together end before the lease does.
const KEEP_WITHIN: Duration = Duration::from_secs(12);
/// How often it is looked whether another process has finished: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(60);
const LATER_LOOK: Duration = Duration::from_millis(500);
/// After this long a refresh token that was refused for another reason than that the grant is gone is tried once
/// more: as often as a list asks a server anew.
const RETRY_REFUSED: SignedDuration = SignedDuration::from_mins(15);
/// How often it is tried to write what came of an exchange.
const WRITES: u32 = 4;

/// Whether a grant will do.
pub(super) type IsGood<'a> = &'a (dyn Fn(&Grant) -> bool + Send + Sync);

/// One wait for a grant to be good.
pub(super) struct Renewal<'a> {
    oauth: &'a OAuth,
    config: &'a OAuthConfig,
    is_good: IsGood<'a>,
    now: Timestamp,
    begun: Instant,
    look: Duration,
    /// Found out before the lease is taken: whoever holds it has nothing left to find out.
    server: Option<AuthorizationServer>,
}

/// What is to be done next.
enum Turn {
    /// Nothing: it is good.
    Done,
    /// End it.
    End(Ended),
    /// Wait: another process is at it.
    Wait,
    /// Take the lease.
    Take,
}

impl<'a> Renewal<'a> {
    pub(super) fn new(
        oauth: &'a OAuth,
        config: &'a OAuthConfig,
        is_good: IsGood<'a>,
        now: Timestamp,
    ) -> Self {
        Self { oauth, config, is_good, now, begun: Instant::now(), look: FIRST_LOOK, server: None }
    }

    /// The same where it has just been found out who signs people in.
    pub(super) fn knowing(self, server: AuthorizationServer) -> Self {
        Self { server: Some(server), ..self }
    }

    /// Renews a grant: this process does, or waits for the one that is at it.
    pub(super) async fn run(mut self, mut kept: StoredGrant) -> Result<StoredGrant, AuthError> {
        loop {
            match self.turn(&kept)? {
                Turn::Done => return Ok(kept),
                Turn::End(ended) => return Err(self.end(kept, ended).await),
                Turn::Wait => {
                    sleep(self.look.mul_f64(0.5 + fastrand::f64())).await;
                    self.look = (self.look * 2).min(LATER_LOOK);
                }
                Turn::Take => match self.server.take() {
                    None => {
                        let found =
                            discover(&self.oauth.http, self.config, Some(&kept.grant.issuer), &[]).await;
                        self.server = Some(found.map_err(|error| error.without(self.config))?);
                    }
                    Some(server) => {
                        self.check_issuer(&kept.grant, &server)?;
                        match self.see_through(kept.clone(), server.clone()).await? {
                            Some(renewed) => return Ok(renewed),
                            None => self.server = Some(server),
                        }
                    }
                },
            }
            // Whatever it was, it took its time: somebody may have been faster.
            kept = self.oauth.read_again(self.config, kept).await?;
        }
    }

    fn turn(&self, kept: &StoredGrant) -> Result<Turn, AuthError> {
        let StoredGrant { grant, state, .. } = kept;
        if let Some(ended) = grant.over(self.clock()) {
            return Err(SignInNeeded::Ended(ended.clone()).into());
        }
        if (self.is_good)(grant) {
            return Ok(Turn::Done);
        }
        if !grant.is_clients_own && grant.refresh.is_none() {
            let is_over = grant.stale_from <= self.clock();
            return Ok(Turn::End(if is_over { Ended::Expired } else { Ended::Refused }));
        }
        Ok(match state.leased_until {
            // No lease lasts longer: what ends later was written by a clock that cannot be believed.
            Some(until) if self.clock() < until + CLOCK_SKEW && until < self.clock() + LEASE + CLOCK_SKEW => {
                Turn::Wait
            }
            // Whether the one who held it has sent anything, nobody knows.
            Some(_) if !grant.is_clients_own => Turn::End(Ended::Lost),
            _ => Turn::Take,
        })
    }

    fn clock(&self) -> Timestamp {
        self.now + SignedDuration::try_from(self.begun.elapsed()).unwrap_or_default()
    }

    /// Ends a grant; if somebody else has changed it meanwhile, that stays.
    async fn end(&self, mut kept: StoredGrant, ended: Ended) -> AuthError {
        kept.grant.end(ended.clone());
        tracing::warn!(reason = %ended, "External MCP: the sign-in is over, a user must sign in again");
        match self.oauth.write(self.config, &kept, kept.state.version, self.clock()).await {
            Ok(_) | Err(OAuthError::Store(VaultError::Changed)) => SignInNeeded::Ended(ended).into(),
            Err(error) => error.into(),
        }
    }

    /// Refuses to show anything to another authorization server than the one of the sign-in. What was granted
    /// stays: a server whose metadata is mended is good again.
    fn check_issuer(&self, grant: &Grant, server: &AuthorizationServer) -> Result<(), AuthError> {
        if is_same_issuer(&server.issuer, &grant.issuer) {
            return Ok(());
        }
        let error = OAuthError::IssuerChanged {
            pinned: Shown::new(&grant.issuer),
            found: Shown::new(&server.issuer),
        };
        Err(error.without(self.config).into())
    }

    /// Takes the lease and exchanges, in a task of its own that goes on when whoever waits here is cut off;
    /// `None` if somebody else was faster.
    async fn see_through(
        &self,
        mut kept: StoredGrant,
        server: AuthorizationServer,
    ) -> Result<Option<StoredGrant>, AuthError> {
        let holder = Holder { oauth: self.oauth.clone(), config: self.config.clone(), at: self.clock() };
        let running = self.oauth.running.clone().read_owned().await;
        let task = tokio::spawn(async move {
            let leased = holder.oauth.vault.lease(&kept.key, kept.state.version, holder.at + LEASE).await;
            let outcome = match leased {
                Ok(version) => {
                    kept.state.version = version;
                    holder.exchange(kept, &server).await.map(Some)
                }
                Err(VaultError::Changed) => Ok(None),
                Err(error) => Err(OAuthError::Store(error).into()),
            };
            drop(running);
            outcome
        });
        task.await.unwrap_or(Err(SignInNeeded::Ended(Ended::Lost).into()))
    }
}

/// Whoever holds the lease.
struct Holder {
    oauth: OAuth,
    config: OAuthConfig,
    at: Timestamp,
}

impl Holder {
    /// Exchanges, and writes what came of it.
    #[tracing::instrument(name = "auth.oauth.renew", skip_all)]
    async fn exchange(
        &self,
        mut kept: StoredGrant,
        server: &AuthorizationServer,
    ) -> Result<StoredGrant, AuthError> {
        let scopes = union(&union(&server.scopes, &self.config.scopes), &kept.grant.scopes);
        let scopes = union(&scopes, &kept.grant.wanted);
        match self.send(&kept.grant, server, &scopes).await {
            Ok(Exchanged { tokens, auth_method }) => {
                self.oauth
                    .keep_method(&self.config, &kept.grant.issuer, &mut kept.grant.client, auth_method)
                    .await;
                let granted = tokens.scopes.clone().unwrap_or_default();
                kept.grant.take(tokens);
                kept.issued_here = true;
                if kept.grant.is_clients_own {
                    // Such a token may come with a refresh token, which is not to be used (RFC 6749 §4.4.3).
                    kept.grant.refresh = None;
                    kept.grant.scopes = union(&scopes, &granted);
                    kept.grant.wanted.clear();
                }
                self.taken(kept, server).await
            }
            Err(error) => Err(self.refused(kept, error.without(&self.config)).await),
        }
    }

    async fn send(
        &self,
        grant: &Grant,
        server: &AuthorizationServer,
        scopes: &[String],
    ) -> Result<Exchanged, OAuthError> {
        let registration = grant.client.registration(&self.config);
        let client = grant.client.as_client(&registration, &self.config);
        let what = match &grant.refresh {
            Some(refresh) if !grant.is_clients_own => Exchange::Refresh(refresh),
            _ => Exchange::ClientCredentials { scopes, audience: self.config.audience.as_deref() },
        };
        let sent = exchange(&self.oauth.posts, server, client, what, self.at);
        timeout(EXCHANGE_WITHIN, sent).await.unwrap_or_else(|_| {
            let host = server.token_endpoint.host_str().unwrap_or_default().to_owned();
            let source = Arc::new(EgressError::Timeout { host });
            Err(OAuthError::Unreachable { place: Place::Token, source })
        })
    }

    async fn taken(&self, kept: StoredGrant, server: &AuthorizationServer) -> Result<StoredGrant, AuthError> {
        match self.keep(&kept).await {
            Ok(()) => {
                self.oauth.pin(&self.config, server, self.at).await;
                tracing::info!("External MCP: access token renewed");
                Ok(kept)
            }
            Err(VaultError::Changed) => {
                // Taken back while it was renewed: what arrived all the same is good at the authorization server.
                if let Ok(None) = self.oauth.vault.peek(&kept.key).await
                    && let Revocation::Failed(error) =
                        self.oauth.revoke(&self.config, &kept.grant, self.at).await
                {
                    tracing::warn!(%error, "External MCP: a sign-in that was taken back was not revoked");
                }
                Err(SignInNeeded::Never.into())
            }
            Err(error) => {
                tracing::error!(%error, "External MCP: a renewed token was not kept, others will not find it");
                Ok(kept)
            }
        }
    }

    /// What a failed exchange leaves: an ended grant, or one that is as it was and free again.
    async fn refused(&self, mut kept: StoredGrant, error: OAuthError) -> AuthError {
        let is_clients_own = kept.grant.is_clients_own;
        let ended = ended_by(&error, kept.grant.rotates).filter(|_| !is_clients_own);
        // What is no OAuth error may be somebody else's answer, given after a token that is good for one use was used.
        let is_untouched =
            ended.is_none() || !kept.grant.rotates || matches!(error, OAuthError::Refused { .. });
        // A grant that was suspended stays so where the server cannot tell now.
        let ended = ended.or_else(|| kept.grant.ended.clone());
        if is_clients_own && kept.grant.access.is_none() {
            // The first try: nothing is to be remembered of it, the issuer least of all.
            if let Err(failed) = self.oauth.vault.remove(&kept.key, kept.state.version).await {
                tracing::warn!(error = %failed, "External MCP: a first try was not forgotten");
            }
            return error.into();
        }
        if is_clients_own {
            // What was wanted beyond what is granted is not to be had: the next renewal goes without.
            kept.grant.wanted.clear();
        }
        if let Some(ended) = &ended {
            match ended {
                Ended::RefreshRefused { .. } if is_untouched => {
                    kept.grant.suspend(ended.clone(), self.at + RETRY_REFUSED);
                }
                _ => kept.grant.end(ended.clone()),
            }
            tracing::warn!(%error, "External MCP: the sign-in is over, a user must sign in again");
        }
        if ended == Some(Ended::ClientForgotten) {
            self.oauth.forget_registration(&kept.grant.issuer, &kept.grant.client).await;
        }
        if let Err(failed) = self.keep(&kept).await {
            return OAuthError::Store(failed).into();
        }
        ended.map_or_else(|| error.into(), |ended| SignInNeeded::Ended(ended).into())
    }

    /// Writes what an exchange brought, and does not give up at once: it cannot be had again.
    async fn keep(&self, kept: &StoredGrant) -> Result<(), VaultError> {
        let late = VaultError::unavailable("no answer within the lease");
        timeout(KEEP_WITHIN, self.try_to_keep(kept)).await.unwrap_or(Err(late))
    }

    async fn try_to_keep(&self, kept: &StoredGrant) -> Result<(), VaultError> {
        let content = kept.grant.content(&self.config, &kept.owner, self.at);
        let mut tried = 0;
        loop {
            tried += 1;
            match self.oauth.vault.put(&kept.key, &content, Some(kept.state.version)).await {
                Err(VaultError::Unavailable { .. }) if tried < WRITES => {
                    sleep(FIRST_LOOK * 2_u32.pow(tried)).await;
                }
                written => return written.map(drop),
            }
        }
    }
}

/// Why a failed refresh ends the grant, if it does. A refusal says that nothing was given out; no answer to what was
/// sent, or a proxy's that nobody knows, leaves that open, and matters where a token is good for one use.
fn ended_by(error: &OAuthError, rotates: bool) -> Option<Ended> {
    match verdict(error) {
        Verdict::ClientForgotten => return Some(Ended::ClientForgotten),
        Verdict::GrantEnds => {
            return Some(match error {
                OAuthError::Refused { error, description, .. } if error.whole() == "invalid_grant" => {
                    let description = description.as_ref().map(|text| text.whole().to_owned());
                    Ended::Revoked { description }
                }
                _ => Ended::RefreshRefused {
                    said: error.said().map_or_else(String::new, |said| said.to_string()),
                },
            });
        }
        Verdict::RetryLater | Verdict::EntryWrong | Verdict::ClientNeeded => {}
    }
    match error {
        OAuthError::Status { status: 502 | 504, .. } => rotates.then_some(Ended::Lost),
        OAuthError::Unreachable { source, .. } => match source.as_ref() {
            EgressError::Timeout { .. } | EgressError::Broken { .. } | EgressError::TooLarge { .. } => {
                rotates.then_some(Ended::Lost)
            }
            _ => None,
        },
        // It gave something that cannot be read: the old one is used up and the new one lost; or the old one stays
        // good, and the server is broken.
        OAuthError::NotJson { .. }
        | OAuthError::TooLarge { .. }
        | OAuthError::Incomplete { .. }
        | OAuthError::TokenType { .. } => match rotates {
            true => Some(Ended::Lost),
            false => Some(Ended::RefreshRefused { said: error.to_string() }),
        },
        _ => None,
    }
}
