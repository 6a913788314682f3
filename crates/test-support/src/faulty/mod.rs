//! MCP servers with configurable faults.
//!
//! One process serves any number of servers, each at `/{name}/mcp`. `PUT /{name}` with a [`Behaviour`] creates or
//! changes a server, `GET /{name}` returns the requests that it has received ([`Seen`]), and `POST /{name}/revoke`
//! makes it refuse every token received so far. A [`FaultyServer`] is one such server in the process of a Rust test.
//!
//! Implements streamable HTTP with JSON answers or event streams itself, because an MCP library cannot send these
//! faults.

mod behaviour;
mod state;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

pub use self::{
    behaviour::{Behaviour, Body},
    state::Seen,
};
use self::{
    behaviour::{invalid_response, quote_token},
    state::ServerState,
};

/// Name of the only server of a [`FaultyServer`].
const ONLY: &str = "faulty";
const SESSION_ID: &str = "mcp-session-id";

type Servers = Arc<Mutex<HashMap<String, ServerState>>>;

/// One server in this process, on a free loopback port. Stops when dropped.
pub struct FaultyServer {
    url: String,
    servers: Servers,
    task: JoinHandle<()>,
}

impl FaultyServer {
    /// Starts a server.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(behaviour: Behaviour) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/{ONLY}/mcp", listener.local_addr()?);
        let servers = Servers::default();
        let router = router_of(servers.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        let server = Self { url, servers, task };
        server.behave(behaviour);
        Ok(server)
    }

    /// Returns the URL of its MCP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes the server's behaviour.
    pub fn behave(&self, behaviour: Behaviour) {
        lock(&self.servers).entry(ONLY.to_owned()).or_default().behaviour = behaviour;
    }

    /// Returns the requests received so far.
    pub fn seen(&self) -> Seen {
        lock(&self.servers).entry(ONLY.to_owned()).or_default().seen.clone()
    }

    /// Returns the number of requests with this JSON-RPC method received so far.
    pub fn count(&self, method: &str) -> usize {
        self.seen().requests.get(method).copied().unwrap_or_default()
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the routes of the servers and of their configuration.
pub fn router() -> Router {
    router_of(Servers::default())
}

fn router_of(servers: Servers) -> Router {
    Router::new()
        .route("/{name}", put(configure).get(seen))
        .route("/{name}/revoke", post(revoke))
        .route("/{name}/mcp", post(answer).delete(end_session))
        .with_state(servers)
}

fn lock(servers: &Servers) -> MutexGuard<'_, HashMap<String, ServerState>> {
    servers.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn configure(
    State(servers): State<Servers>,
    Path(name): Path<String>,
    Json(behaviour): Json<Behaviour>,
) -> StatusCode {
    lock(&servers).entry(name).or_default().behaviour = behaviour;
    StatusCode::NO_CONTENT
}

async fn seen(State(servers): State<Servers>, Path(name): Path<String>) -> Json<Seen> {
    Json(lock(&servers).entry(name).or_default().seen.clone())
}

async fn revoke(State(servers): State<Servers>, Path(name): Path<String>) -> StatusCode {
    lock(&servers).entry(name).or_default().revoke_tokens();
    StatusCode::NO_CONTENT
}

async fn end_session(State(servers): State<Servers>, Path(name): Path<String>) -> StatusCode {
    let hangs = {
        let mut servers = lock(&servers);
        let server = servers.entry(name).or_default();
        *server.seen.requests.entry("DELETE".into()).or_default() += 1;
        server.behaviour.hang_on.as_deref() == Some("DELETE")
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    StatusCode::NO_CONTENT
}

async fn answer(
    State(servers): State<Servers>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let session = headers.get(SESSION_ID).and_then(|value| value.to_str().ok());
    let (behaviour, allowed, session) = {
        let mut servers = lock(&servers);
        let server = servers.entry(name).or_default();
        let allowed = server.record(&method, token, &request);
        (server.behaviour.clone(), allowed, server.session(&method, session))
    };
    tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    if behaviour.hang_on.as_ref().is_some_and(|hung| *hung == method || hung == "*") {
        std::future::pending::<()>().await;
    }
    if !allowed {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(status) = behaviour.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        return (status, [(header::LOCATION, "http://127.0.0.1:1/elsewhere")]).into_response();
    }
    if let Some(body) = behaviour.body {
        return invalid_response(body);
    }
    let session = match session {
        Ok(session) => session,
        Err(status) => return status.into_response(),
    };
    let Some(id) = request.get("id") else { return StatusCode::ACCEPTED.into_response() };
    let mut message = behaviour.response(&method, &request["params"]);
    if let Some(token) = token.filter(|_| behaviour.quote_token) {
        quote_token(&mut message, token);
    }
    message["jsonrpc"] = "2.0".into();
    message["id"] = id.clone();
    let mut response = if behaviour.event_stream {
        ([(header::CONTENT_TYPE, "text/event-stream")], format!("event: message\ndata: {message}\n\n"))
            .into_response()
    } else {
        Json(message).into_response()
    };
    if let Some(id) = session.and_then(|id| header::HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(SESSION_ID, id);
    }
    response
}
