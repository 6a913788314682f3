//! One connection kept through a run, signed in again when the server refuses in the middle of it.
//!
//! A 401, and a 403 that names scopes, say that the request was not carried out, so it is sent again once
//! with another credential. Nothing else is repeated: a call that failed otherwise may have had its effect.

use auth::Credential;
use jiff::Timestamp;
use rmcp::model::{CallToolResult, JsonObject, Tool};
use tokio::sync::RwLock;

use crate::{
    connection::Connection,
    connector::Connector,
    error::McpError,
    known_tools::PackedList,
    server::McpServer,
    tool_list::{ListBuilder, ToolList},
};

/// One server's connection through a run.
pub struct Session {
    connector: Connector,
    server: McpServer,
    open: RwLock<Open>,
}

struct Open {
    connection: Connection,
    credential: Credential,
    /// How often this session has connected; tells a caller whether somebody else has meanwhile.
    generation: u64,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect(connector: Connector, server: McpServer, now: Timestamp) -> Result<Self, McpError> {
        let (connection, credential) = connector.connect(&server, now).await?;
        let open = RwLock::new(Open { connection, credential, generation: 0 });
        Ok(Self { connector, server, open })
    }

    /// The tools that the entry offers, as the server lists them now.
    ///
    /// # Errors
    /// As [`Self::list_all_tools`].
    pub async fn list_tools(&self, now: Timestamp) -> Result<ToolList, McpError> {
        Ok(self.server.tools.of(self.list_all_tools(now).await?))
    }

    /// All tools, as the server lists them now, offered or not.
    ///
    /// # Errors
    /// [`McpError`].
    pub async fn list_all_tools(&self, now: Timestamp) -> Result<ToolList, McpError> {
        self.list::<Vec<Tool>>(now).await
    }

    /// All tools as they are kept.
    pub(crate) async fn pack_all_tools(&self, now: Timestamp) -> Result<PackedList, McpError> {
        self.list::<PackedList>(now).await
    }

    /// Lists all tools; where the server refuses the sign-in, signs in again and lists once more.
    async fn list<B: ListBuilder>(&self, now: Timestamp) -> Result<B::List, McpError> {
        let listed = self.send(async |connection| connection.list_tools::<B>().await, now).await;
        if listed.is_err() && self.open.read().await.connection.has_ended() {
            // A list changes nothing: where the connection went away under it, it is asked for on another.
            self.revive(now).await?;
            return self.open.read().await.connection.list_tools::<B>().await;
        }
        listed
    }

    /// Calls a tool; where the server refuses the sign-in, signs in again and calls once more.
    ///
    /// # Errors
    /// As [`Connection::call_tool`] and [`Connector::reconnect`]; [`McpError::NotOffered`].
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: JsonObject,
        now: Timestamp,
    ) -> Result<CallToolResult, McpError> {
        if !self.server.tools.offers(name) {
            return Err(McpError::NotOffered);
        }
        self.send(async |connection| connection.call_tool(name, arguments.clone()).await, now).await
    }

    /// The revision of the protocol that both sides speak.
    pub async fn protocol_version(&self) -> String {
        self.open.read().await.connection.protocol_version()
    }

    /// Ends the session.
    pub async fn close(self) {
        self.open.into_inner().connection.close().await;
    }

    /// Sends a request. Where the server refuses the sign-in, signs in again and sends it once more; where the new
    /// credential was one that another process had got earlier and is refused too, a second time.
    async fn send<T>(
        &self,
        request: impl AsyncFn(&Connection) -> Result<T, McpError>,
        now: Timestamp,
    ) -> Result<T, McpError> {
        self.revive(now).await?;
        let mut sign_ins = 0;
        loop {
            let (generation, is_issued_here, outcome) = {
                let open = self.open.read().await;
                (open.generation, open.credential.is_issued_here(), request(&open.connection).await)
            };
            match outcome {
                Err(McpError::Unauthorized) if sign_ins == 0 || (sign_ins == 1 && !is_issued_here) => {
                    self.reopen(generation, &[], now).await?;
                }
                Err(McpError::InsufficientScope { scopes }) if sign_ins == 0 => {
                    self.reopen(generation, &scopes, now).await?;
                }
                outcome => return outcome,
            }
            sign_ins += 1;
        }
    }

    /// Connects again if the connection has ended by itself: nothing was sent on it yet.
    async fn revive(&self, now: Timestamp) -> Result<(), McpError> {
        if !self.open.read().await.connection.has_ended() {
            return Ok(());
        }
        let mut open = self.open.write().await;
        if open.connection.has_ended() {
            tracing::info!(
                mcp.url = self.server.shown_url(),
                "External MCP: the connection ended, opening another"
            );
            let (connection, credential) = self.connector.connect(&self.server, now).await?;
            *open = Open { connection, credential, generation: open.generation + 1 };
        }
        Ok(())
    }

    /// Connects with another credential; one that is good for `scopes`, if there are any.
    async fn reopen(&self, refused: u64, scopes: &[String], now: Timestamp) -> Result<(), McpError> {
        let mut open = self.open.write().await;
        if open.generation != refused {
            return Ok(());
        }
        tracing::info!(
            mcp.url = self.server.shown_url(),
            "External MCP: refused in mid-run, signing in again"
        );
        let (connection, credential) = match scopes {
            [] => self.connector.reconnect(&self.server, &open.credential, now).await?,
            scopes => self.connector.step_up(&self.server, &open.credential, scopes, now).await?,
        };
        let next = Open { connection, credential, generation: refused + 1 };
        std::mem::replace(&mut *open, next).connection.close().await;
        Ok(())
    }
}
