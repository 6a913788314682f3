//! Access tokens that are good now: the kept one, a refreshed one, one for the client itself.
//!
//! A refresh token is often good for one use, and a second use revokes the whole grant. So one process at
//! a time refreshes, under a lease in the store; the others wait for what it writes. Who holds the lease
//! sees the exchange through, whoever stops waiting for it. Where a holder vanishes between its request
//! and its write nobody knows whether the token is used up: the grant then ends, and a user signs in
//! again. Never is an old token tried a second time to find out.
//!
//! What the issuer was at the first sign-in is kept: a server that names another one later is told
//! nothing.

use std::{sync::Arc, time::Duration};

use egress::{EgressError, HttpClient};
use jiff::{SignedDuration, Timestamp};
use moka::future::Cache;
use secrecy::SecretString;
use tokio::{
    sync::RwLock,
    time::{Instant, sleep, timeout},
};

use super::{
    config::{ClientProof, GrantType, OAuthConfig, Owner},
    discovery::{AuthorizationServer, discover, is_same_issuer},
    error::{OAuthError, Place, Shown},
    grant::{Ended, Grant, SignInNeeded, StoredClient, grant_key, union},
    token::{Exchange, exchange},
};
use crate::{
    AuthError, Credential,
    store::{Content, Item, Key, Standing, StoreError, TokenStore},
};

/// How long one holder may take: the exchange, and writing what came of it.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// How far clocks of processes may be apart.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);
/// How long an exchange may take; well within the lease.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked whether another process has finished: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(60);
const LATER_LOOK: Duration = Duration::from_millis(500);
/// How often it is tried to write what came of an exchange.
const WRITES: u32 = 4;
/// A token is looked up again after this long, so that one taken back is not used on for hours.
const LOOK_UP_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// How many servers' kinds of sign-in are remembered.
const MAX_REMEMBERED: u64 = 1_000;
/// What is pinned is kept as long as anything.
const PIN_KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Gives out access tokens, and leads users through signing in. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct OAuth {
    pub(super) http: HttpClient,
    pub(super) store: Arc<dyn TokenStore>,
    /// Read by every exchange that must be seen through; see [`Self::settled`].
    running: Arc<RwLock<()>>,
    /// Who signs in to servers whose entry does not say.
    grants: Cache<[u8; 32], GrantType>,
}

/// An access token, and from when on it is to be asked for again.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) token: SecretString,
    pub(crate) stale_from: Timestamp,
}

/// A grant as it was read, with all that is needed to write it.
struct Kept {
    key: Key,
    owner: Owner,
    grant: Grant,
    standing: Standing,
}

impl OAuth {
    /// Asks authorization servers over `http`, keeps what they give in `store`.
    pub fn new(http: HttpClient, store: Arc<dyn TokenStore>) -> Self {
        Self { http, store, running: Arc::default(), grants: Cache::new(MAX_REMEMBERED) }
    }

    /// Finds out who signs people in to a server: a look at what the others do, for whoever explains a
    /// failure.
    ///
    /// # Errors
    /// [`OAuthError`].
    pub async fn discover(&self, config: &OAuthConfig) -> Result<AuthorizationServer, OAuthError> {
        discover(&self.http, config, None).await
    }

    /// Waits until every exchange begun here has been seen through. To be called before an answer is sent
    /// after which the process may be frozen.
    pub async fn settled(&self) {
        drop(self.running.write().await);
    }

    /// A token that is good at `now` and is not `rejected`.
    pub(crate) async fn access(
        &self,
        config: &OAuthConfig,
        rejected: Option<&Credential>,
        now: Timestamp,
    ) -> Result<Access, AuthError> {
        let Some(mut kept) = self.find(config).await? else {
            return self.first(config, now).await;
        };
        if let Some(ended) = &kept.grant.ended {
            return Err(SignInNeeded::Ended(ended.clone()).into());
        }
        let lacking = kept.grant.lacks(&config.scopes);
        if !lacking.is_empty() && !kept.grant.is_clients_own {
            return Err(SignInNeeded::Scopes(lacking).into());
        }
        let is_rejected = |token: &SecretString| {
            rejected.is_some_and(|rejected| Credential::bearer(token).is_same(rejected))
        };
        let is_good = |grant: &Grant| {
            now < grant.stale_from
                && grant.access.as_ref().is_some_and(|token| !is_rejected(token))
                && grant.lacks(&config.scopes).is_empty()
        };
        if !is_good(&kept.grant) {
            kept = self.renew(config, kept, &is_good, now).await?;
        }
        access_of(&kept.grant, now)
    }

