//! A user's way to a grant: started here, consented to at the authorization server, completed here.
//!
//! What is kept meanwhile is one item under the hash of a random state, sealed, for ten minutes. It is
//! bound to the user who started; the redirect parks its code there once; completing takes the item away
//! before anything is exchanged, so that nothing happens twice.

use jiff::{SignedDuration, Timestamp, Unit};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    authorization_code::{Redirect, arrive, depart},
    config::{GrantType, OAuthConfig, Owner},
    discovery::AuthorizationServer,
    error::{About, ClientKind, EntryFacts, OAuthError},
    grant::{Ended, Grant, KEPT, StoredClient, grant_key, in_clear, optional_secret, union},
    metadata::is_same_issuer,
    registration::{ClientIdentity, Registered, known_client, register},
    shown::Shown,
    token::{Exchange, Exchanged, exchange},
    tokens::OAuth,
    verdict::{Verdict, verdict},
};
use crate::{
    config::{digest, hex},
    store::{Content, Item, Key, StoreError},
};

/// How long a user may take.
const STATE_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// A client that seems to be forgotten is replaced at most this often.
const REPLACE_AT_MOST_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// How long a start is remembered that was not completed.
const START_REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 30);
/// A registration is not used in the last moments of its life.
const CLIENT_MARGIN: SignedDuration = SignedDuration::from_mins(15);

/// Whether a client that registered itself earlier will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// It will.
    Kept,
    /// It will, unless it has this id: a user was sent off with that one and never came back, as happens where the
    /// authorization server has forgotten the client and shows the user an error page.
    KeptUnless(Option<String>),
    /// A new one is registered: what is kept does not work.
    Anew,
}

impl Registration {
    /// Returns true if a client that registered itself earlier will do. One that is suspected is registered anew,
    /// but not again and again: users also close pages.
    fn takes(&self, client: &StoredClient, now: Timestamp) -> bool {
        match self {
            Self::Kept => true,
            Self::KeptUnless(suspected) => {
                let is_young = client.replaced_at.is_some_and(|at| now < at + REPLACE_AT_MOST_EVERY);
                is_young || suspected.as_ref() != Some(&client.id)
            }
            Self::Anew => false,
        }
    }
}

/// What a sign-in is for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The agent whose server is signed in to.
    pub agent_id: &'a str,
    /// Who starts it, and alone may complete it.
    pub starter: &'a str,
    /// Whose the tokens will be.
    pub owner: &'a Owner,
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
}

