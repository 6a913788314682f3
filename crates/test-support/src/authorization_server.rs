//! An authorization server and the MCP server whose tokens it gives, on one loopback port, with faults.
//!
//! It runs in the test's own process and stops with the value that [`AuthorizationServer::start`] gives. A test
//! sets its [`Settings`], queues a [`Fault`] for each of the next token requests, and reads what it was asked. The
//! rules that tests rely on are kept: a code is good once, for its client, redirect URI and PKCE verifier; a
//! rotating refresh token is good once, and its second use revokes the grant (RFC 9700 §4.14.2). It has no pages:
//! [`AuthorizationServer::agree`] is the user who agrees in a browser.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use url::{Url, form_urlencoded};

/// How often a test looks whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the server offers and says of itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether each refresh replaces the refresh token.
    pub rotates: bool,
    /// `expires_in` of access tokens, in seconds.
    pub expires_in: u64,
    /// Whether clients may register themselves: whether the metadata has a `registration_endpoint`, and that works.
    pub registers: bool,
    /// The path of the authorization server's metadata; every other place answers 404.
    pub metadata_path: &'static str,
    /// Members of the authorization server's metadata that differ from the usual ones; `null` leaves one out.
    pub metadata: Map<String, Value>,
    /// Whether the MCP server has metadata of its own.
    pub has_resource_metadata: bool,
    /// Whether the MCP server's 401 says where its metadata is.
    pub challenges: bool,
    /// `resource` in the MCP server's metadata; `None` stands for its URL.
    pub resource: Option<String>,
    /// The authorization servers in the MCP server's metadata; `None` stands for this one.
    pub authorization_servers: Option<Vec<String>>,
    /// Whether a client's secret is taken in the form alone, and not as HTTP Basic.
    pub takes_secrets_in_form_alone: bool,
    /// Scopes that a registration may not ask for.
    pub refused_scopes: Vec<&'static str>,
}

/// What goes wrong with one token request. The server has then done what it was asked, unless it refuses.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It refuses with this status and error code, and does nothing.
    Refuse(u16, &'static str),
    /// The connection ends before the answer is complete.
    LoseAnswer,
    /// The answer is no JSON.
    Garble,
    /// The answer waits until the semaphore has a permit.
    Hold(Arc<Semaphore>),
}

#[derive(Default)]
struct Known {
    settings: Settings,
    faults: VecDeque<Fault>,
    /// Client ids, with the secret of those that have one.
    clients: HashMap<String, Option<String>>,
    codes: HashMap<String, Code>,
    /// Every refresh token that was ever given, with the number of its grant.
    refresh_tokens: HashMap<String, usize>,
    /// The refresh token of each grant that is good now; `None` if the grant is revoked.
    grants: Vec<Option<String>>,
    given: usize,
    token_requests: Vec<HashMap<String, String>>,
    registrations: Vec<Value>,
    paths: Vec<String>,
}

/// What a code was given for.
struct Code {
    client_id: String,
    redirect_uri: String,
    challenge: String,
}

/// An error answer of OAuth: its status and code.
type Refusal = (u16, &'static str);

/// A running authorization server; dropping it stops it.
pub struct AuthorizationServer {
    origin: String,
    known: Arc<Mutex<Known>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    origin: String,
    known: Arc<Mutex<Known>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotates: true,
            expires_in: 3_600,
            registers: true,
            metadata_path: "/.well-known/oauth-authorization-server",
            metadata: Map::new(),
            has_resource_metadata: true,
            challenges: true,
            resource: None,
            authorization_servers: None,
            takes_secrets_in_form_alone: false,
            refused_scopes: Vec::new(),
        }
    }
}