    /// A token that is good for `wanted` as well; `held` is not.
    pub(crate) async fn stepped_up(
        &self,
        config: &OAuthConfig,
        held: &Credential,
        wanted: &[String],
        now: Timestamp,
    ) -> Result<Access, AuthError> {
        let Some(mut kept) = self.find(config).await? else {
            return Err(SignInNeeded::Scopes(wanted.to_vec()).into());
        };
        let is_held = |token: &SecretString| Credential::bearer(token).is_same(held);
        if kept.grant.access.as_ref().is_some_and(|token| !is_held(token)) {
            // Another process has stepped up, or a user has signed in anew.
            return access_of(&kept.grant, now);
        }
        if kept.grant.lacks(wanted).is_empty() {
            return Err(OAuthError::Refused {
                place: Place::Server,
                error: Shown::new("insufficient_scope"),
                description: Some(Shown::new(&format!("it was asked for and granted: {}", wanted.join(" ")))),
            }
            .into());
        }
        if !kept.grant.is_clients_own {
            kept.grant.wanted = union(&kept.grant.wanted, wanted);
            self.write(config, &kept, kept.standing.version, now).await?;
            return Err(SignInNeeded::Scopes(wanted.to_vec()).into());
        }
        kept.grant.scopes = union(&kept.grant.scopes, wanted);
        let version = self.write(config, &kept, kept.standing.version, now).await?;
        kept.standing = Standing { version, leased_until: None };
        let is_good = |grant: &Grant| grant.access.as_ref().is_some_and(|token| !is_held(token));
        access_of(&self.renew(config, kept, &is_good, now).await?.grant, now)
    }

    /// Where nothing is kept yet: a client signs itself in, a user must be asked.
    async fn first(&self, config: &OAuthConfig, now: Timestamp) -> Result<Access, AuthError> {
        let can_prove = config.client.as_ref().is_some_and(|c| !matches!(c.proof, ClientProof::Public));
        let known = config.grant.or(self.grants.get(&config.fingerprint()).await);
        let Some(client) =
            config.client.as_ref().filter(|_| can_prove && known != Some(GrantType::AuthorizationCode))
        else {
            return Err(SignInNeeded::Never.into());
        };
        let server = discover(&self.http, config, None).await?;
        self.grants.insert(config.fingerprint(), server.grant).await;
        if server.grant == GrantType::AuthorizationCode {
            return Err(SignInNeeded::Never.into());
        }
        self.check_pin(config, &server.issuer).await?;
        let grant = Grant {
            issuer: server.issuer.clone(),
            resource: server.resource.clone(),
            client: StoredClient { id: client.client_id.clone(), secret: None, auth_method: None },
            access: None,
            refresh: None,
            stale_from: now,
            is_clients_own: true,
            scopes: server.scopes.clone(),
            wanted: Vec::new(),
            rotates: false,
            ended: None,
        };
        let owner = Owner::Everybody;
        let key = grant_key(config, &owner);
        let kept = match self.store.put(&key, &grant.content(config, &owner, now), None).await {
            Ok(version) => Kept { key, owner, grant, standing: Standing { version, leased_until: None } },
            // Another process is just as far.
            Err(StoreError::Changed) => {
                self.find(config).await?.ok_or(OAuthError::Store(StoreError::Changed))?
            }
            Err(error) => return Err(OAuthError::Store(error).into()),
        };
        let is_good = |grant: &Grant| grant.access.is_some() && now < grant.stale_from;
        access_of(&self.renew(config, kept, &is_good, now).await?.grant, now)
    }

