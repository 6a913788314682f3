//! Access tokens that are good now: the kept one, a renewed one, one for the client itself.
//!
//! Decides whether what is kept will do; [`super::renewal`] renews it, [`super::consent`] is the way of a
//! user to it.

use std::sync::PoisonError;

use egress::Shown;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use vault::{ItemState, Key, VaultError};

use super::grant_store::{OAuth, StoredGrant};
use super::{
    about::{About, Place},
    authorization_server::AuthorizationServer,
    config::{ClientProof, GrantType, OAuthConfig, Owner},
    discovery::{discover, named_by_server},
    error::OAuthError,
    grant::{Ended, Grant, SignInNeeded, StoredClient, grant_key, union},
    renewal::{IsGood, Renewal},
};
use crate::{AuthError, Credential};

/// A token is looked up again after this long, so that one taken back is not used on for hours.
const LOOK_UP_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// How many servers' kinds of sign-in are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// An access token, and from when on it is to be asked for again.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) token: SecretString,
    pub(crate) stale_from: Timestamp,
    /// True if this process got the token from the authorization server, false if it read it from the vault.
    pub(crate) issued_here: bool,
}

/// The grant that is used for a configuration, as its state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundGrant {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// Whether it is of use, as far as its state says.
    pub(crate) is_usable: bool,
}

impl OAuth {
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
        let grants = self.grant_types.lock().unwrap_or_else(PoisonError::into_inner);
        config.grant.or_else(|| grants.get(&config.fingerprint()).copied())
    }

    fn remember(&self, config: &OAuthConfig, grant: GrantType) {
        let mut grants = self.grant_types.lock().unwrap_or_else(PoisonError::into_inner);
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
            Ok(version) => StoredGrant {
                key,
                owner,
                grant,
                state: ItemState { version, leased_until: None, usable: true, sub: None },
                issued_here: false,
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
        kept: StoredGrant,
        is_good: IsGood<'_>,
        now: Timestamp,
    ) -> Result<StoredGrant, AuthError> {
        Renewal::new(self, config, is_good, now).run(kept).await
    }

    /// Finds out whose sign-in is used: for each configuration the first of its owners that has a grant. Reads the
    /// states of all grants in batches and unseals none.
    ///
    /// # Errors
    /// [`OAuthError::Store`].
    pub(crate) async fn find_owners(
        &self,
        configs: &[&OAuthConfig],
    ) -> Result<Vec<Option<FoundGrant>>, OAuthError> {
        let candidates: Vec<(usize, &Owner, Key)> = configs
            .iter()
            .enumerate()
            .flat_map(|(index, config)| {
                config.owners.iter().map(move |owner| (index, owner, grant_key(config, owner)))
            })
            .collect();
        let keys: Vec<&Key> = candidates.iter().map(|(_, _, key)| key).collect();
        let states = self.vault.peek_all(&keys).await?;
        let mut found: Vec<Option<FoundGrant>> = vec![None; configs.len()];
        for ((index, owner, _), state) in candidates.iter().zip(states) {
            let own = state.filter(|state| !owner.is_another(state.sub.as_deref()));
            if let (None, Some(state)) = (&found[*index], own) {
                found[*index] = Some(FoundGrant { owner: (*owner).clone(), is_usable: state.usable });
            }
        }
        Ok(found)
    }

    /// The reason why a user must sign in again, from the grant of the configuration's first owner.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`] if the grant has ended.
    pub(crate) async fn check_ended(&self, config: &OAuthConfig) -> Result<(), AuthError> {
        let stored = self.find_of(config, config.first_owner().clone()).await?;
        let ended = stored.and_then(|stored| stored.grant.ended);
        ended.map_or(Ok(()), |ended| Err(SignInNeeded::Ended(ended).into()))
    }

    /// The error of a configuration none of whose owners has a grant.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`], unless the client signs itself in whenever it is asked to.
    pub(crate) fn check_missing(&self, config: &OAuthConfig) -> Result<(), AuthError> {
        match self.grant_type(config) {
            Some(GrantType::ClientCredentials) => Ok(()),
            _ => Err(SignInNeeded::Never.into()),
        }
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

/// Scopes without any secret of the entry: a server may ask for whatever it was sent.
fn without(config: &OAuthConfig, scopes: &[String]) -> Vec<String> {
    scopes.iter().map(|scope| config.scrub(scope.clone())).collect()
}

/// A grant's token, to be looked up again soon; at once where it is not the user's own, who may have signed in
/// meanwhile.
fn access_of(config: &OAuthConfig, kept: &StoredGrant, now: Timestamp) -> Result<Access, AuthError> {
    let token = kept.grant.access.clone().ok_or(SignInNeeded::Never)?;
    let is_first_choice = kept.grant.is_clients_own || *config.first_owner() == kept.owner;
    let again = if is_first_choice { now + LOOK_UP_AGAIN } else { now };
    Ok(Access { token, stale_from: kept.grant.stale_from.min(again), issued_here: kept.issued_here })
}