/// A sign-in whose user is back, in the hands of the user who started it.
pub struct Arrival {
    key: Key,
    item: Item,
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
    starter: String,
    owner: Owner,
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
        let server = self.discover(config).await?;
        if server.grant != GrantType::AuthorizationCode {
            let lacks = "signs in clients alone, no users";
            return Err(OAuthError::NotOffered { issuer: Shown::new(&server.issuer), lacks });
        }
        self.check_pin(config, &server.issuer).await?;
        let earlier = self.store.load(&grant_key(config, purpose.owner)).await?;
        let earlier = earlier.and_then(|item| Grant::read(&item.content).ok());
        let earlier = earlier.filter(|grant| is_same_issuer(&grant.issuer, &server.issuer));
        let under_way = Key::new("under_way", &[grant_key(config, purpose.owner).as_str(), purpose.starter]);
        let registration = match registration {
            Registration::Kept => Registration::KeptUnless(match earlier.as_ref() {
                // What earlier versions granted does not say where its registration is, so that it was not forgotten.
                Some(Grant { ended: Some(Ended::ClientForgotten), client, .. }) => Some(client.id.clone()),
                _ => self.never_completed(&under_way, now).await?,
            }),
            anew => anew,
        };
        let client = self.client(config, &server, identity, registration, now).await;
        let mut client = client.map_err(|error| error.without(config))?;
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.client.id == client.id) {
            client.auth_method = client.auth_method.or_else(|| earlier.client.auth_method.clone());
        }
        let scopes = earlier.map_or_else(|| server.scopes.clone(), |grant| grant.scopes_to_ask_for(&server));
        let departure = depart(config, &server, &client.id, &identity.redirect_uri, &scopes)?;
        let expires = (now + STATE_LIFE).round(Unit::Second).unwrap_or(now + STATE_LIFE);
        let pending = Pending {
            agent_id: purpose.agent_id.to_owned(),
            starter: purpose.starter.to_owned(),
            owner: purpose.owner.clone(),
            grant_key: grant_key(config, purpose.owner).as_str().to_owned(),
            redirect_uri: identity.redirect_uri.clone(),
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
        self.store.put(&key, &pending.content(&resource, expires), None).await?;
        if pending.client.kind(config) == ClientKind::Registered {
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
    pub async fn callback(&self, redirect: &Redirect, now: Timestamp) -> Result<Arrived, OAuthError> {
        let state = redirect.state.as_deref().ok_or(OAuthError::State)?;
        let (key, item, mut pending) = self.pending(state, now).await?;
        if pending.code.is_some() {
            return Err(OAuthError::State);
        }
        match arrive(redirect, &pending.server) {
            Ok(code) => pending.code = Some(code),
            Err(error) => {
                self.use_up(&key, &item).await?;
                let client = Some(pending.client_kind);
                let error = error.about(About { client, entry: pending.entry, ..About::default() });
                if verdict(&error) == Verdict::ClientForgotten {
                    self.forget_registration(&pending.server.issuer, &pending.client).await;
                }
                return Err(error.of_sign_in(&pending.redirect_uri));
            }
        }
        let content = pending.content(&item.content.resource, item.content.expires);
        let parked = self.store.put(&key, &content, Some(item.standing.version)).await;
        parked.map_err(changed_means_used)?;
        Ok(Arrived { agent_id: pending.agent_id, starter: pending.starter })
    }

    /// Takes up a sign-in whose user is back, for `user` to complete.
    ///
    /// # Errors
    /// [`OAuthError::State`], [`OAuthError::NotYet`]; [`OAuthError::OtherUser`], and the state is used up then.
    pub async fn arrival(&self, state: &str, user: &str, now: Timestamp) -> Result<Arrival, OAuthError> {
        let (key, item, pending) = self.pending(state, now).await?;
        if pending.starter != user {
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
        let under_way = Key::new("under_way", &[&pending.grant_key, &pending.starter]);
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

    /// Which client to be at a server; one that registered itself earlier, or does now, if need be.
    async fn client(
        &self,
        config: &OAuthConfig,
        server: &AuthorizationServer,
        identity: &ClientIdentity,
        registration: Registration,
        now: Timestamp,
    ) -> Result<StoredClient, OAuthError> {
        if let Some(client) = known_client(config, server, identity) {
            return Ok(StoredClient::known(client.client_id));
        }
        let key = client_key(&server.issuer, &identity.redirect_uri);
        let kept = self.store.load(&key).await?;
        let kept = kept.filter(|item| now < item.content.expires - CLIENT_MARGIN);
        let kept: Option<StoredClient> =
            kept.and_then(|item| serde_json::from_str(item.content.text.expose_secret()).ok());
        let replaces = kept.is_some();
        if let Some(client) = kept.filter(|client| registration.takes(client, now)) {
            return Ok(client);
        }
        let Registered { mut client, expires } = register(&self.posts, server, identity).await?;
        client.replaced_at = replaces.then_some(now);
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: identity.redirect_uri.clone(),
            text: serde_json::to_string(&client).unwrap_or_default().into(),
            usable: true,
            expires: expires.unwrap_or(now + KEPT),
        };
        self.replace(&key, &content).await?;
        Ok(client)
    }

    /// Forgets a client that registered itself, for all users; another one that has registered meanwhile stays.
    pub(super) async fn forget_registration(&self, issuer: &str, client: &StoredClient) {
        let Some(redirect_uri) = &client.redirect_uri else { return };
        let key = client_key(issuer, redirect_uri);
        let forgotten = async {
            let Some(item) = self.store.load(&key).await? else { return Ok(()) };
            let kept: Option<StoredClient> = serde_json::from_str(item.content.text.expose_secret()).ok();
            match kept.is_none_or(|kept| kept.id == client.id) {
                true => self.store.remove(&key, item.standing.version).await,
                false => Ok(()),
            }
        };
        match forgotten.await {
            Ok(()) => tracing::info!("External MCP: the client is registered anew at the next sign-in"),
            Err(StoreError::Changed) => {}
            Err(error) => tracing::warn!(%error, "External MCP: a registration was not forgotten"),
        }
    }

    /// Keeps how a client proved itself, with the client and with its registration.
    pub(super) async fn keep_method(
        &self,
        config: &OAuthConfig,
        issuer: &str,
        client: &mut StoredClient,
        worked: Option<&'static str>,
    ) {
        // A server that does not take the secret that it gave.
        let drops_secret = worked == Some("none") && client.secret.take().is_some();
        let Some(worked) =
            worked.filter(|worked| drops_secret || client.auth_method.as_deref() != Some(worked))
        else {
            return;
        };
        client.auth_method = Some(worked.to_owned());
        let Some(redirect_uri) =
            client.redirect_uri.as_ref().filter(|_| client.kind(config) == ClientKind::Registered)
        else {
            return;
        };
        let key = client_key(issuer, redirect_uri);
        let written = async {
            let Some(item) = self.store.load(&key).await? else { return Ok(()) };
            let kept: Option<StoredClient> = serde_json::from_str(item.content.text.expose_secret()).ok();
            if kept.is_none_or(|kept| kept.id != client.id) {
                return Ok(());
            }
            let text = serde_json::to_string(client).unwrap_or_default().into();
            let content = Content { text, ..item.content };
            self.store.put(&key, &content, Some(item.standing.version)).await.map(drop)
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "how a client proves itself was not kept with its registration");
        }
    }

    /// The id of the client that the same user was sent off with for the same grant, in a sign-in that was never
    /// completed; `None` if there is none.
    async fn never_completed(&self, under_way: &Key, now: Timestamp) -> Result<Option<String>, OAuthError> {
        let item = self.store.load(under_way).await?.filter(|item| now < item.content.expires);
        Ok(item.map(|item| item.content.text.expose_secret().to_owned()))
    }

    /// Notes that a sign-in is completed. A redirect alone is no sign that the client is known: some servers send
    /// users back with any client id, and refuse the code.
    async fn completed(&self, under_way: &Key) {
        let Ok(Some(standing)) = self.store.peek(under_way).await else { return };
        if let Err(error) = self.store.remove(under_way, standing.version).await {
            tracing::debug!(%error, "a completed sign-in stays noted as under way");
        }
    }

    /// Writes over whatever is there.
    async fn replace(&self, key: &Key, content: &Content) -> Result<(), OAuthError> {
        // Somebody else may write in between, not again and again.
        for _ in 0..3 {
            let standing = self.store.peek(key).await?;
            match self.store.put(key, content, standing.map(|standing| standing.version)).await {
                Err(StoreError::Changed) => {}
                written => return Ok(written.map(drop)?),
            }
        }
        Err(StoreError::Changed.into())
    }

    async fn pending(&self, state: &str, now: Timestamp) -> Result<(Key, Item, Pending), OAuthError> {
        let key = state_key(state);
        let item = self.store.load(&key).await?.ok_or(OAuthError::State)?;
        if item.content.expires <= now {
            self.use_up(&key, &item).await?;
            return Err(OAuthError::State);
        }
        let pending = serde_json::from_str(item.content.text.expose_secret());
        Ok((key, item, pending.map_err(|_| StoreError::Unreadable)?))
    }

    async fn use_up(&self, key: &Key, item: &Item) -> Result<(), OAuthError> {
        self.store.remove(key, item.standing.version).await.map_err(changed_means_used)
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
            usable: true,
            expires,
        }
    }
}

/// Where a client that registered itself is kept.
fn client_key(issuer: &str, redirect_uri: &str) -> Key {
    Key::new("client", &[issuer, redirect_uri])
}

/// A state is never written anywhere, only its hash: who reads the table cannot complete anything.
fn state_key(state: &str) -> Key {
    Key::new("state", &[&hex(&digest(&[state]))])
}

fn changed_means_used(error: StoreError) -> OAuthError {
    match error {
        StoreError::Changed => OAuthError::State,
        error => error.into(),
    }
}
