//! A user's way to a grant: started here, consented to at the authorization server, completed here.
//!
//! What is kept meanwhile is one item under the hash of a random state, sealed, for ten minutes. It is
//! bound to the user who started; the redirect parks its code there once; completing takes the item away
//! before anything is exchanged, so that nothing happens twice.

use egress::Shown;
use jiff::{SignedDuration, Timestamp, Unit};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use vault::{Content, Key, SealedItem, VaultError, digest, hex};

use super::{
    about::{About, ClientKind, EntryFacts},
    authorization_code::{Redirect, arrive, depart},
    authorization_server::AuthorizationServer,
    config::{GrantType, OAuthConfig, Owner},
    error::OAuthError,
    grant::{Ended, Grant, StoredClient, grant_key, optional_secret, union},
    grant_store::OAuth,
    issuer::is_same_issuer,
    kept_client::Registration,
    registration::ClientIdentity,
    resource::in_clear,
    token::{Exchange, Exchanged, exchange},
    verdict::{Verdict, verdict},
};
use crate::user::User;

/// How long a user may take.
const STATE_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// How long a start is remembered that was not completed.
const START_REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 30);
/// What a sign-in is for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The agent whose server is signed in to.
    pub agent_id: &'a str,
    /// Who starts it, and alone may complete it.
    pub starter: &'a User,
    /// Whose the tokens will be.
    pub owner: &'a Owner,
    /// The origin of the web page that waits for the sign-in and is told when the user is back; the caller has checked
    /// that it is allowed.
    pub origin: Option<&'a str>,
}

/// A user may go now.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where the browser goes.
    pub authorization_url: Url,
    /// What completes the sign-in. Not a secret from the user who started.
    pub state: SecretString,
    /// Until when.
    pub expires: Timestamp,
}

/// A user is back.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// What the sign-in is for, as it was started.
    pub agent_id: String,
    /// Who started it.
    pub starter: String,
    /// The origin of the web page that waits for it, as it was given at the start.
    pub origin: Option<String>,
}

/// An error of [`OAuth::callback`], with the agent whose sign-in it ended.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RedirectError {
    /// The agent's id. `None` if the state is not known or not readable; the error holds no text of an authorization
    /// server then.
    pub agent_id: Option<String>,
    /// The reason why the redirect is not accepted.
    #[source]
    pub error: OAuthError,
}

impl From<OAuthError> for RedirectError {
    fn from(error: OAuthError) -> Self {
        Self { agent_id: None, error }
    }
}

impl From<RedirectError> for OAuthError {
    fn from(refused: RedirectError) -> Self {
        refused.error
    }
}

/// A sign-in whose user is back, in the hands of the user who started it.
pub struct Arrival {
    key: Key,
    item: SealedItem,
    pending: Pending,
}

impl Arrival {
    /// The agent whose server is signed in to.
    pub fn agent_id(&self) -> &str {
        &self.pending.agent_id
    }
}

/// A sign-in on its way.
#[derive(Serialize, Deserialize)]
struct Pending {
    agent_id: String,
    starter: User,
    owner: Owner,
    /// The origin of the web page that waits for it.
    #[serde(default)]
    origin: Option<String>,
    /// Where its grant will be kept: an entry that has changed meanwhile gets nothing of it.
    grant_key: String,
    redirect_uri: String,
    server: AuthorizationServer,
    client: StoredClient,
    client_kind: ClientKind,
    #[serde(default)]
    entry: EntryFacts,
    scopes: Vec<String>,
    #[serde(with = "optional_secret")]
    verifier: Option<SecretString>,
    #[serde(with = "optional_secret")]
    code: Option<SecretString>,
}

