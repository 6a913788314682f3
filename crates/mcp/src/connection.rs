//! Opening a connection, listing tools, calling one.
//!
//! Sets no deadline of its own but for closing: the caller bounds each call, and dropping one ends it.
//! Retries nothing ([`crate::Session`] signs in again); caches nothing ([`crate::ToolCache`] does).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auth::{Challenge, Credential, SignIn};
use egress::{EgressError, HttpClient};
use jiff::Timestamp;
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest,
        Implementation, JsonObject, ListToolsRequest, PaginatedRequestParams, ProtocolVersion, ServerResult,
        Tool,
    },
    service::{ClientInitializeError, RunningService, ServiceError},
    transport::streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig},
    transport::{DynamicTransportError, common::client_side_sse::ExponentialBackoff},
};

use crate::{
    error::McpError,
    server::{McpServer, ServerKey, TransportKind},
    sse::SseTransport,
    transport::{AnyTransport, Wire, WireError},
};

/// A list goes on for at most this many pages.
const MAX_PAGES: usize = 100;
/// More tools than any model can choose among; bounds what one server can make us keep.
const MAX_TOOLS: usize = 2_000;
/// What one list may weigh on the wire, all pages: far more than tools that people wrote.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// How long ending a session may take: it is a courtesy to the server, and the caller waits for it.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);
/// How often a broken event stream is taken up again, within the caller's deadline.
const STREAM_RETRIES: usize = 3;

/// How many servers are remembered not to take the first try.
const MAX_REMEMBERED: usize = 1_000;

/// Opens connections: the HTTP client and the sign-ins that they share. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    http: HttpClient,
    sign_in: SignIn,
    first_try: Lifecycle,
    /// How servers are spoken to that did not take the first try: the next connection begins with it.
    known: Arc<Mutex<HashMap<ServerKey, Lifecycle>>>,
}

/// How a connection begins, and so which revisions it can settle on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// With `initialize`: 2024-11-05 to 2025-11-25.
    Stateful,
    /// With `server/discover`: 2026-07-28.
    Stateless,
}

/// One initialized connection. [`Self::close`] it: a session left open costs the server memory.
pub struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    wire: Wire,
}

/// What a server lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolList {
    /// Its tools, all pages.
    pub tools: Vec<Tool>,
    /// What was left out because it is malformed, one line each.
    pub left_out: Vec<String>,
}

impl Connector {
    /// Connections over `http`, signed in to by `sign_in`.
    pub fn new(http: HttpClient, sign_in: SignIn) -> Self {
        Self { http, sign_in, first_try: Lifecycle::Stateful, known: Arc::default() }
    }

    /// The same, beginning otherwise with servers that nothing is known of. Most servers there are take
    /// `initialize`, which is why that comes first unless said here.
    pub fn beginning(self, first_try: Lifecycle) -> Self {
        Self { first_try, ..self }
    }

    /// The sign-ins, for whoever leads a user through one.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// What requests to `server` carry at `now`.
    ///
    /// # Errors
    /// [`McpError::Auth`].
    pub async fn credential(&self, server: &McpServer, now: Timestamp) -> Result<Credential, McpError> {
        Ok(self.sign_in.credential(&server.auth, now).await?.with(&server.extra_headers))
    }

    /// The HTTP client that connections are made with.
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    /// Signs in (or takes the kept credential) and connects; if the server refuses the credential,
    /// signs in anew and tries once more, since a kept token may have been revoked.
    ///
    /// # Errors
    /// [`McpError`] but for those of lists.
    #[tracing::instrument(name = "mcp.connect", skip_all, fields(mcp.url = server.shown_url()))]
    pub async fn connect(
        &self,
        server: &McpServer,
        now: Timestamp,
    ) -> Result<(Connection, Credential), McpError> {
        let credential = self.credential(server, now).await?;
        let mut opened = self.open(server, credential.clone()).await;
        // A pooled connection that the network has forgotten while this process was frozen.
        if matches!(&opened, Err(McpError::Egress(error)) if matches!(**error, EgressError::Broken { .. })) {
            opened = self.open(server, credential.clone()).await;
        }
        match opened {
            Err(McpError::Unauthorized) => self.reconnect(server, &credential, now).await,
            Err(McpError::InsufficientScope { scopes }) => {
                self.step_up(server, &credential, &scopes, now).await
            }
            opened => Ok((opened?, credential)),
        }
    }

