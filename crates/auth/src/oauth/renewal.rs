//! Renews a grant: one process at a time exchanges its refresh token.
//!
//! Many authorization servers accept a refresh token once, and revoke the whole grant at a second use. So a process
//! takes a lease on the grant in the vault before it sends the refresh token; the other processes wait and read the
//! result from the vault. [`LeaseHolder`] does the exchange. If the lease runs out before a result was stored, this
//! process cannot know whether the refresh token was used: the grant ends, and the user must sign in again. A refresh
//! token is never sent a second time to find out. A client credentials grant has no refresh token and does not end: the
//! next process takes the lease. Called by [`super::access_token`].

use std::time::Duration;

use egress::Shown;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};
use vault::VaultError;

use super::{
    authorization_server::AuthorizationServer,
    config::OAuthConfig,
    discovery::discover,
    error::OAuthError,
    grant::{Grant, GrantEndReason, SignInNeeded},
    grant_store::{OAuth, StoredGrant},
    issuer::is_same_issuer,
    lease_holder::{LEASE, LeaseHolder},
};
use crate::AuthError;

/// Largest difference between the clocks of two processes that is tolerated, in seconds. Lambda hosts and workstations
/// are synchronized by NTP and differ by far less.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);
/// Mean pause before a waiting process reads the grant for the first time, in milliseconds. An exchange seldom takes
/// less. The pause doubles up to [`LAST_POLL`], and is randomized by ±50 % so that waiting processes spread out.
const FIRST_POLL: Duration = Duration::from_millis(60);
/// Longest mean pause between two reads of a waiting process, in milliseconds: bounds the reads of a slow exchange.
const LAST_POLL: Duration = Duration::from_millis(500);

/// Returns true if the grant's access token can be used for this request.
pub(super) type IsUsable<'a> = &'a (dyn Fn(&Grant) -> bool + Send + Sync);

/// One call that waits until a grant can be used.
pub(super) struct Renewal<'a> {
    oauth: &'a OAuth,
    config: &'a OAuthConfig,
    is_usable: IsUsable<'a>,
    now: Timestamp,
    begun: Instant,
    pause: Duration,
    /// The result of discovery. Discovery comes before the lease, so that the time of the lease is left for the exchange.
    server: Option<AuthorizationServer>,
}

/// What a process does next about a grant, as it read it from the vault.
enum NextStep {
    /// Return the grant: it can be used.
    Return,
    /// End the grant.
    End(GrantEndReason),
    /// Wait: another process holds the lease.
    Wait,
    /// Take the lease, and exchange the refresh token or the client's credentials.
    TakeLease,
}

impl<'a> Renewal<'a> {
    pub(super) fn new(
        oauth: &'a OAuth,
        config: &'a OAuthConfig,
        is_usable: IsUsable<'a>,
        now: Timestamp,
    ) -> Self {
        Self { oauth, config, is_usable, now, begun: Instant::now(), pause: FIRST_POLL, server: None }
    }

    /// Sets the authorization server, if the caller has just discovered it.
    pub(super) fn with_server(self, server: AuthorizationServer) -> Self {
        Self { server: Some(server), ..self }
    }

    /// Renews a grant: in this process, or by waiting for the process that holds the lease. Returns the grant once it
    /// can be used.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`] if the grant has ended; [`AuthError::OAuth`] if the authorization server or the vault
    /// fails.
    pub(super) async fn run(mut self, mut stored: StoredGrant) -> Result<StoredGrant, AuthError> {
        loop {
            match self.next_step(&stored)? {
                NextStep::Return => return Ok(stored),
                NextStep::End(reason) => return Err(self.end(stored, reason).await),
                NextStep::Wait => {
                    sleep(self.pause.mul_f64(0.5 + fastrand::f64())).await;
                    self.pause = (self.pause * 2).min(LAST_POLL);
                }
                NextStep::TakeLease => match self.server.take() {
                    None => {
                        let issuer = Some(stored.grant.issuer.as_str());
                        let found = discover(&self.oauth.http, self.config, issuer, &[]).await;
                        self.server = Some(found.map_err(|error| error.scrubbed(self.config))?);
                    }
                    Some(server) => {
                        self.check_issuer(&stored.grant, &server)?;
                        match self.refresh_under_lease(stored.clone(), server.clone()).await? {
                            Some(renewed) => return Ok(renewed),
                            None => self.server = Some(server),
                        }
                    }
                },
            }
            // Each of these steps takes time. Another process may have renewed the grant meanwhile: read it again.
            stored = self.oauth.read_again(self.config, stored).await?;
        }
    }

