//! Access tokens that are good now: the kept one, a renewed one, one for the client itself.
//!
//! Decides whether what is kept will do; [`super::renewal`] renews it, [`super::consent`] is the way of a
//! user to it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use egress::{HttpClient, Shown};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::sync::RwLock;
use vault::{Content, ItemState, Key, SealedItem, Vault, VaultError};

use super::{
    about::{About, Place},
    config::{ClientProof, GrantType, OAuthConfig, Owner},
    discovery::{AuthorizationServer, discover, named_by_server},
    error::OAuthError,
    grant::{Ended, Grant, SignInNeeded, StoredClient, grant_key, union},
    renewal::{IsGood, Renewal},
};
use crate::{AuthError, Credential};

/// A token is looked up again after this long, so that one taken back is not used on for hours.
const LOOK_UP_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// How many servers' kinds of sign-in are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// Gives out access tokens, and leads users through signing in. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct OAuth {
    pub(super) http: HttpClient,
    /// For what must not be sent twice: a connection that was kept may be dead by the time it is used.
    pub(super) posts: HttpClient,
    pub(super) vault: Arc<dyn Vault>,
    /// Read by every exchange that must be seen through; see [`Self::settled`].
    pub(super) running: Arc<RwLock<()>>,
    /// Who signs in to servers whose entry does not say.
    grants: Arc<Mutex<HashMap<[u8; 32], GrantType>>>,
}

/// An access token, and from when on it is to be asked for again.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) token: SecretString,
    pub(crate) stale_from: Timestamp,
}

/// A grant as it was read, with all that is needed to write it.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) key: Key,
    pub(super) owner: Owner,
    pub(super) grant: Grant,
    pub(super) state: ItemState,
}

impl OAuth {
    /// Asks authorization servers over `http`, keeps what they give in `store`.
    pub fn new(http: HttpClient, vault: Arc<dyn Vault>) -> Self {
        let posts = http.unpooled();
        Self { http, posts, vault, running: Arc::default(), grants: Arc::default() }
    }

    /// Finds out who signs people in to a server: a look at what the others do, for whoever explains a
    /// failure.
    ///
    /// # Errors
    /// [`OAuthError`].
    pub async fn discover(&self, config: &OAuthConfig) -> Result<AuthorizationServer, OAuthError> {
        self.discover_beside(config, &[]).await
    }

    /// The same; of several authorization servers that the server names, those in `passed_over` are not used.
    pub(super) async fn discover_beside(
        &self,
        config: &OAuthConfig,
        passed_over: &[String],
    ) -> Result<AuthorizationServer, OAuthError> {
        // A store that fails is told where it is needed: whoever sends anything asks it again.
        let pinned = self.pinned(config).await.unwrap_or_default();
        let found = discover(&self.http, config, pinned.as_deref(), passed_over).await;
        found.map_err(|error| error.without(config))
    }