impl OAuth {
    /// Starts a sign-in.
    ///
    /// # Errors
    /// [`OAuthError`], before anybody is sent anywhere.
    #[tracing::instrument(name = "auth.oauth.start", skip_all)]
    pub async fn start(
        &self,
        config: &OAuthConfig,
        purpose: Purpose<'_>,
        identity: &ClientIdentity,
        registration: Registration,
        now: Timestamp,
    ) -> Result<Started, OAuthError> {
        let earlier = self.vault.load(&grant_key(config, purpose.owner)).await?;
        let earlier = earlier.filter(|item| !purpose.owner.is_another(item.content.sub.as_deref()));
        let earlier = earlier.and_then(|item| Grant::read(&item.content).ok());
        let under_way =
            Key::new("under_way", &[grant_key(config, purpose.owner).as_str(), &purpose.starter.name]);
        let registration = match registration {
            Registration::Kept => Registration::KeptUnless(match earlier.as_ref() {
                // What earlier versions granted does not say where its registration is, so that it was not forgotten.
                Some(Grant { ended: Some(Ended::ClientForgotten), client, .. }) => Some(client.id.clone()),
                _ => self.never_completed(&under_way, now).await?,
            }),
            anew => anew,
        };
        let (server, mut client) = self.server_and_client(config, identity, &registration, now).await?;
        let earlier = earlier.filter(|grant| is_same_issuer(&grant.issuer, &server.issuer));
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.client.id == client.id) {
            client.auth_method = client.auth_method.or_else(|| earlier.client.auth_method.clone());
        }
        let scopes = earlier.map_or_else(|| server.scopes.clone(), |grant| grant.scopes_to_ask_for(&server));
        // One that registered itself knows its own.
        let redirect_uri = client.redirect_uri.clone().unwrap_or_else(|| identity.redirect_uri.clone());
        let departure = depart(config, &server, &client.id, &redirect_uri, &scopes)?;
        let expires = (now + STATE_LIFE).round(Unit::Second).unwrap_or(now + STATE_LIFE);
        let pending = Pending {
            agent_id: purpose.agent_id.to_owned(),
            starter: purpose.starter.clone(),
            owner: purpose.owner.clone(),
            origin: purpose.origin.map(str::to_owned),
            grant_key: grant_key(config, purpose.owner).as_str().to_owned(),
            redirect_uri,
            server,
            client_kind: client.kind(config),
            entry: EntryFacts::of(config),
            client,
            scopes,
            verifier: Some(departure.verifier),
            code: None,
        };
        let key = state_key(departure.state.expose_secret());
        let resource = in_clear(config.server_url.as_str());
        self.vault.put(&key, &pending.content(&resource, expires), None).await?;
        if pending.client_kind == ClientKind::Registered {
            self.replace(&under_way, &pending.under_way(&resource, now + START_REMEMBERED)).await?;
        }
        Ok(Started { authorization_url: departure.url, state: departure.state, expires })
    }

    /// Takes in a redirect: checks whose it is, and parks its code. The browser that brought it may be
    /// anybody's, so nothing is exchanged.
    ///
    /// # Errors
    /// [`OAuthError::State`], and as the redirect says; the state is used up then.
    #[tracing::instrument(name = "auth.oauth.callback", skip_all)]
    pub async fn callback(&self, redirect: &Redirect, now: Timestamp) -> Result<Arrived, RedirectError> {
        let state = redirect.state.as_deref().ok_or(OAuthError::State)?;
        let (key, item, mut pending) = self.pending(state, now).await?;
        if pending.code.is_some() {
            return Err(OAuthError::State.into());
        }
        let is_others = redirect.came_to.as_ref().is_some_and(|came_to| *came_to != pending.redirect_uri);
        let arrived = match is_others {
            true => Err(OAuthError::OtherRedirect { expected: Shown::new(&pending.server.issuer) }),
            false => arrive(redirect, &pending.server),
        };
        match arrived {
            Ok(code) => pending.code = Some(code),
            Err(error) => {
                self.use_up(&key, &item).await?;
                let client = Some(pending.client_kind);
                let error = error.about(About { client, entry: pending.entry, ..About::default() });
                if verdict(&error) == Verdict::ClientForgotten {
                    self.forget_registration(&pending.server.issuer, &pending.client).await;
                }
                let error = error.of_sign_in(&pending.redirect_uri);
                return Err(RedirectError { agent_id: Some(pending.agent_id), error });
            }
        }
        let content = pending.content(&item.content.resource, item.content.expires);
        let parked = self.vault.put(&key, &content, Some(item.state.version)).await;
        parked.map_err(changed_means_used)?;
        Ok(Arrived { agent_id: pending.agent_id, starter: pending.starter.name, origin: pending.origin })
    }

    /// Takes up a sign-in whose user is back, for `user` to complete.
    ///
    /// # Errors
    /// [`OAuthError::State`], [`OAuthError::NotYet`]; [`OAuthError::OtherUser`], and the state is used up then.
    pub async fn arrival(&self, state: &str, user: &User, now: Timestamp) -> Result<Arrival, OAuthError> {
        let (key, item, pending) = self.pending(state, now).await?;
        if pending.starter.name != user.name || user.is_another(pending.starter.sub.as_deref()) {
            self.use_up(&key, &item).await?;
            return Err(OAuthError::OtherUser);
        }
        match pending.code {
            Some(_) => Ok(Arrival { key, item, pending }),
            None => Err(OAuthError::NotYet),
        }
    }

    /// Completes a sign-in: exchanges the code, keeps the tokens. The state is used up before anything is
    /// sent.
    ///
    /// # Errors
    /// As the token endpoint refuses; [`OAuthError::State`] if somebody else was faster.
    #[tracing::instrument(name = "auth.oauth.complete", skip_all)]
    pub async fn complete(
        &self,
        config: &OAuthConfig,
        arrival: Arrival,
        now: Timestamp,
    ) -> Result<(), OAuthError> {
        let Arrival { key, item, pending } = arrival;
        let owner = &pending.owner;
        let (Some(code), Some(verifier)) = (&pending.code, &pending.verifier) else {
            return Err(OAuthError::NotYet);
        };
        self.use_up(&key, &item).await?;
        let grant_key = grant_key(config, owner);
        if grant_key.as_str() != pending.grant_key {
            return Err(OAuthError::State);
        }
        self.check_pin(config, &pending.server.issuer).await?;
        let registration = pending.client.registration(config);
        let client = pending.client.as_client(&registration, config);
        let redirect_uri = pending.redirect_uri.as_str();
        let what = Exchange::Code { code, verifier, redirect_uri };
        let Exchanged { tokens, auth_method } =
            match exchange(&self.posts, &pending.server, client, what, now).await {
                Ok(exchanged) => exchanged,
                Err(error) => {
                    if verdict(&error) == Verdict::ClientForgotten {
                        self.forget_registration(&pending.server.issuer, &pending.client).await;
                    }
                    return Err(error.without(config).of_sign_in(redirect_uri));
                }
            };
        let mut client = pending.client;
        self.keep_method(config, &pending.server.issuer, &mut client, auth_method).await;
        let under_way = Key::new("under_way", &[&pending.grant_key, &pending.starter.name]);
        let mut grant = Grant {
            issuer: pending.server.issuer.clone(),
            resource: pending.server.resource.clone(),
            client,
            access: None,
            refresh: None,
            stale_from: now,
            is_clients_own: false,
            scopes: union(&pending.scopes, tokens.scopes.as_deref().unwrap_or_default()),
            wanted: Vec::new(),
            rotates: true,
            ended: None,
            retry_from: None,
        };
        grant.take(tokens);
        self.replace(&grant_key, &grant.content(config, owner, now)).await?;
        self.pin(config, &pending.server, now).await;
        self.completed(&under_way).await;
        tracing::info!("External MCP: a user has signed in");
        Ok(())
    }

    /// The authorization server to send a user to, and the client to be there. One that announces registration and
    /// registers nobody is passed over for the next that the server names: nothing was sent there that is secret.
    async fn server_and_client(
        &self,
        config: &OAuthConfig,
        identity: &ClientIdentity,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<(AuthorizationServer, StoredClient), OAuthError> {
        let mut closed: Vec<String> = Vec::new();
        let mut refusal: Option<OAuthError> = None;
        loop {
            let server = match (self.discover_beside(config, &closed).await, refusal.as_ref()) {
                (Ok(server), None) => server,
                (Ok(server), Some(_)) if !closed.contains(&server.issuer) => server,
                (Err(error), None) => return Err(error),
                // Its endpoints stand in the entry: there is no other.
                (Ok(_), Some(refusal)) => return Err(refusal.clone()),
                (Err(_), Some(refusal)) => {
                    return Err(self.beside_others(config, &closed, refusal.clone()).await);
                }
            };
            if server.grant != GrantType::AuthorizationCode {
                let lacks = "signs in clients alone, no users";
                return Err(OAuthError::NotOffered { issuer: Shown::new(&server.issuer), lacks });
            }
            self.check_pin(config, &server.issuer).await?;
            match self.client(config, &server, identity, registration, now).await {
                Ok(client) => return Ok((server, client)),
                Err(error @ OAuthError::ClientNeeded { .. }) if config.issuer.is_none() => {
                    refusal = refusal.or_else(|| Some(error.without(config)));
                    closed.push(server.issuer);
                }
                Err(error) => return Err(error.without(config)),
            }
        }
    }

    /// The refusal of the first authorization server in `closed`, with the others that the server names.
    async fn beside_others(
        &self,
        config: &OAuthConfig,
        closed: &[String],
        refusal: OAuthError,
    ) -> OAuthError {
        let is_first = |issuer: &String| closed.first().is_some_and(|first| is_same_issuer(first, issuer));
        let mut others = self.named_by_server(config).await;
        others.retain(|issuer| !is_first(issuer));
        if others.is_empty() {
            return refusal;
        }
        let others = Shown::new(&others.join(", "));
        OAuthError::OneOfSeveral { first: Box::new(refusal), others, were_tried: true }
    }

    /// The id of the client that the same user was sent off with for the same grant, in a sign-in that was never
    /// completed; `None` if there is none.
    async fn never_completed(&self, under_way: &Key, now: Timestamp) -> Result<Option<String>, OAuthError> {
        let item = self.vault.load(under_way).await?.filter(|item| now < item.content.expires);
        Ok(item.map(|item| item.content.text.expose_secret().to_owned()))
    }

    /// Notes that a sign-in is completed. A redirect alone is no sign that the client is known: some servers send
    /// users back with any client id, and refuse the code.
    async fn completed(&self, under_way: &Key) {
        let Ok(Some(standing)) = self.vault.peek(under_way).await else { return };
        if let Err(error) = self.vault.remove(under_way, standing.version).await {
            tracing::debug!(%error, "a completed sign-in stays noted as under way");
        }
    }

    async fn pending(&self, state: &str, now: Timestamp) -> Result<(Key, SealedItem, Pending), OAuthError> {
        let key = state_key(state);
        let item = self.vault.load(&key).await?.ok_or(OAuthError::State)?;
        if item.content.expires <= now {
            self.use_up(&key, &item).await?;
            return Err(OAuthError::State);
        }
        // One that another version started is started anew.
        let pending =
            serde_json::from_str(item.content.text.expose_secret()).map_err(|_| OAuthError::State)?;
        Ok((key, item, pending))
    }

    async fn use_up(&self, key: &Key, item: &SealedItem) -> Result<(), OAuthError> {
        self.vault.remove(key, item.state.version).await.map_err(changed_means_used)
    }
}

impl Pending {
    /// What is kept of a user who is under way: the id of the client that the browser was sent off with.
    fn under_way(&self, resource: &str, expires: Timestamp) -> Content {
        Content { text: self.client.id.as_str().into(), ..self.content(resource, expires) }
    }

    fn content(&self, resource: &str, expires: Timestamp) -> Content {
        Content {
            owner: Owner::User(self.starter.clone()).as_text(),
            issuer: self.server.issuer.clone(),
            resource: resource.to_owned(),
            text: serde_json::to_string(self).unwrap_or_default().into(),
            sub: self.starter.sub.clone(),
            usable: true,
            expires,
        }
    }
}

/// A state is never written anywhere, only its hash: who reads the table cannot complete anything.
fn state_key(state: &str) -> Key {
    Key::new("state", &[&hex(&digest(&[state]))])
}

fn changed_means_used(error: VaultError) -> OAuthError {
    match error {
        VaultError::Changed => OAuthError::State,
        error => error.into(),
    }
}