    /// Renews a grant: this process does, or waits for the one that is at it.
    async fn renew(
        &self,
        config: &OAuthConfig,
        mut kept: Kept,
        is_good: &(dyn Fn(&Grant) -> bool + Send + Sync),
        now: Timestamp,
    ) -> Result<Kept, AuthError> {
        let begun = Instant::now();
        let clock = || now + SignedDuration::try_from(begun.elapsed()).unwrap_or_default();
        let mut server: Option<AuthorizationServer> = None;
        let mut look = FIRST_LOOK;
        loop {
            if let Some(ended) = &kept.grant.ended {
                return Err(SignInNeeded::Ended(ended.clone()).into());
            }
            if is_good(&kept.grant) {
                return Ok(kept);
            }
            let renewable = kept.grant.is_clients_own || kept.grant.refresh.is_some();
            if !renewable {
                let ended = if clock() < kept.grant.stale_from { Ended::Refused } else { Ended::Expired };
                return Err(self.end(config, kept, ended, clock()).await);
            }
            match kept.standing.leased_until {
                Some(until) if clock() < until + CLOCK_SKEW => {
                    sleep(look.mul_f64(0.5 + fastrand::f64())).await;
                    look = (look * 2).min(LATER_LOOK);
                    kept = self.again(kept).await?;
                    continue;
                }
                Some(_) if kept.grant.rotates && !kept.grant.is_clients_own => {
                    return Err(self.end(config, kept, Ended::Lost, clock()).await);
                }
                _ => {}
            }
            // Before the lease: whoever holds it has nothing left to find out.
            if server.is_none() {
                let found = discover(&self.http, config, Some(&kept.grant.issuer)).await?;
                if !is_same_issuer(&found.issuer, &kept.grant.issuer) {
                    let (pinned, found) = (Shown::new(&kept.grant.issuer), Shown::new(&found.issuer));
                    let [pinned, found] = [pinned, found].map(|issuer| issuer.as_str().to_owned());
                    return Err(self
                        .end(config, kept, Ended::IssuerChanged { pinned, found }, clock())
                        .await);
                }
                server = Some(found);
                // It took its time: somebody may have been faster.
                kept = self.again(kept).await?;
                continue;
            }
            match self.store.lease(&kept.key, kept.standing.version, clock() + LEASE).await {
                Ok(version) => kept.standing.version = version,
                Err(StoreError::Changed) => {
                    kept = self.again(kept).await?;
                    continue;
                }
                Err(error) => return Err(OAuthError::Store(error).into()),
            }
            let Some(server) = server.take() else { continue };
            let holder = self.clone();
            let (config, at) = (config.clone(), clock());
            let running = self.running.clone().read_owned().await;
            // A task of its own: it goes on when whoever waits here is cut off.
            let seen_through = tokio::spawn(async move {
                let outcome = holder.exchange_under_lease(&config, kept, &server, at).await;
                drop(running);
                outcome
            });
            return seen_through.await.unwrap_or(Err(SignInNeeded::Ended(Ended::Lost).into()));
        }
    }