    /// Connects with another credential than `rejected`.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`McpError::Unauthorized`] at once where there is no other credential.
    pub async fn reconnect(
        &self,
        server: &McpServer,
        rejected: &Credential,
        now: Timestamp,
    ) -> Result<(Connection, Credential), McpError> {
        if !rejected.signs_in() {
            return Err(McpError::Unauthorized);
        }
        let credential = self.sign_in.renewed(&server.auth, rejected, now).await?;
        if credential.is_same(rejected) {
            return Err(McpError::Unauthorized);
        }
        let credential = credential.with(&server.extra_headers);
        Ok((self.open(server, credential.clone()).await?, credential))
    }

    /// Connects with a credential that is good for `scopes` as well, which `held` is not.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`McpError::Forbidden`] where there are no scopes to ask for.
    pub async fn step_up(
        &self,
        server: &McpServer,
        held: &Credential,
        scopes: &[String],
        now: Timestamp,
    ) -> Result<(Connection, Credential), McpError> {
        let credential = self.sign_in.stepped_up(&server.auth, held, scopes, now).await?;
        let credential = credential.ok_or(McpError::Forbidden)?.with(&server.extra_headers);
        Ok((self.open(server, credential.clone()).await?, credential))
    }

    /// Connects with `credential` as it is, in the newest revision that both sides know of those that the
    /// first try can settle on. A server that does not take that is asked in the other way, and so at once
    /// the next time.
    ///
    /// # Errors
    /// [`McpError`] but for `Auth` and those of lists.
    pub async fn open(&self, server: &McpServer, credential: Credential) -> Result<Connection, McpError> {
        let key = server.key();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(known) = known {
            return self.open_as(server, credential, known).await;
        }
        let other = match self.first_try {
            _ if server.transport == TransportKind::Sse => {
                return self.open_as(server, credential, Lifecycle::Stateful).await;
            }
            Lifecycle::Stateful => Lifecycle::Stateless,
            Lifecycle::Stateless => Lifecycle::Stateful,
        };
        match self.open_as(server, credential.clone(), self.first_try).await {
            Err(refused) if wants_another_lifecycle(&refused) => {
                let opened = self.open_as(server, credential, other).await;
                if opened.is_ok() {
                    self.remember(key, other);
                }
                // What it said at first tells more, unless it is about the sign-in.
                opened.map_err(|error| match error {
                    McpError::Unauthorized | McpError::Forbidden | McpError::InsufficientScope { .. } => {
                        error
                    }
                    _ => refused,
                })
            }
            opened => opened,
        }
    }

    fn remember(&self, key: ServerKey, lifecycle: Lifecycle) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(key, lifecycle);
    }

    async fn open_as(
        &self,
        server: &McpServer,
        credential: Credential,
        lifecycle: Lifecycle,
    ) -> Result<Connection, McpError> {
        let lifecycle = match lifecycle {
            Lifecycle::Stateful => ClientLifecycleMode::Initialize,
            Lifecycle::Stateless => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
        };
        let wire = Wire::new(self.http.clone(), credential);
        let transport = match server.transport {
            TransportKind::Sse => {
                let opened = SseTransport::open(wire.clone(), &server.url).await;
                AnyTransport::Sse(opened.map_err(|error| explain_wire(&error))?)
            }
            TransportKind::StreamableHttp => {
                let mut config = StreamableHttpClientTransportConfig::with_uri(server.url.as_str());
                let mut retries = ExponentialBackoff::default();
                retries.max_times = Some(STREAM_RETRIES);
                config.retry_config = Arc::new(retries);
                let transport = StreamableHttpClientTransport::with_client(wire.clone(), config);
                AnyTransport::StreamableHttp(transport)
            }
        };
        // Boxed: rmcp's start-up is large, and what awaits this lies deep.
        let service = Box::pin(client_config().serve_with_lifecycle(transport, lifecycle)).await;
        let connection = Connection { service: service.map_err(explain_initialize)?, wire };
        match ProtocolVersion::KNOWN_VERSIONS
            .iter()
            .any(|known| known.as_str() == connection.protocol_version())
        {
            true => Ok(connection),
            false => {
                connection.close().await;
                Err(McpError::not_mcp("it shares no protocol revision with this client"))
            }
        }
    }
}

/// Whether a server may want to be begun with otherwise: it says that there is no such method, that it
/// speaks no such revision, or with a status that it wants something else.
fn wants_another_lifecycle(refused: &McpError) -> bool {
    match refused {
        McpError::Status { status } => matches!(status, 400 | 404 | 405),
        McpError::Rejected { code } => matches!(code, -32601 | -32602 | -32600 | -32020 | -32022),
        _ => false,
    }
}

