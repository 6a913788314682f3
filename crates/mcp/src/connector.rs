//! Opening connections: signing in, beginning as the server wants it, trying once more where it refuses.
//!
//! Sets no deadline of its own: the caller bounds each call, and dropping one ends it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use auth::{Credential, SignIn};
use egress::{EgressError, HttpClient};
use jiff::Timestamp;
use rmcp::{
    ClientLifecycleMode, ClientServiceExt,
    model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion},
    transport::{
        common::client_side_sse::ExponentialBackoff,
        streamable_http_client::{StreamableHttpClientTransport, StreamableHttpClientTransportConfig},
    },
};

use crate::{
    any_transport::AnyTransport,
    connection::Connection,
    error::McpError,
    explain::Context,
    message_memory::MessageMemory,
    server::{McpServer, ServerKey, TransportKind},
    sse::SseTransport,
    wire::Wire,
};

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
    memory: MessageMemory,
}

/// How a connection begins, and so which revisions it can settle on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// With `initialize`: 2024-11-05 to 2025-11-25.
    Stateful,
    /// With `server/discover`: 2026-07-28.
    Stateless,
}

impl Connector {
    /// Connections over `http`, signed in to by `sign_in`.
    pub fn new(http: HttpClient, sign_in: SignIn) -> Self {
        Self {
            http,
            sign_in,
            first_try: Lifecycle::Stateful,
            known: Arc::default(),
            memory: MessageMemory::default(),
        }
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
        let credential = self.another(server, rejected, now).await?;
        match self.open(server, credential.clone()).await {
            // Another process renewed that token earlier: the server may have ended it since.
            Err(McpError::Unauthorized) if !credential.is_issued_here() => {
                let credential = self.another(server, &credential, now).await?;
                Ok((self.open(server, credential.clone()).await?, credential))
            }
            opened => Ok((opened?, credential)),
        }
    }

    /// A credential other than `rejected`.
    ///
    /// # Errors
    /// [`McpError::Auth`]; [`McpError::Unauthorized`] where there is no other.
    async fn another(
        &self,
        server: &McpServer,
        rejected: &Credential,
        now: Timestamp,
    ) -> Result<Credential, McpError> {
        if !rejected.signs_in() {
            return Err(McpError::Unauthorized);
        }
        let credential = self.sign_in.renewed(&server.auth, rejected, now).await?;
        if credential.is_same(rejected) {
            return Err(McpError::Unauthorized);
        }
        Ok(credential.with(&server.extra_headers))
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
        let forbidden = McpError::Forbidden { signed_in: held.signs_in(), message: None };
        let credential = credential.ok_or(forbidden)?.with(&server.extra_headers);
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
                    McpError::Unauthorized
                    | McpError::Forbidden { .. }
                    | McpError::InsufficientScope { .. } => error,
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
        let (lifecycle, request) = match lifecycle {
            Lifecycle::Stateful => (ClientLifecycleMode::Initialize, "initialize"),
            Lifecycle::Stateless => {
                let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
                (ClientLifecycleMode::Discover { preferred_versions }, "server/discover")
            }
        };
        let wire = Wire::new(self.http.clone(), credential, self.memory.clone());
        let context = Context { server, wire: &wire, request, has_spoken: false };
        let transport = match server.transport {
            TransportKind::Sse => {
                let opened = SseTransport::open(wire.clone(), &server.url).await;
                AnyTransport::Sse(opened.map_err(|error| context.wire(&error))?)
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
        let service = service.map_err(|error| context.initialize(error))?;
        let connection = Connection::new(service, wire.clone(), server.clone());
        match ProtocolVersion::KNOWN_VERSIONS
            .iter()
            .any(|known| known.as_str() == connection.protocol_version())
        {
            true => Ok(connection),
            false => {
                connection.close().await;
                let reason = "its revision of the protocol is none that this client knows".to_owned();
                Err(McpError::BadAnswer { request, reason })
            }
        }
    }
}

/// Whether a server may want to be begun with otherwise: it says that there is no such method, that it
/// speaks no such revision, or with a status that it wants something else.
fn wants_another_lifecycle(refused: &McpError) -> bool {
    match refused {
        McpError::Status { status, .. } => matches!(status, 400 | 404 | 405),
        McpError::Rejected { code, .. } => matches!(code, -32601 | -32602 | -32600 | -32020 | -32022),
        _ => false,
    }
}

fn client_config() -> ClientConfig {
    let client = Implementation::new("mcp-agents", env!("CARGO_PKG_VERSION"));
    let mut info = ClientConfig::new(ClientCapabilities::default(), client);
    info.protocol_version = ProtocolVersion::V_2025_11_25;
    info
}
