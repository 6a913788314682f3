//! Opens MCP client sessions: signs in, sends the opening request that the server supports, and signs in again once
//! where the server refuses the credential.
//!
//! Sets no deadline: the caller limits the time of each call, and dropping the future cancels it. Called by
//! [`crate::Session`] and by the command line.

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
    client::McpClient,
    error::McpError,
    error_mapping::RequestContext,
    message_memory::MessageMemory,
    server::{McpServer, ServerKey, TransportKind},
    sse::SseTransport,
    wire::Wire,
};

/// Number of attempts to resume a broken event stream, within the caller's deadline.
const STREAM_RETRIES: usize = 3;
/// Maximum number of servers whose opening request is remembered. All are forgotten when one more is added.
const MAX_REMEMBERED: usize = 1_000;

/// Opens MCP client sessions. Holds the HTTP client and the sign-ins that all sessions share. Cheap to clone; clones
/// share their state.
#[derive(Clone)]
pub struct Connector {
    http: HttpClient,
    sign_in: SignIn,
    preferred_opening: OpeningRequest,
    /// Opening request per server, for servers that refused the preferred one and accepted the other.
    learned_openings: Arc<Mutex<HashMap<ServerKey, OpeningRequest>>>,
    memory: MessageMemory,
}

/// The first request of an MCP session. It decides which protocol revisions can be negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpeningRequest {
    /// `initialize`: revisions 2024-11-05 to 2025-11-25.
    Initialize,
    /// `server/discover`: revision 2026-07-28.
    Discover,
}

impl Connector {
    /// Creates a connector that sends over `http` and gets its credentials from `sign_in`.
    pub fn new(http: HttpClient, sign_in: SignIn) -> Self {
        Self {
            http,
            sign_in,
            preferred_opening: OpeningRequest::Initialize,
            learned_openings: Arc::default(),
            memory: MessageMemory::default(),
        }
    }

    /// Sets the opening request that is sent first to a server without a remembered one. Default: `initialize`, which
    /// most servers support.
    pub fn with_preferred_opening(self, preferred_opening: OpeningRequest) -> Self {
        Self { preferred_opening, ..self }
    }

    /// Returns the sign-ins, for callers that lead a user through a sign-in.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// Returns the credential for requests to `server` at `now`, with the entry's extra headers.
    ///
    /// # Errors
    /// [`McpError::Auth`].
    pub async fn credential(&self, server: &McpServer, now: Timestamp) -> Result<Credential, McpError> {
        Ok(self.sign_in.credential(&server.auth, now).await?.with(&server.extra_headers))
    }

    /// Returns the HTTP client that all sessions use.
    pub fn http(&self) -> &HttpClient {
        &self.http
    }

    /// Signs in (or takes the stored credential) and opens a session. If the server refuses the credential, signs in
    /// again and tries once more, because a stored token may have been revoked.
    ///
    /// # Errors
    /// [`McpError`], without the variants for lists.
    #[tracing::instrument(name = "mcp.connect", skip_all, fields(mcp.url = server.shown_url()))]
    pub async fn connect(
        &self,
        server: &McpServer,
        now: Timestamp,
    ) -> Result<(McpClient, Credential), McpError> {
        let credential = self.credential(server, now).await?;
        let mut opened = self.connect_with(server, credential.clone()).await;
        // A pooled HTTP connection may have been closed by the network while this process was frozen.
        if matches!(&opened, Err(McpError::Egress(error)) if matches!(**error, EgressError::Broken { .. })) {
            opened = self.connect_with(server, credential.clone()).await;
        }
        match opened {
            Err(McpError::Unauthorized) => {
                self.connect_with_renewed_credential(server, &credential, now).await
            }
            Err(McpError::InsufficientScope { scopes }) => {
                self.step_up(server, &credential, &scopes, now).await
            }
            opened => Ok((opened?, credential)),
        }
    }

    /// Opens a session with a credential other than `rejected`, which the server has refused.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`McpError::Unauthorized`] at once where there is no other credential.
    pub async fn connect_with_renewed_credential(
        &self,
        server: &McpServer,
        rejected: &Credential,
        now: Timestamp,
    ) -> Result<(McpClient, Credential), McpError> {
        let credential = self.renewed_credential(server, rejected, now).await?;
        match self.connect_with(server, credential.clone()).await {
            // Another process got this token earlier, and the server may have revoked it since.
            Err(McpError::Unauthorized) if !credential.is_issued_here() => {
                let credential = self.renewed_credential(server, &credential, now).await?;
                Ok((self.connect_with(server, credential.clone()).await?, credential))
            }
            opened => Ok((opened?, credential)),
        }
    }