impl Connection {
    /// Lists the server's tools, all pages.
    ///
    /// # Errors
    /// [`McpError`]; a list that does not end is one, a malformed tool is not.
    pub async fn list_tools(&self) -> Result<ToolList, McpError> {
        let mut list = ToolList::default();
        let received = self.wire.received();
        let mut seen = HashSet::new();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let request = ListToolsRequest { params: Some(params), ..Default::default() };
            let answer = self.service.send_request(ClientRequest::ListToolsRequest(request)).await;
            let page = match answer.map_err(explain_request)? {
                ServerResult::ListToolsResult(page) => page,
                _ => return Err(McpError::not_mcp("its answer to tools/list is no list of tools")),
            };
            if self.wire.received() - received > MAX_LIST_BYTES {
                return Err(McpError::TooMany { limit: MAX_LIST_BYTES, what: "bytes of tools" });
            }
            list.tools.extend(page.tools);
            if list.tools.len() > MAX_TOOLS {
                return Err(McpError::TooMany { limit: MAX_TOOLS, what: "tools" });
            }
            match page.next_cursor {
                None => {
                    list.left_out = self.wire.take_left_out();
                    return Ok(list);
                }
                Some(next) if !seen.insert(next.clone()) => return Err(McpError::CursorLoop),
                next => cursor = next,
            }
        }
        Err(McpError::TooMany { limit: MAX_PAGES, what: "pages of tools" })
    }

    /// Calls a tool. A result that says `isError` is a result.
    ///
    /// # Errors
    /// [`McpError`] but for those of lists.
    pub async fn call_tool(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, McpError> {
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        self.service.call_tool(params).await.map_err(explain_request)
    }

    /// The revision of the protocol that both sides speak.
    pub(crate) fn protocol_version(&self) -> String {
        self.service.peer_info().map_or_else(String::new, |info| info.protocol_version.to_string())
    }

    /// Whether it has ended without being closed: a stream that broke off, a server that went away.
    pub(crate) fn has_ended(&self) -> bool {
        self.service.is_transport_closed()
    }

    /// Ends the session, as far as that succeeds in half a second.
    pub async fn close(mut self) {
        if self.service.close_with_timeout(CLOSE_DEADLINE).await.is_err() {
            tracing::debug!("the connection's task ended abnormally");
        }
    }
}

fn client_config() -> ClientConfig {
    let client = Implementation::new("mcp-agents", env!("CARGO_PKG_VERSION"));
    let mut info = ClientConfig::new(ClientCapabilities::default(), client);
    info.protocol_version = ProtocolVersion::V_2025_11_25;
    info
}

fn explain_initialize(error: ClientInitializeError) -> McpError {
    match &error {
        ClientInitializeError::TransportError { error, .. } => explain_transport(error),
        ClientInitializeError::JsonRpcError(error) => McpError::Rejected { code: error.code.0 },
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            McpError::not_mcp("it shares no protocol revision with this client")
        }
        _ => McpError::not_mcp("it does not answer initialize as MCP asks"),
    }
}

fn explain_request(error: ServiceError) -> McpError {
    match &error {
        ServiceError::TransportSend(error) => explain_transport(error),
        ServiceError::McpError(error) => McpError::Rejected { code: error.code.0 },
        ServiceError::Timeout { timeout } => McpError::Timeout { after: *timeout },
        ServiceError::InputRequiredRoundsExceeded { .. } => {
            McpError::not_mcp("it asks a user for input, which a run cannot give")
        }
        _ => McpError::not_mcp("the connection ended before the answer"),
    }
}

/// rmcp boxes what the wire raised and does not name it as a source.
fn explain_transport(error: &DynamicTransportError) -> McpError {
    match error.error.downcast_ref::<WireError>() {
        Some(error) => explain_wire(error),
        None => McpError::not_mcp("the connection ended before the answer"),
    }
}

fn explain_wire(error: &WireError) -> McpError {
    match error {
        WireError::Client(error) => McpError::Egress(error.clone()),
        WireError::AuthRequired(_) => McpError::Unauthorized,
        WireError::InsufficientScope(refused) => {
            let challenge = Challenge::parse(&refused.www_authenticate_header);
            match challenge.wants_more_scopes() && !challenge.scopes.is_empty() {
                true => McpError::InsufficientScope { scopes: challenge.scopes },
                false => McpError::Forbidden,
            }
        }
        WireError::HttpStatus(status) => McpError::Status { status: status.status },
        WireError::SessionExpired => McpError::not_mcp("it ends its sessions at once"),
        WireError::UnexpectedContentType(_) => {
            McpError::not_mcp("its answer is neither JSON nor an event stream")
        }
        WireError::UnexpectedServerResponse(what) => McpError::not_mcp(what.clone()),
        WireError::Sse(_) | WireError::UnexpectedEndOfStream => {
            McpError::not_mcp("its event stream broke off before the answer")
        }
        WireError::Deserialize(_) => McpError::not_mcp("its answer is not JSON-RPC"),
        _ => McpError::not_mcp("the connection ended before the answer"),
    }
}
