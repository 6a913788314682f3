//! One connection kept through a run, signed in again when the server refuses in the middle of it.
//!
//! A 401 says that the request was not carried out, so it is sent again once with a new credential.
//! Nothing else is repeated: a call that failed otherwise may have had its effect.

use auth::Credential;
use jiff::Timestamp;
use rmcp::model::{CallToolResult, JsonObject};
use tokio::sync::RwLock;

use crate::{
    connection::{Connection, Connector, ToolList},
    error::McpError,
    server::McpServer,
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

    /// The server's tools, as it lists them now; on a 401 signs in again and lists once more.
    ///
    /// # Errors
    /// As [`Connection::list_tools`].
    pub async fn list_tools(&self, now: Timestamp) -> Result<ToolList, McpError> {
        let generation = {
            let open = self.open.read().await;
            match open.connection.list_tools().await {
                Err(McpError::Unauthorized) => open.generation,
                outcome => return outcome,
            }
        };
        self.renew(generation, now).await?;
        self.open.read().await.connection.list_tools().await
    }

    /// Calls a tool; on a 401 signs in again and calls once more.
    ///
    /// # Errors
    /// As [`Connection::call_tool`] and [`Connector::reconnect`].
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: JsonObject,
        now: Timestamp,
    ) -> Result<CallToolResult, McpError> {
        let generation = {
            let open = self.open.read().await;
            match open.connection.call_tool(name, arguments.clone()).await {
                Err(McpError::Unauthorized) => open.generation,
                outcome => return outcome,
            }
        };
        self.renew(generation, now).await?;
        self.open.read().await.connection.call_tool(name, arguments).await
    }

    /// Ends the session.
    pub async fn close(self) {
        self.open.into_inner().connection.close().await;
    }

    async fn renew(&self, refused: u64, now: Timestamp) -> Result<(), McpError> {
        let mut open = self.open.write().await;
        if open.generation == refused {
            tracing::info!(
                mcp.url = self.server.shown_url(),
                "External MCP: refused in mid-run, signing in again"
            );
            let (connection, credential) =
                self.connector.reconnect(&self.server, &open.credential, now).await?;
            let next = Open { connection, credential, generation: refused + 1 };
            std::mem::replace(&mut *open, next).connection.close().await;
        }
        Ok(())
    }
}