impl AuthorizationServer {
    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(settings: Settings) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let known = Arc::new(Mutex::new(Known { settings, ..Known::default() }));
        let shared = Shared { origin: origin.clone(), known: known.clone() };
        let router = Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        Ok(Self { origin, known, task })
    }

    /// Its issuer, which is its origin.
    pub fn issuer(&self) -> &str {
        &self.origin
    }

    /// The URL of the MCP server that it protects.
    pub fn mcp_url(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Changes what it offers.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.known).settings);
    }

    /// Spoils the next token request that no earlier fault is meant for.
    pub fn spoil_next(&self, fault: Fault) {
        lock(&self.known).faults.push_back(fault);
    }

    /// Makes a client known, with a secret if it has one.
    pub fn add_client(&self, id: &str, secret: Option<&str>) {
        lock(&self.known).clients.insert(id.to_owned(), secret.map(str::to_owned));
    }

    /// Forgets every client.
    pub fn forget_clients(&self) {
        lock(&self.known).clients.clear();
    }

    /// Plays the user's browser and the user who agrees: gives the redirect that follows, with `code`, `state` and
    /// `iss`.
    ///
    /// # Errors
    /// A parameter is missing, or there is no such client: a browser would show an error page.
    pub fn agree(&self, authorization_url: &Url) -> Result<Url, String> {
        let asked: HashMap<String, String> = authorization_url.query_pairs().into_owned().collect();
        let value = |name: &str| asked.get(name).cloned().ok_or(format!("no {name} in {authorization_url}"));
        let (client_id, redirect_uri) = (value("client_id")?, value("redirect_uri")?);
        let known = &mut *lock(&self.known);
        // The id of a client that publishes its own metadata is a URL.
        if !known.clients.contains_key(&client_id) && !client_id.starts_with("https://") {
            return Err(format!("there is no client {client_id}"));
        }
        let mut redirect = Url::parse(&redirect_uri).map_err(|error| error.to_string())?;
        let code = Code { client_id, redirect_uri, challenge: value("code_challenge")? };
        known.given += 1;
        let name = format!("code-{}", known.given);
        let parameters = [("code", name.as_str()), ("state", &value("state")?), ("iss", &self.origin)];
        redirect.query_pairs_mut().extend_pairs(parameters);
        known.codes.insert(name, code);
        Ok(redirect)
    }

    /// The forms of all token requests so far.
    pub fn token_requests(&self) -> Vec<HashMap<String, String>> {
        lock(&self.known).token_requests.clone()
    }

    /// How many token requests had this `grant_type`.
    pub fn count(&self, grant_type: &str) -> usize {
        let is_one =
            |form: &&HashMap<String, String>| form.get("grant_type").is_some_and(|asked| asked == grant_type);
        lock(&self.known).token_requests.iter().filter(is_one).count()
    }

    /// Waits until so many token requests have come with this `grant_type`.
    pub async fn seen(&self, grant_type: &str, count: usize) {
        while self.count(grant_type) < count {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The bodies of all registrations so far, those that were refused too.
    pub fn registrations(&self) -> Vec<Value> {
        lock(&self.known).registrations.clone()
    }

    /// The paths of all requests so far.
    pub fn paths(&self) -> Vec<String> {
        lock(&self.known).paths.clone()
    }
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path();
    let settings = {
        let known = &mut *lock(&shared.known);
        known.paths.push(path.to_owned());
        known.settings.clone()
    };
    match path {
        "/mcp" => shared.refuse_without_token(&settings),
        "/.well-known/oauth-protected-resource/mcp" if settings.has_resource_metadata => Json(json!({
            "resource": settings.resource.unwrap_or_else(|| format!("{}/mcp", shared.origin)),
            "authorization_servers":
                settings.authorization_servers.unwrap_or_else(|| vec![shared.origin.clone()]),
        }))
        .into_response(),
        path if path == settings.metadata_path => Json(shared.metadata(&settings)).into_response(),
        "/register" if settings.registers => shared.register(&settings, &body),
        "/token" => shared.token(&settings, &headers, &body).await,
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Shared {
    fn refuse_without_token(&self, settings: &Settings) -> Response {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", self.origin);
        let challenge = match settings.challenges {
            true => format!(r#"Bearer resource_metadata="{metadata}""#),
            false => "Bearer".to_owned(),
        };
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
    }

    fn metadata(&self, settings: &Settings) -> Value {
        let at = |path: &str| format!("{}{path}", self.origin);
        let mut metadata = json!({
            "issuer": self.origin,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "authorization_response_iss_parameter_supported": true,
        });
        if settings.registers {
            metadata["registration_endpoint"] = at("/register").into();
        }
        if let Some(members) = metadata.as_object_mut() {
            members.extend(settings.metadata.clone());
            members.retain(|_, value| !value.is_null());
        }
        metadata
    }

    fn register(&self, settings: &Settings, body: &Bytes) -> Response {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let known = &mut *lock(&self.known);
        known.registrations.push(asked.clone());
        let scopes = asked["scope"].as_str().unwrap_or_default();
        if scopes.split(' ').any(|scope| settings.refused_scopes.contains(&scope)) {
            return refuse((400, "invalid_client_metadata"));
        }
        let id = format!("registered-{}", known.registrations.len());
        known.clients.insert(id.clone(), None);
        let mut given = asked;
        given["client_id"] = id.into();
        (StatusCode::CREATED, Json(given)).into_response()
    }

    async fn token(&self, settings: &Settings, headers: &HeaderMap, body: &Bytes) -> Response {
        let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        let (given, fault) = {
            let known = &mut *lock(&self.known);
            known.token_requests.push(form.clone());
            let fault = known.faults.pop_front();
            let given = match &fault {
                Some(Fault::Refuse(status, code)) => Err((*status, *code)),
                _ => known.give(settings, headers, &form),
            };
            (given, fault)
        };
        match fault {
            Some(Fault::LoseAnswer) => {
                let ends = async { Err::<Bytes, _>(std::io::Error::other("the connection ends here")) };
                return Response::new(Body::from_stream(futures::stream::once(ends)));
            }
            Some(Fault::Garble) => return "access_token".into_response(),
            Some(Fault::Hold(released)) => drop(released.acquire().await),
            Some(Fault::Refuse(..)) | None => {}
        }
        given.map_or_else(refuse, |tokens| Json(tokens).into_response())
    }
}

impl Known {
    fn give(
        &mut self,
        settings: &Settings,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<Value, Refusal> {
        let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let client_id = self.client(settings, headers, form)?;
        let refresh = match value("grant_type") {
            "authorization_code" => {
                let code = self.codes.remove(value("code")).ok_or((400, "invalid_grant"))?;
                let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(value("code_verifier")));
                let is_its = code.client_id == client_id
                    && code.redirect_uri == value("redirect_uri")
                    && code.challenge == challenge;
                if !is_its {
                    return Err((400, "invalid_grant"));
                }
                self.grants.push(None);
                Some(self.new_refresh_token(self.grants.len() - 1))
            }
            "refresh_token" => {
                let token = value("refresh_token");
                let grant = *self.refresh_tokens.get(token).ok_or((400, "invalid_grant"))?;
                if self.grants[grant].as_deref() != Some(token) {
                    // A second use: it was stolen, or its user has lost count.
                    self.grants[grant] = None;
                    return Err((400, "invalid_grant"));
                }
                settings.rotates.then(|| self.new_refresh_token(grant))
            }
            "client_credentials" => None,
            _ => return Err((400, "unsupported_grant_type")),
        };
        self.given += 1;
        let mut tokens = json!({
            "access_token": format!("access-{}", self.given),
            "token_type": "Bearer",
            "expires_in": settings.expires_in,
        });
        if let Some(refresh) = refresh {
            tokens["refresh_token"] = refresh.into();
        }
        Ok(tokens)
    }

    fn new_refresh_token(&mut self, grant: usize) -> String {
        let token = format!("refresh-{}", self.refresh_tokens.len() + 1);
        self.refresh_tokens.insert(token.clone(), grant);
        self.grants[grant] = Some(token.clone());
        token
    }

    /// The id of the client that a token request is from, if it proves to be that client.
    fn client(
        &self,
        settings: &Settings,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, Refusal> {
        let basic = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| BASE64_STANDARD.decode(value.to_str().ok()?.strip_prefix("Basic ")?).ok())
            .and_then(|pair| String::from_utf8(pair).ok())
            .filter(|_| !settings.takes_secrets_in_form_alone);
        let (id, secret) = match basic.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((id, secret)) => (id.to_owned(), Some(secret.to_owned())),
            None => {
                let id = form.get("client_id").cloned().unwrap_or_default();
                (id, form.get("client_secret").cloned())
            }
        };
        let is_document = id.starts_with("https://");
        match self.clients.get(&id) {
            Some(known) if *known == secret => Ok(id),
            None if is_document => Ok(id),
            _ => Err((401, "invalid_client")),
        }
    }
}

fn refuse((status, code): Refusal) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::RETRY_AFTER, "0")], Json(json!({"error": code}))).into_response()
}
