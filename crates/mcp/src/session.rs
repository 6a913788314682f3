//! An MCP session that lasts through a run: it signs in again when the server refuses the credential meanwhile.
//!
//! A 401, or a 403 that names scopes, means that the server did not carry the request out. Such a request is sent once
//! more with another credential. No other call is repeated, because a failed call may have had its effect. Called by
//! `agent` for runs, by [`crate::ToolCache`] for lists, and by the command line.

use auth::Credential;
use jiff::Timestamp;
use rmcp::model::{CallToolResult, JsonObject, Tool};
use tokio::sync::RwLock;

use crate::{
    client::McpClient,
    connector::Connector,
    error::McpError,
    server::McpServer,
    tool_list::{ListBuilder, ToolList},
    tool_names::PackedToolList,
};

/// An open session with one server, which replaces its [`McpClient`] when the server refuses the credential.
pub struct Session {
    connector: Connector,
    server: McpServer,
    current: RwLock<OpenClient>,
}

struct OpenClient {
    client: McpClient,
    credential: Credential,
    /// Number of clients that this session had before. Lets a caller see that another task has replaced the client.
    generation: u64,
}

impl Session {
    /// Signs in and opens the session.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect(connector: Connector, server: McpServer, now: Timestamp) -> Result<Self, McpError> {
        let (client, credential) = connector.connect(&server, now).await?;
        let current = RwLock::new(OpenClient { client, credential, generation: 0 });
        Ok(Self { connector, server, current })
    }

    /// Lists the tools that the entry offers, as the server has them now.
    ///
    /// # Errors
    /// As [`Self::list_all_tools`].
    pub async fn list_tools(&self, now: Timestamp) -> Result<ToolList, McpError> {
        Ok(self.server.tools.filter_list(self.list_all_tools(now).await?))
    }

    /// Lists all tools that the server has now, including those that the entry does not offer.
    ///
    /// # Errors
    /// [`McpError`].
    pub async fn list_all_tools(&self, now: Timestamp) -> Result<ToolList, McpError> {
        self.list::<Vec<Tool>>(now).await
    }

    /// Lists all tools in the packed form that the cache stores.
    pub(crate) async fn pack_all_tools(&self, now: Timestamp) -> Result<PackedToolList, McpError> {
        self.list::<PackedToolList>(now).await
    }

    /// Lists all tools. Where the server refuses the credential, signs in again and lists once more.
    async fn list<B: ListBuilder>(&self, now: Timestamp) -> Result<B::List, McpError> {
        let listed = self.send(async |client| client.list_tools::<B>().await, now).await;
        if listed.is_err() && self.current.read().await.client.has_ended() {
            // Listing changes nothing on the server, so it is safe to repeat where the session ended during it.
            self.reconnect_if_ended(now).await?;
            return self.current.read().await.client.list_tools::<B>().await;
        }
        listed
    }

    /// Calls a tool. Where the server refuses the credential, signs in again and calls once more.
    ///
    /// # Errors
    /// As [`McpClient::call_tool`] and [`Connector::connect_with_renewed_credential`]; [`McpError::NotOffered`].
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: JsonObject,
        now: Timestamp,
    ) -> Result<CallToolResult, McpError> {
        if !self.server.tools.offers(name) {
            return Err(McpError::NotOffered);
        }
        self.send(async |client| client.call_tool(name, arguments.clone()).await, now).await
    }

    /// Returns the negotiated protocol revision, such as `2025-11-25`.
    pub async fn protocol_version(&self) -> String {
        self.current.read().await.client.protocol_version()
    }

    /// Ends the session.
    pub async fn close(self) {
        self.current.into_inner().client.close().await;
    }

    /// Sends a request. Where the server refuses the credential, signs in again and sends the request once more. Where
    /// the new credential came from another process and is refused too, signs in a second time.
    async fn send<T>(
        &self,
        request: impl AsyncFn(&McpClient) -> Result<T, McpError>,
        now: Timestamp,
    ) -> Result<T, McpError> {
        self.reconnect_if_ended(now).await?;
        let mut sign_ins = 0;
        loop {
            let (generation, is_issued_here, outcome) = {
                let current = self.current.read().await;
                (current.generation, current.credential.is_issued_here(), request(&current.client).await)
            };
            match outcome {
                Err(McpError::Unauthorized) if sign_ins == 0 || (sign_ins == 1 && !is_issued_here) => {
                    self.replace_refused_client(generation, &[], now).await?;
                }
                Err(McpError::InsufficientScope { scopes }) if sign_ins == 0 => {
                    self.replace_refused_client(generation, &scopes, now).await?;
                }
                outcome => return outcome,
            }
            sign_ins += 1;
        }
    }

    /// Opens another client if the current one has ended without being closed. Safe: no request was sent on it yet.
    async fn reconnect_if_ended(&self, now: Timestamp) -> Result<(), McpError> {
        if !self.current.read().await.client.has_ended() {
            return Ok(());
        }
        let mut current = self.current.write().await;
        if current.client.has_ended() {
            tracing::info!(
                mcp.url = self.server.shown_url(),
                "External MCP: the server ended the session, opening another"
            );
            let (client, credential) = self.connector.connect(&self.server, now).await?;
            *current = OpenClient { client, credential, generation: current.generation + 1 };
        }
        Ok(())
    }

    /// Replaces the client of the `refused` generation by one with another credential. If `scopes` are given, the new
    /// credential covers them. Does nothing if another task has replaced the client already.
    async fn replace_refused_client(
        &self,
        refused: u64,
        scopes: &[String],
        now: Timestamp,
    ) -> Result<(), McpError> {
        let mut current = self.current.write().await;
        if current.generation != refused {
            return Ok(());
        }
        tracing::info!(
            mcp.url = self.server.shown_url(),
            "External MCP: the server refused the credential during a run, signing in again"
        );
        let (client, credential) = match scopes {
            [] => {
                let refused = &current.credential;
                self.connector.connect_with_renewed_credential(&self.server, refused, now).await?
            }
            scopes => self.connector.step_up(&self.server, &current.credential, scopes, now).await?,
        };
        let next = OpenClient { client, credential, generation: refused + 1 };
        std::mem::replace(&mut *current, next).client.close().await;
        Ok(())
    }
}
