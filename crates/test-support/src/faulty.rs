//! MCP servers that misbehave as they are told.
//!
//! One process serves any number of servers, each at `/{name}/mcp`. `PUT /{name}` with a [`Behaviour`]
//! makes or changes one, `GET /{name}` tells what it was asked ([`Seen`]), `POST /{name}/revoke` makes
//! it refuse every token that it has seen so far. A [`FaultyServer`] is one of them in the process of a test in
//! Rust. Speaks streamable HTTP with JSON answers or event streams, by hand: what is wrong on the wire cannot be
//! had from a library that does it right.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The name of the one server that a [`FaultyServer`] is.
const ONLY: &str = "faulty";
const SESSION_ID: &str = "mcp-session-id";
const SESSION: &str = "session-";

/// What one server does. The default is a good server with one tool, `echo`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The pages of its `tools/list`, as they go onto the wire.
    pub pages: Vec<Vec<Value>>,
    /// Gives this cursor after every page, whatever was asked for.
    pub repeat_cursor: Option<String>,
    /// Gives a new cursor after every page, for ever.
    pub endless: bool,
    /// Waits before each answer.
    pub delay_ms: u64,
    /// Never answers this method; `*` is every one.
    pub hang_on: Option<String>,
    /// Answers everything with this HTTP status and nothing else.
    pub status: Option<u16>,
    /// Answers everything with this body.
    pub body: Option<Body>,
    /// Refuses what carries no `Authorization`.
    pub require_auth: bool,
    /// Refuses the tokens seen so far when this method first comes.
    pub revoke_at: Option<String>,
    /// Names a tool after the token that it was sent, and quotes it in what tools give.
    pub quote_token: bool,
    /// Answers with event streams instead of JSON.
    pub event_stream: bool,
    /// Gives session ids and insists on them.
    pub sessions: bool,
    /// Forgets the session when this method first comes: answers it and whatever else names that session with 404.
    pub forget_session_at: Option<String>,
    /// What a tool gives, by its name: `{"result": …}`, `{"error": …}`. Others echo their arguments.
    pub calls: HashMap<String, Value>,
}

/// A body that is no MCP.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A web page.
    Html,
    /// `application/json` that is no JSON.
    Garbled,
    /// JSON that is no JSON-RPC.
    OtherJson,
    /// Nothing.
    Empty,
    /// Nine megabytes of JSON.
    Huge,
    /// A list of a million and a half tools that are none, in less than eight megabytes.
    ManyValues,
}

/// What a server was asked.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// Requests by JSON-RPC method, `DELETE` for ended sessions.
    pub requests: BTreeMap<String, usize>,
    /// How many different `Authorization` values came.
    pub tokens: usize,
    /// The arguments of each `tools/call`, in order.
    pub calls: Vec<Value>,
}

#[derive(Default)]
struct Server {
    behaviour: Behaviour,
    seen: Seen,
    tokens: BTreeSet<String>,
    revoked: BTreeSet<String>,
    /// How many sessions have begun: their ids are `session-1`, `session-2`, …
    sessions: usize,
    /// How many of those are forgotten, the first ones.
    forgotten: usize,
}

type Servers = Arc<Mutex<HashMap<String, Server>>>;

impl Default for Behaviour {
    fn default() -> Self {
        let echo = json!({
            "name": "echo",
            "description": "Gives back what it is given",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        });
        Self {
            pages: vec![vec![echo]],
            repeat_cursor: None,
            endless: false,
            delay_ms: 0,
            hang_on: None,
            status: None,
            body: None,
            require_auth: false,
            revoke_at: None,
            quote_token: false,
            event_stream: false,
            sessions: false,
            forget_session_at: None,
            calls: HashMap::new(),
        }
    }
}

