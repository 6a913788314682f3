//! One initialized connection: listing tools, calling one.
//!
//! Sets no deadline of its own but for closing: the caller bounds each call, and dropping one ends it.
//! Retries nothing ([`crate::Session`] signs in again); caches nothing ([`crate::ToolCache`] does).

use std::{collections::HashSet, time::Duration};

use rmcp::{
    RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest, JsonObject, ListToolsRequest,
        PaginatedRequestParams, ServerResult, Tool,
    },
    service::RunningService,
};

use crate::{error::McpError, explain::explain_request, transport::Wire};

/// A list goes on for at most this many pages.
const MAX_PAGES: usize = 100;
/// More tools than any model can choose among; bounds what one server can make us keep.
const MAX_TOOLS: usize = 2_000;
/// What one list may weigh on the wire, all pages: far more than tools that people wrote.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// How long ending a session may take: it is a courtesy to the server, and the caller waits for it.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);

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

impl Connection {
    pub(crate) fn new(service: RunningService<RoleClient, ClientConfig>, wire: Wire) -> Self {
        Self { service, wire }
    }

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
