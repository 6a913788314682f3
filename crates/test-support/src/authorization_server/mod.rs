//! A stand-in for an authorization server and its MCP server, on one loopback port, with faults.
//!
//! It runs in the test's own process and stops when the [`AuthorizationServer`] is dropped. A test sets its [`Settings`],
//! queues a [`Fault`] for each of the next token requests, and reads the requests that arrived. It enforces the rules that
//! tests rely on: a code is valid once, for its client, redirect URI and PKCE verifier; a rotating refresh token is valid
//! once, and its second use revokes the grant (RFC 9700 §4.14.2). It has no pages: [`AuthorizationServer::agree`] stands
//! for the user who consents in a browser. Used by the integration tests of `auth`.

mod settings;
mod state;

use std::{
    collections::HashMap,
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
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::{Url, form_urlencoded};

pub use settings::{Fault, Settings};
use state::{Code, Refusal, ServerState};

/// Pause between two checks of a waiting test, in milliseconds.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// A running authorization server. Dropping it stops the server.
pub struct AuthorizationServer {
    origin: String,
    state: Arc<Mutex<ServerState>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    origin: String,
    state: Arc<Mutex<ServerState>>,
}

impl AuthorizationServer {
    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(settings: Settings) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(ServerState::new(settings)));
        let shared = Shared { origin: origin.clone(), state: state.clone() };
        let router = Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        Ok(Self { origin, state, task })
    }

    /// Returns the issuer, which is the server's origin.
    pub fn issuer(&self) -> &str {
        &self.origin
    }

    /// Returns the URL of the MCP server.
    pub fn mcp_url(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Changes the settings.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.state).settings);
    }

    /// Queues a fault for the next token request that has none.
    pub fn inject_fault(&self, fault: Fault) {
        lock(&self.state).faults.push_back(fault);
    }

    /// Adds a client, with a secret if it has one.
    pub fn add_client(&self, id: &str, secret: Option<&str>) {
        lock(&self.state).clients.insert(id.to_owned(), secret.map(str::to_owned));
    }

    /// Removes all clients.
    pub fn forget_clients(&self) {
        lock(&self.state).clients.clear();
    }

    /// Stands for the user's browser, and the user who consents. Returns the URL of the redirect, with `code`, `state` and
    /// `iss`.
    ///
    /// # Errors
    /// A parameter is missing, or the client is unknown. A real server would show an error page.
    pub fn agree(&self, authorization_url: &Url) -> Result<Url, String> {
        let asked: HashMap<String, String> = authorization_url.query_pairs().into_owned().collect();
        let value = |name: &str| asked.get(name).cloned().ok_or(format!("no {name} in {authorization_url}"));
        let (client_id, redirect_uri) = (value("client_id")?, value("redirect_uri")?);
        let state = &mut *lock(&self.state);
        // A client id that is a URL is that of a client ID metadata document.
        if !state.clients.contains_key(&client_id) && !client_id.starts_with("https://") {
            return Err(format!("there is no client {client_id}"));
        }
        let mut redirect = Url::parse(&redirect_uri).map_err(|error| error.to_string())?;
        let code = Code { client_id, redirect_uri, challenge: value("code_challenge")? };
        state.issued += 1;
        let name = format!("code-{}", state.issued);
        let parameters = [("code", name.as_str()), ("state", &value("state")?), ("iss", &self.origin)];
        redirect.query_pairs_mut().extend_pairs(parameters);
        state.codes.insert(name, code);
        Ok(redirect)
    }

    /// Returns the forms of all token requests so far.
    pub fn token_requests(&self) -> Vec<HashMap<String, String>> {
        lock(&self.state).token_requests.clone()
    }

    /// Returns the number of token requests with this `grant_type`.
    pub fn count(&self, grant_type: &str) -> usize {
        let is_one =
            |form: &&HashMap<String, String>| form.get("grant_type").is_some_and(|asked| asked == grant_type);
        lock(&self.state).token_requests.iter().filter(is_one).count()
    }

    /// Waits until `count` token requests with this `grant_type` have arrived.
    pub async fn wait_for(&self, grant_type: &str, count: usize) {
        while self.count(grant_type) < count {
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }

    /// Returns the bodies of all registration requests so far, refused ones included.
    pub fn registrations(&self) -> Vec<Value> {
        lock(&self.state).registrations.clone()
    }

    /// Returns the paths of all requests so far.
    pub fn paths(&self) -> Vec<String> {
        lock(&self.state).paths.clone()
    }
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<ServerState>) -> MutexGuard<'_, ServerState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path();
    let settings = {
        let state = &mut *lock(&shared.state);
        state.paths.push(path.to_owned());
        state.settings.clone()
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
        let state = &mut *lock(&self.state);
        state.registrations.push(asked.clone());
        let scopes = asked["scope"].as_str().unwrap_or_default();
        if scopes.split(' ').any(|scope| settings.refused_scopes.contains(&scope)) {
            return refuse((400, "invalid_client_metadata"));
        }
        let id = format!("registered-{}", state.registrations.len());
        state.clients.insert(id.clone(), None);
        let mut response = asked;
        response["client_id"] = id.into();
        (StatusCode::CREATED, Json(response)).into_response()
    }

    async fn token(&self, settings: &Settings, headers: &HeaderMap, body: &Bytes) -> Response {
        let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        let (response, fault) = {
            let state = &mut *lock(&self.state);
            state.token_requests.push(form.clone());
            let fault = state.faults.pop_front();
            let response = match &fault {
                Some(Fault::Refuse(status, code)) => Err((*status, *code)),
                _ => state.issue(settings, headers, &form),
            };
            (response, fault)
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
        response.map_or_else(refuse, |tokens| Json(tokens).into_response())
    }
}

fn refuse((status, code): Refusal) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(header::RETRY_AFTER, "0")], Json(json!({"error": code}))).into_response()
}