    /// The authorization servers that the server's own metadata names, whether or not it asks for a sign-in.
    pub async fn named_by_server(&self, config: &OAuthConfig) -> Vec<String> {
        named_by_server(&self.http, config).await.into_iter().map(|issuer| config.scrub(issuer)).collect()
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
        if let Some(ended) = kept.grant.over(now) {
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
        access_of(config, &kept, now)
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
            return Err(SignInNeeded::Scopes(without(config, wanted)).into());
        };
        let is_held = |token: &SecretString| Credential::bearer(token).is_same(held);
        if kept.grant.access.as_ref().is_some_and(|token| !is_held(token)) {
            // Another process has stepped up, or a user has signed in anew.
            return access_of(config, &kept, now);
        }
        if kept.grant.lacks(wanted).is_empty() {
            return Err(OAuthError::Refused {
                place: Place::Server,
                error: Shown::new("insufficient_scope"),
                description: Some(Shown::new(&format!("it was asked for and granted: {}", wanted.join(" ")))),
                about: About::default(),
            }
            .into());
        }
        let wanted_before = kept.grant.wanted.len();
        kept.grant.wanted = union(&kept.grant.wanted, wanted);
        // A write ends a lease: where somebody holds one, that is not ours to end.
        let is_leased = kept.state.leased_until.is_some();
        if kept.grant.wanted.len() > wanted_before && !is_leased {
            match self.write(config, &kept, kept.state.version, now).await {
                Ok(version) => kept.state.version = version,
                // Somebody else has written: what is wanted is asked for again when the server says so again.
                Err(OAuthError::Store(VaultError::Changed)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !kept.grant.is_clients_own {
            return Err(SignInNeeded::Scopes(without(config, wanted)).into());
        }
        let is_good = |grant: &Grant| grant.access.as_ref().is_some_and(|token| !is_held(token));
        access_of(config, &self.renew(config, kept, &is_good, now).await?, now)
    }

    /// Who signs in, as the entry says or was found out.
    fn grant_type(&self, config: &OAuthConfig) -> Option<GrantType> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        config.grant.or_else(|| grants.get(&config.fingerprint()).copied())
    }

    fn remember(&self, config: &OAuthConfig, grant: GrantType) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= MAX_REMEMBERED {
            grants.clear();
        }
        grants.insert(config.fingerprint(), grant);
    }

    /// Where nothing is kept yet: a client signs itself in, a user must be asked.
    async fn first(&self, config: &OAuthConfig, now: Timestamp) -> Result<Access, AuthError> {
        let can_prove = config.client.as_ref().is_some_and(|c| !matches!(c.proof, ClientProof::Public));
        let known = self.grant_type(config);
        let Some(client) =
            config.client.as_ref().filter(|_| can_prove && known != Some(GrantType::AuthorizationCode))
        else {
            return Err(SignInNeeded::Never.into());
        };
        let server = self.discover(config).await?;
        self.remember(config, server.grant);
        if server.grant == GrantType::AuthorizationCode {
            return Err(SignInNeeded::Never.into());
        }
        self.check_pin(config, &server.issuer).await?;
        let grant = Grant {
            issuer: server.issuer.clone(),
            resource: server.resource.clone(),
            client: StoredClient::known(client.client_id.clone()),
            access: None,
            refresh: None,
            stale_from: now,
            is_clients_own: true,
            scopes: server.scopes.clone(),
            wanted: Vec::new(),
            rotates: false,
            ended: None,
            retry_from: None,
        };
        let owner = Owner::Everybody;
        let key = grant_key(config, &owner);
        let kept = match self.vault.put(&key, &grant.content(config, &owner, now), None).await {
            Ok(version) => Kept {
                key,
                owner,
                grant,
                state: ItemState { version, leased_until: None, usable: true, sub: None },
            },
            // Another process is just as far.
            Err(VaultError::Changed) => {
                self.find(config).await?.ok_or(OAuthError::Store(VaultError::Changed))?
            }
            Err(error) => return Err(OAuthError::Store(error).into()),
        };
        let is_good = |grant: &Grant| grant.access.is_some() && now < grant.stale_from;
        let renewal = Renewal::new(self, config, &is_good, now).knowing(server);
        access_of(config, &renewal.run(kept).await?, now)
    }

    /// Renews a grant until it is good.
    async fn renew(
        &self,
        config: &OAuthConfig,
        kept: Kept,
        is_good: IsGood<'_>,
        now: Timestamp,
    ) -> Result<Kept, AuthError> {
        Renewal::new(self, config, is_good, now).run(kept).await
    }

    pub(super) async fn write(
        &self,
        config: &OAuthConfig,
        kept: &Kept,
        expected: u64,
        now: Timestamp,
    ) -> Result<u64, OAuthError> {
        let content = kept.grant.content(config, &kept.owner, now);
        Ok(self.vault.put(&kept.key, &content, Some(expected)).await?)
    }

    /// Writes over whatever is there.
    pub(super) async fn replace(&self, key: &Key, content: &Content) -> Result<(), OAuthError> {
        // Somebody else may write in between, not again and again.
        for _ in 0..3 {
            let standing = self.vault.peek(key).await?;
            match self.vault.put(key, content, standing.map(|standing| standing.version)).await {
                Err(VaultError::Changed) => {}
                written => return Ok(written.map(drop)?),
            }
        }
        Err(VaultError::Changed.into())
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

    pub(super) async fn find_of(
        &self,
        config: &OAuthConfig,
        owner: Owner,
    ) -> Result<Option<Kept>, OAuthError> {
        let key = grant_key(config, &owner);
        let found = self.vault.load(&key).await?;
        let own = found.filter(|item| !owner.is_another(item.content.sub.as_deref()));
        own.map(|item| Kept::read(key, owner, item)).transpose()
    }

    /// Reads a grant again, if it has changed.
    pub(super) async fn again(&self, config: &OAuthConfig, kept: Kept) -> Result<Kept, OAuthError> {
        if self.vault.peek(&kept.key).await?.as_ref() == Some(&kept.state) {
            return Ok(kept);
        }
        let again = self.find_of(config, kept.owner).await?;
        again.ok_or(OAuthError::Store(VaultError::Changed))
    }

    /// Whether there is a sign-in, without looking whether its tokens are good: one read, nothing unsealed.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`] if there is none, or it is over.
    pub(crate) async fn check(&self, config: &OAuthConfig) -> Result<(), AuthError> {
        let known = self.grant_type(config);
        for owner in config.owners() {
            let key = grant_key(config, &owner);
            let standing = self.vault.peek(&key).await.map_err(OAuthError::Store)?;
            match standing.filter(|standing| !owner.is_another(standing.sub.as_deref())) {
                Some(ItemState { usable: true, .. }) => return Ok(()),
                Some(_) => {
                    let ended = self.find_of(config, owner).await?.and_then(|kept| kept.grant.ended);
                    return ended.map_or(Ok(()), |ended| Err(SignInNeeded::Ended(ended).into()));
                }
                None => {}
            }
        }
        // A client signs itself in whenever it is asked to.
        if known == Some(GrantType::ClientCredentials) { Ok(()) } else { Err(SignInNeeded::Never.into()) }
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
    fn read(key: Key, owner: Owner, item: SealedItem) -> Result<Self, OAuthError> {
        Ok(Self { key, owner, grant: Grant::read(&item.content)?, state: item.state })
    }
}

/// Scopes without any secret of the entry: a server may ask for whatever it was sent.
fn without(config: &OAuthConfig, scopes: &[String]) -> Vec<String> {
    scopes.iter().map(|scope| config.scrub(scope.clone())).collect()
}

/// A grant's token, to be looked up again soon; at once where it is not the user's own, who may have signed in
/// meanwhile.
fn access_of(config: &OAuthConfig, kept: &Kept, now: Timestamp) -> Result<Access, AuthError> {
    let token = kept.grant.access.clone().ok_or(SignInNeeded::Never)?;
    let is_first_choice = kept.grant.is_clients_own || config.owners().first() == Some(&kept.owner);
    let again = if is_first_choice { now + LOOK_UP_AGAIN } else { now };
    Ok(Access { token, stale_from: kept.grant.stale_from.min(again) })
}
