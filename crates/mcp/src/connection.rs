//! One initialized connection: listing tools, calling one.
//!
//! Sets no deadline of its own but for closing: the caller bounds each call, and dropping one ends it.
//! Retries nothing ([`crate::Session`] signs in again); caches nothing ([`crate::ToolCache`] does).

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use auth::Shown;
use rmcp::{
    RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest, JsonObject, ListToolsRequest,
        ListToolsResult, PaginatedRequestParams, ServerResult, Tool,
    },
    service::RunningService,
};

use crate::{error::McpError, explain::Context, schema::ToolSchema, server::McpServer, wire::Wire};

/// A list goes on for at most this many pages.
const MAX_PAGES: usize = 100;
/// More tools than any model can choose among; bounds what one server can make us keep.
const MAX_TOOLS: usize = 2_000;
/// How many empty pages in a row a list may have: servers that filter what they page give some.
const MAX_EMPTY_PAGES: usize = 3;
/// What one list may weigh on the wire, all pages: far more than tools that people wrote.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// The note on a list whose cursor brings nothing new.
const LEADS_NOWHERE: &str = "further pages: the server gives a cursor that leads to nothing new";
/// How long ending a session may take: it is a courtesy to the server, and the caller waits for it.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);

/// One initialized connection. [`Self::close`] it: a session left open costs the server memory.
pub struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    wire: Wire,
    server: McpServer,
}

/// What a server lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolList {
    /// Its tools, all pages.
    pub tools: Vec<Tool>,
    /// What was left out, one line each: tools that are malformed or cannot be offered, pages that did not
    /// come.
    pub left_out: Vec<String>,
}

/// A list while its pages come.
#[derive(Default)]
struct Listed {
    list: ToolList,
    names: HashSet<String>,
    twice: BTreeSet<String>,
    empty_pages: usize,
}

impl Connection {
    pub(crate) fn new(
        service: RunningService<RoleClient, ClientConfig>,
        wire: Wire,
        server: McpServer,
    ) -> Self {
        Self { service, wire, server }
    }

    fn context(&self, request: &'static str) -> Context<'_> {
        Context { server: &self.server, wire: &self.wire, request, has_spoken: true }
    }

    /// Lists the server's tools, all pages, each tool once. A cursor that leads nowhere ends the list; what
    /// came is kept, and a note says so.
    ///
    /// # Errors
    /// [`McpError`]; a malformed tool is none.
    pub async fn list_tools(&self) -> Result<ToolList, McpError> {
        let mut listed = Listed::default();
        let received = self.wire.received();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let page = match self.page(cursor.clone()).await {
                Ok(page) => page,
                // A server whose last page has a cursor of no characters may refuse that as one.
                Err(McpError::Rejected { .. } | McpError::Status { .. }) if cursor.as_deref() == Some("") => {
                    return Ok(listed.end(&self.wire, None).await);
                }
                Err(error) => return Err(error),
            };
            if self.wire.received() - received > MAX_LIST_BYTES {
                return Err(McpError::TooMany { limit: MAX_LIST_BYTES, what: "bytes of tools" });
            }
            let brought = listed.take(page.tools, cursor.is_some());
            if listed.list.tools.len() > MAX_TOOLS {
                return Err(McpError::TooMany { limit: MAX_TOOLS, what: "tools" });
            }
            match page.next_cursor {
                None => return Ok(listed.end(&self.wire, None).await),
                Some(next) if brought => cursor = Some(next),
                Some(_) => return Ok(listed.end(&self.wire, Some(LEADS_NOWHERE)).await),
            }
        }
        Err(McpError::TooMany { limit: MAX_PAGES, what: "pages of tools" })
    }

    async fn page(&self, cursor: Option<String>) -> Result<ListToolsResult, McpError> {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let request = ListToolsRequest { params: Some(params), ..Default::default() };
        let answer = self.service.send_request(ClientRequest::ListToolsRequest(request)).await;
        match answer.map_err(|error| self.context("tools/list").request(error))? {
            ServerResult::ListToolsResult(page) => Ok(page),
            _ => {
                let reason = "its result is no list of tools".to_owned();
                Err(McpError::BadAnswer { request: "tools/list", reason })
            }
        }
    }

    /// Calls a tool. A result that says `isError` is a result.
    ///
    /// # Errors
    /// [`McpError`] but for those of lists.
    pub async fn call_tool(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, McpError> {
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        self.service.call_tool(params).await.map_err(|error| self.context("tools/call").request(error))
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

/// The tools that a model can be offered, and why the others cannot.
fn judged(mut tools: Vec<Tool>) -> (Vec<Tool>, Vec<String>) {
    let mut refused = Vec::new();
    tools.retain(|tool| match ToolSchema::new(&tool.input_schema) {
        Ok(_) => true,
        Err(reason) => {
            refused.push(format!("the tool {}, which {reason}", Shown::new(&tool.name)));
            false
        }
    });
    (tools, refused)
}

impl Listed {
    /// Takes in a page; tells whether it is worth asking for the next one.
    fn take(&mut self, tools: Vec<Tool>, is_later: bool) -> bool {
        let (is_empty, had) = (tools.is_empty(), self.list.tools.len());
        for tool in tools {
            if self.names.insert(tool.name.to_string()) {
                self.list.tools.push(tool);
            } else if !is_later {
                self.twice.insert(tool.name.to_string());
            }
        }
        self.empty_pages = if is_empty { self.empty_pages + 1 } else { 0 };
        self.list.tools.len() > had || is_empty && self.empty_pages <= MAX_EMPTY_PAGES
    }

    /// The list, without the tools that no model can be offered. They are judged on a thread that can be given up:
    /// thousands of schemas take their time, and other agents, leases and time-outs wait for none of them.
    async fn end(mut self, wire: &Wire, note: Option<&str>) -> ToolList {
        let tools = std::mem::take(&mut self.list.tools);
        match tokio::task::spawn_blocking(move || judged(tools)).await {
            Ok((tools, refused)) => {
                self.list.tools = tools;
                refused.into_iter().for_each(|reason| wire.note(reason));
            }
            Err(_) => wire.note("every tool: a bug in judging them; the log has the place".to_owned()),
        }
        self.twice.iter().for_each(|name| wire.note(format!("the second tool named {}", Shown::new(name))));
        self.list.left_out = wire.take_notes();
        self.list.left_out.extend(note.map(str::to_owned));
        self.list
    }
}