/// One server in this process, on a free loopback port; dropping it stops it.
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

    /// The URL of its MCP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has it behave otherwise from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        lock(&self.servers).entry(ONLY.to_owned()).or_default().behaviour = behaviour;
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Seen {
        lock(&self.servers).entry(ONLY.to_owned()).or_default().seen.clone()
    }

    /// How many requests of a JSON-RPC method it was sent so far.
    pub fn count(&self, method: &str) -> usize {
        self.seen().requests.get(method).copied().unwrap_or_default()
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The servers and what steers them.
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

fn lock(servers: &Servers) -> MutexGuard<'_, HashMap<String, Server>> {
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
    let mut servers = lock(&servers);
    let server = servers.entry(name).or_default();
    server.revoked.extend(server.tokens.clone());
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
        let allowed = server.note(&method, token, &request);
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
        return rubbish(body);
    }
    let session = match session {
        Ok(session) => session,
        Err(status) => return status.into_response(),
    };
    let Some(id) = request.get("id") else { return StatusCode::ACCEPTED.into_response() };
    let mut message = behaviour.outcome(&method, &request["params"]);
    if let Some(token) = token.filter(|_| behaviour.quote_token) {
        quote(&mut message, token);
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

impl Server {
    /// The id of the session that a request begins, `None` if it is in one; the status that refuses it.
    fn session(&mut self, method: &str, named: Option<&str>) -> Result<Option<String>, StatusCode> {
        if !self.behaviour.sessions {
            return Ok(None);
        }
        if method == "initialize" {
            self.sessions += 1;
            return Ok(Some(format!("{SESSION}{}", self.sessions)));
        }
        if self.behaviour.forget_session_at.take_if(|at| at == method).is_some() {
            self.forgotten = self.sessions;
        }
        let named = named.ok_or(StatusCode::BAD_REQUEST)?;
        let number = named.strip_prefix(SESSION).and_then(|number| number.parse::<usize>().ok());
        match number.filter(|number| *number > self.forgotten) {
            Some(_) => Ok(None),
            None => Err(StatusCode::NOT_FOUND),
        }
    }

    /// Notes a request; tells whether its token is taken.
    fn note(&mut self, method: &str, token: Option<&str>, request: &Value) -> bool {
        *self.seen.requests.entry(method.to_owned()).or_default() += 1;
        if let Some(token) = token {
            self.tokens.insert(token.to_owned());
            self.seen.tokens = self.tokens.len();
        }
        if self.behaviour.revoke_at.as_deref() == Some(method) {
            self.behaviour.revoke_at = None;
            self.revoked = self.tokens.clone();
        }
        if method == "tools/call" {
            self.seen.calls.push(request["params"]["arguments"].clone());
        }
        match token {
            Some(token) => !self.revoked.contains(token),
            None => !self.behaviour.require_auth,
        }
    }
}

impl Behaviour {
    fn outcome(&self, method: &str, params: &Value) -> Value {
        match method {
            "initialize" => json!({"result": {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "faulty", "version": "1"},
            }}),
            "tools/list" => self.page(params["cursor"].as_str()),
            "tools/call" => {
                let name = params["name"].as_str().unwrap_or_default();
                let echo = || json!({"result": {"content": [{"type": "text", "text": params["arguments"].to_string()}]}});
                self.calls.get(name).cloned().unwrap_or_else(echo)
            }
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        }
    }

    fn page(&self, cursor: Option<&str>) -> Value {
        let number: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
        let tools = self.pages.get(number).or(self.pages.last()).cloned().unwrap_or_default();
        let next = match (&self.repeat_cursor, number + 1) {
            (Some(same), _) => Some(same.clone()),
            (None, next) if self.endless || next < self.pages.len() => Some(next.to_string()),
            _ => None,
        };
        let mut result = json!({"tools": tools});
        if let Some(next) = next {
            result["nextCursor"] = next.into();
        }
        json!({"result": result})
    }
}

/// Puts the token into a list of tools and into what a tool gives.
fn quote(message: &mut Value, token: &str) {
    if let Some(tools) = message["result"]["tools"].as_array_mut() {
        tools.push(json!({"name": token, "inputSchema": {}}));
        tools.push(json!({"name": "quoting", "description": token, "inputSchema": {}}));
    }
    if let Some(content) = message["result"]["content"].as_array_mut() {
        content.push(json!({"type": "text", "text": format!("you sent {token}")}));
    }
}

fn rubbish(body: Body) -> Response {
    let json = |text: String| ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    match body {
        Body::Html => ([(header::CONTENT_TYPE, "text/html")], "<html>Welcome!</html>").into_response(),
        Body::Garbled => json("{\"jsonrpc\": \"2.0\", ".to_owned()),
        Body::OtherJson => json("{\"hello\": \"world\"}".to_owned()),
        Body::Empty => StatusCode::OK.into_response(),
        Body::ManyValues => json(format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[null{}]}}}}"#,
            ",null".repeat(1_500_000)
        )),
        Body::Huge => json(format!("[\"{}\"]", "x".repeat(9 * 1024 * 1024))),
    }
}
