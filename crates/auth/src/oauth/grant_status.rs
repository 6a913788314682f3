//! The state of grants: whose grant is used for a server, whether it has ended, and who signs in.
//!
//! Reads the vault and this process's memory. Returns no token ([`super::access_token`] does) and sends nothing.

use std::sync::PoisonError;

use vault::Key;

use super::{
    config::{GrantType, OAuthConfig, Owner},
    error::OAuthError,
    grant::{GrantEndReason, SignInNeeded, grant_key},
    grant_store::OAuth,
};
use crate::AuthError;

/// Number of configurations whose grant type is remembered; all are forgotten when there are more. Far above the number
/// of entries of one secret.
const MAX_GRANT_TYPES: usize = 1_000;

/// The grant that is used for a configuration, as its state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundGrant {
    /// The owner of the grant.
    pub(crate) owner: Owner,
    /// False if the grant has ended.
    pub(crate) is_usable: bool,
}

/// What is stored of an owner's sign-in, without its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantSummary {
    /// The authorization server of the sign-in.
    pub issuer: String,
    /// The scopes that were requested or granted.
    pub scopes: Vec<String>,
    /// The reason why the grant has ended; `None` if it has not.
    pub ended: Option<GrantEndReason>,
}

impl OAuth {
    /// Decides whose sign-in is used: for each configuration the first of its owners that has a grant. Reads the states
    /// of all grants in batches and unseals none.
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

    /// Checks that the grant of the configuration's first owner has not ended.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`], with the reason why the grant has ended.
    pub(crate) async fn check_ended(&self, config: &OAuthConfig) -> Result<(), AuthError> {
        let stored = self.find_grant_of(config, config.first_owner().clone()).await?;
        let ended = stored.and_then(|stored| stored.grant.ended);
        ended.map_or(Ok(()), |ended| Err(SignInNeeded::Ended(ended).into()))
    }

    /// Checks that a configuration without a grant needs no user.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`], unless the client signs in with its own credentials.
    pub(crate) fn check_missing(&self, config: &OAuthConfig) -> Result<(), AuthError> {
        match self.grant_type(config) {
            Some(GrantType::ClientCredentials) => Ok(()),
            _ => Err(SignInNeeded::Never.into()),
        }
    }

    /// Returns what is stored of an owner's sign-in; `None` if the owner has not signed in.
    ///
    /// # Errors
    /// [`OAuthError::Store`].
    pub async fn grant_summary(
        &self,
        config: &OAuthConfig,
        owner: &Owner,
    ) -> Result<Option<GrantSummary>, OAuthError> {
        let stored = self.find_grant_of(config, owner.clone()).await?;
        Ok(stored.map(|stored| {
            let grant = stored.grant;
            GrantSummary { issuer: grant.issuer, scopes: grant.scopes, ended: grant.ended }
        }))
    }

    /// Returns the grant type of the entry, or the one that this process has learned from the authorization server.
    pub(super) fn grant_type(&self, config: &OAuthConfig) -> Option<GrantType> {
        let grants = self.grant_types.lock().unwrap_or_else(PoisonError::into_inner);
        config.grant.or_else(|| grants.get(&config.fingerprint()).copied())
    }

    pub(super) fn remember_grant_type(&self, config: &OAuthConfig, grant: GrantType) {
        let mut grants = self.grant_types.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= MAX_GRANT_TYPES {
            grants.clear();
        }
        grants.insert(config.fingerprint(), grant);
    }
}