    /// Returns a credential other than `rejected`.
    ///
    /// # Errors
    /// [`McpError::Auth`]; [`McpError::Unauthorized`] where there is no other.
    async fn renewed_credential(
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

    /// Opens a session with a credential that covers `scopes` in addition to the scopes of `held` (the step-up
    /// authorization flow of the MCP specification).
    ///
    /// # Errors
    /// As [`Self::connect`]; [`McpError::Forbidden`] where there are no further scopes to ask for.
    pub async fn step_up(
        &self,
        server: &McpServer,
        held: &Credential,
        scopes: &[String],
        now: Timestamp,
    ) -> Result<(McpClient, Credential), McpError> {
        let credential = self.sign_in.stepped_up(&server.auth, held, scopes, now).await?;
        let forbidden = McpError::Forbidden { signed_in: held.signs_in(), message: None };
        let credential = credential.ok_or(forbidden)?.with(&server.extra_headers);
        Ok((self.connect_with(server, credential.clone()).await?, credential))
    }

    /// Opens a session with `credential`, in the newest protocol revision that both sides know. Sends the preferred
    /// opening request first. Where the server refuses that one, sends the other one, and remembers it for the next
    /// session if the server accepts it.
    ///
    /// # Errors
    /// [`McpError`], without `Auth` and the variants for lists.
    pub async fn connect_with(
        &self,
        server: &McpServer,
        credential: Credential,
    ) -> Result<McpClient, McpError> {
        let key = server.key();
        let learned = self.learned_openings.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(learned) = learned {
            return self.connect_by(server, credential, learned).await;
        }
        let other = match self.preferred_opening {
            _ if server.transport == TransportKind::Sse => {
                return self.connect_by(server, credential, OpeningRequest::Initialize).await;
            }
            OpeningRequest::Initialize => OpeningRequest::Discover,
            OpeningRequest::Discover => OpeningRequest::Initialize,
        };
        match self.connect_by(server, credential.clone(), self.preferred_opening).await {
            Err(refused) if suggests_other_opening(&refused) => {
                let opened = self.connect_by(server, credential, other).await;
                if opened.is_ok() {
                    self.remember(key, other);
                }
                // The first error says more than the second, except where the second is about the credential.
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

    fn remember(&self, key: ServerKey, opening: OpeningRequest) {
        let mut learned = self.learned_openings.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.len() >= MAX_REMEMBERED {
            learned.clear();
        }
        learned.insert(key, opening);
    }

    /// Opens a session with one given opening request.
    async fn connect_by(
        &self,
        server: &McpServer,
        credential: Credential,
        opening: OpeningRequest,
    ) -> Result<McpClient, McpError> {
        let (lifecycle, request) = match opening {
            OpeningRequest::Initialize => (ClientLifecycleMode::Initialize, "initialize"),
            OpeningRequest::Discover => {
                let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
                (ClientLifecycleMode::Discover { preferred_versions }, "server/discover")
            }
        };
        let wire = Wire::new(self.http.clone(), credential, self.memory.clone());
        let context = RequestContext { server, wire: &wire, request, is_initialized: false };
        let transport = match server.transport {
            TransportKind::Sse => {
                let opened = SseTransport::open(wire.clone(), &server.url).await;
                AnyTransport::Sse(opened.map_err(|error| context.wire_error(&error))?)
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
        // Boxed: rmcp's start-up is a large future, and callers nest it deeply.
        let service = Box::pin(client_config().serve_with_lifecycle(transport, lifecycle)).await;
        let service = service.map_err(|error| context.opening_error(error))?;
        let client = McpClient::new(service, wire.clone(), server.clone());
        match ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.as_str() == client.protocol_version())
        {
            true => Ok(client),
            false => {
                client.close().await;
                let reason = "its protocol revision is none that this client knows".to_owned();
                Err(McpError::BadAnswer { request, reason })
            }
        }
    }
}

/// Returns true if the server may accept the other opening request: it answered that the method or the protocol
/// revision is unknown to it, or with HTTP status 400, 404 or 405.
fn suggests_other_opening(refused: &McpError) -> bool {
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