    fn next_step(&self, stored: &StoredGrant) -> Result<NextStep, AuthError> {
        let StoredGrant { grant, state, .. } = stored;
        if let Some(reason) = grant.end_reason(self.clock()) {
            return Err(SignInNeeded::Ended(reason.clone()).into());
        }
        if (self.is_usable)(grant) {
            return Ok(NextStep::Return);
        }
        if !grant.is_clients_own && grant.refresh.is_none() {
            let has_expired = grant.stale_from <= self.clock();
            let reason = if has_expired { GrantEndReason::Expired } else { GrantEndReason::Refused };
            return Ok(NextStep::End(reason));
        }
        Ok(match state.leased_until {
            // A lease that ends later than LEASE from now was written by a process whose clock is wrong. It is not waited
            // for: it counts as one that ran out.
            Some(until) if self.clock() < until + CLOCK_SKEW && until < self.clock() + LEASE + CLOCK_SKEW => {
                NextStep::Wait
            }
            // The lease ran out without a result, or its end is not credible: its holder may have sent the refresh token.
            Some(_) if !grant.is_clients_own => NextStep::End(GrantEndReason::Lost),
            _ => NextStep::TakeLease,
        })
    }

    /// Returns the caller's time plus the time that this renewal has taken so far.
    fn clock(&self) -> Timestamp {
        self.now + SignedDuration::try_from(self.begun.elapsed()).unwrap_or_default()
    }

    /// Ends a grant. If another process has changed the grant meanwhile, that change stays.
    async fn end(&self, mut stored: StoredGrant, reason: GrantEndReason) -> AuthError {
        stored.grant.end(reason.clone());
        tracing::warn!(reason = %reason, "External MCP: the sign-in is over, a user must sign in again");
        match self.oauth.write(self.config, &stored, stored.state.version, self.clock()).await {
            Ok(_) | Err(OAuthError::Store(VaultError::Changed)) => SignInNeeded::Ended(reason).into(),
            Err(error) => error.into(),
        }
    }

    /// Refuses to send anything to another authorization server than the one of the sign-in. The grant does not end:
    /// it can be used again once the MCP server names the grant's authorization server again.
    fn check_issuer(&self, grant: &Grant, server: &AuthorizationServer) -> Result<(), AuthError> {
        if is_same_issuer(&server.issuer, &grant.issuer) {
            return Ok(());
        }
        let error = OAuthError::IssuerChanged {
            pinned: Shown::new(&grant.issuer),
            found: Shown::new(&server.issuer),
        };
        Err(error.scrubbed(self.config).into())
    }

    /// Takes the lease and exchanges the refresh token or the client's credentials, in a task of its own: the task goes on when its caller is
    /// cancelled. Returns `None` if another process changed the grant first.
    async fn refresh_under_lease(
        &self,
        mut stored: StoredGrant,
        server: AuthorizationServer,
    ) -> Result<Option<StoredGrant>, AuthError> {
        let (oauth, config) = (self.oauth.clone(), self.config.clone());
        let holder = LeaseHolder { oauth, config, at: self.clock() };
        // Held until the result is stored: `OAuth::settled` waits for it.
        let running = self.oauth.running.clone().read_owned().await;
        let task = tokio::spawn(async move {
            let until = holder.at + LEASE;
            let leased = holder.oauth.vault.lease(&stored.key, stored.state.version, until).await;
            let outcome = match leased {
                Ok(version) => {
                    stored.state.version = version;
                    holder.renew(stored, &server).await.map(Some)
                }
                Err(VaultError::Changed) => Ok(None),
                Err(error) => Err(OAuthError::Store(error).into()),
            };
            drop(running);
            outcome
        });
        // The task panicked, perhaps after it sent the refresh token. The grant is not ended here: its lease stays, and the
        // next process that reads it after the lease's end decides.
        task.await.unwrap_or(Err(SignInNeeded::Ended(GrantEndReason::Lost).into()))
    }
}