    /// Exchanges, and writes what came of it. Holds the lease at `kept.standing.version`.
    #[tracing::instrument(name = "auth.oauth.renew", skip_all)]
    async fn exchange_under_lease(
        &self,
        config: &OAuthConfig,
        mut kept: Kept,
        server: &AuthorizationServer,
        now: Timestamp,
    ) -> Result<Kept, AuthError> {
        let registration = kept.grant.client.registration(config);
        let client = kept.grant.client.as_client(&registration);
        let scopes = union(&union(&server.scopes, &config.scopes), &kept.grant.scopes);
        let is_clients_own = kept.grant.is_clients_own;
        let what = match &kept.grant.refresh {
            Some(refresh) if !is_clients_own => Exchange::Refresh(refresh),
            _ => Exchange::ClientCredentials { scopes: &scopes, audience: config.audience.as_deref() },
        };
        let outcome = timeout(EXCHANGE_WITHIN, exchange(&self.http, server, client, what, now)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            let host = server.token_endpoint.host_str().unwrap_or_default().to_owned();
            let source = Arc::new(EgressError::Timeout { host });
            Err(OAuthError::Unreachable { place: Place::Token, source })
        });
        match outcome {
            Ok(tokens) => {
                kept.grant.take(tokens);
                if is_clients_own {
                    // Such a token may come with a refresh token, which is not to be used (RFC 6749 §4.4.3).
                    kept.grant.refresh = None;
                    kept.grant.scopes = scopes;
                }
                if let Err(error) = self.keep(config, &kept, now).await {
                    tracing::error!(%error, "External MCP: a renewed token was not kept, others will not find it");
                    return if error == StoreError::Changed {
                        Err(SignInNeeded::Never.into())
                    } else {
                        Ok(kept)
                    };
                }
                if is_clients_own {
                    self.pin(config, server, now).await;
                }
                tracing::info!("External MCP: access token renewed");
                Ok(kept)
            }
            Err(error) => {
                let over = (!is_clients_own).then(|| what_it_means(&error, kept.grant.rotates)).flatten();
                match over {
                    Some(ended) => {
                        kept.grant.end(ended.clone());
                        tracing::warn!(%error, "External MCP: the sign-in is over, a user must sign in again");
                        self.keep(config, &kept, now).await.map_err(OAuthError::Store)?;
                        Err(SignInNeeded::Ended(ended).into())
                    }
                    None if is_clients_own && kept.grant.access.is_none() => {
                        // The first try: nothing is to be remembered of it, the issuer least of all.
                        self.forget_quietly(&kept).await;
                        Err(error.into())
                    }
                    None => {
                        self.keep(config, &kept, now).await.map_err(OAuthError::Store)?;
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// Writes what an exchange brought, and does not give up at once: it cannot be had again.
    async fn keep(&self, config: &OAuthConfig, kept: &Kept, now: Timestamp) -> Result<(), StoreError> {
        let content = kept.grant.content(config, &kept.owner, now);
        let mut tried = 0;
        loop {
            tried += 1;
            match self.store.put(&kept.key, &content, Some(kept.standing.version)).await {
                Err(StoreError::Unavailable { .. }) if tried < WRITES => {
                    sleep(FIRST_LOOK * 2_u32.pow(tried)).await;
                }
                written => return written.map(drop),
            }
        }
    }

    async fn write(
        &self,
        config: &OAuthConfig,
        kept: &Kept,
        expected: u64,
        now: Timestamp,
    ) -> Result<u64, OAuthError> {
        let content = kept.grant.content(config, &kept.owner, now);
        Ok(self.store.put(&kept.key, &content, Some(expected)).await?)
    }

    /// Ends a grant; if somebody else has changed it meanwhile, that stays.
    async fn end(&self, config: &OAuthConfig, mut kept: Kept, ended: Ended, now: Timestamp) -> AuthError {
        kept.grant.end(ended.clone());
        tracing::warn!(reason = %ended, "External MCP: the sign-in is over, a user must sign in again");
        match self.write(config, &kept, kept.standing.version, now).await {
            Ok(_) | Err(OAuthError::Store(StoreError::Changed)) => SignInNeeded::Ended(ended).into(),
            Err(error) => error.into(),
        }
    }

    async fn forget_quietly(&self, kept: &Kept) {
        if let Err(error) = self.store.remove(&kept.key, kept.standing.version).await {
            tracing::debug!(%error, "a first try was not forgotten");
        }
    }

    /// The grant of the first owner that has one.
    async fn find(&self, config: &OAuthConfig) -> Result<Option<Kept>, AuthError> {
        for owner in config.owners() {
            if let Some(kept) = self.find_of(config, owner).await? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    async fn find_of(&self, config: &OAuthConfig, owner: Owner) -> Result<Option<Kept>, OAuthError> {
        let key = grant_key(config, &owner);
        let found = self.store.load(&key).await?;
        found.map(|item| Kept::read(key, owner, item)).transpose()
    }

    /// Reads a grant again, if it has changed.
    async fn again(&self, kept: Kept) -> Result<Kept, OAuthError> {
        if self.store.peek(&kept.key).await? == Some(kept.standing) {
            return Ok(kept);
        }
        let Some(item) = self.store.load(&kept.key).await? else {
            return Err(OAuthError::Store(StoreError::Changed));
        };
        Kept::read(kept.key, kept.owner, item)
    }

    /// Refuses an issuer that is not the one of the first sign-in, where the entry has a secret to lose.
    pub(super) async fn check_pin(&self, config: &OAuthConfig, issuer: &str) -> Result<(), OAuthError> {
        let Some(key) = pin_key(config) else { return Ok(()) };
        match self.store.load(&key).await? {
            Some(item) if !is_same_issuer(&item.content.issuer, issuer) => Err(OAuthError::IssuerChanged {
                pinned: Shown::new(&item.content.issuer),
                found: Shown::new(issuer),
            }),
            _ => Ok(()),
        }
    }

    /// Keeps the issuer of a first sign-in.
    pub(super) async fn pin(&self, config: &OAuthConfig, server: &AuthorizationServer, now: Timestamp) {
        let Some(key) = pin_key(config) else { return };
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: config.server_url.to_string(),
            text: "{}".into(),
            expires: now + PIN_KEPT,
        };
        match self.store.put(&key, &content, None).await {
            Ok(_) | Err(StoreError::Changed) => {}
            Err(error) => tracing::warn!(%error, "External MCP: the issuer of a first sign-in was not kept"),
        }
    }

    /// Takes a grant back: revoked where the authorization server can, forgotten here. Tells whether
    /// there was one of `owner`.
    ///
    /// # Errors
    /// [`OAuthError::Store`]; a server that cannot revoke keeps nobody from forgetting.
    pub async fn forget(
        &self,
        config: &OAuthConfig,
        owner: &Owner,
        now: Timestamp,
    ) -> Result<bool, OAuthError> {
        let Some(kept) = self.find_of(config, owner.clone()).await? else { return Ok(false) };
        match self.store.remove(&kept.key, kept.standing.version).await {
            // Refreshed in this very moment: what it is now is forgotten as well.
            Err(StoreError::Changed) => {
                if let Some(item) = self.store.load(&kept.key).await? {
                    self.store.remove(&kept.key, item.standing.version).await?;
                }
            }
            removed => removed?,
        }
        if let Err(error) = self.revoke(config, &kept.grant, now).await {
            tracing::warn!(%error, "External MCP: a forgotten sign-in was not revoked");
        }
        Ok(true)
    }

    /// What is kept of an owner's sign-in: the issuer, the scopes, and why it is no longer good, if so.
    ///
    /// # Errors
    /// [`OAuthError::Store`].
    pub async fn standing(
        &self,
        config: &OAuthConfig,
        owner: &Owner,
    ) -> Result<Option<(String, Vec<String>, Option<Ended>)>, OAuthError> {
        let kept = self.find_of(config, owner.clone()).await?;
        Ok(kept.map(|kept| (kept.grant.issuer, kept.grant.scopes, kept.grant.ended)))
    }
}

impl Kept {
    fn read(key: Key, owner: Owner, item: Item) -> Result<Self, OAuthError> {
        Ok(Self { key, owner, grant: Grant::read(&item.content)?, standing: item.standing })
    }
}

fn access_of(grant: &Grant, now: Timestamp) -> Result<Access, AuthError> {
    let token = grant.access.clone().ok_or(SignInNeeded::Never)?;
    Ok(Access { token, stale_from: grant.stale_from.min(now + LOOK_UP_AGAIN) })
}

fn pin_key(config: &OAuthConfig) -> Option<Key> {
    let has_secret = config.client.as_ref().is_some_and(|c| !matches!(c.proof, ClientProof::Public));
    let parts = config.subject();
    // An entry that names the issuer says itself whom it trusts.
    (has_secret && config.issuer.is_none())
        .then(|| Key::new("pin", &parts.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Whether a failed refresh ends the grant. An answer, whatever its status, says that nothing was given
/// out; no answer to what was sent leaves that open, and matters where a token is good for one use.
fn what_it_means(error: &OAuthError, rotates: bool) -> Option<Ended> {
    match error {
        OAuthError::Refused { error, description, .. } if error.as_str() == "invalid_grant" => {
            let description = description.as_ref().map(|text| text.as_str().to_owned());
            Some(Ended::Revoked { description })
        }
        OAuthError::Unreachable { source, .. } => match source.as_ref() {
            EgressError::Timeout { .. } | EgressError::Broken { .. } | EgressError::TooLarge { .. } => {
                rotates.then_some(Ended::Lost)
            }
            _ => None,
        },
        // It gave something that cannot be read: the old one is used up, the new one lost.
        OAuthError::NotJson { .. } | OAuthError::Incomplete { .. } | OAuthError::TokenType { .. } => {
            rotates.then_some(Ended::Lost)
        }
        _ => None,
    }
}
