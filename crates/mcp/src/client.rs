//! One MCP client session with one server: lists the server's tools and calls them.
//!
//! Sets no deadline except for closing: the caller limits the time of each call, and dropping the future cancels it.
//! Retries nothing ([`crate::Session`] signs in again) and caches nothing ([`crate::ToolCache`] does). Opened by
//! [`crate::Connector`], used through [`crate::Session`].

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use egress::Shown;
use rmcp::{
    RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest, JsonObject, ListToolsRequest,
        ListToolsResult, PaginatedRequestParams, ServerResult, Tool,
    },
    service::RunningService,
};

use crate::{
    error::McpError, error_mapping::RequestContext, schema::ToolSchema, server::McpServer,
    tool_list::ListBuilder, wire::Wire,
};

/// Maximum number of pages in one tool list.
const MAX_PAGES: usize = 100;
/// Maximum number of tools in one list. More than a model can choose among; limits the memory that one server can use.
const MAX_TOOLS: usize = 2_000;
/// Maximum number of empty pages in a row. Servers that filter their pages send some.
const MAX_EMPTY_PAGES: usize = 3;
/// Maximum size of one list on the wire, all pages together, in bytes. Far more than hand-written tools need.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// Note on a list whose cursor leads to a page without new tools.
const CURSOR_WITHOUT_NEW_TOOLS: &str = "further pages: the server gives a cursor that leads to nothing new";
/// Largest page, in bytes, whose schemas are checked on the calling thread: that takes a few milliseconds.
const MAX_CHECKED_IN_PLACE: usize = 16 * 1024;
/// Time limit for closing a session. Closing only frees the server's memory, and the caller waits for it.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);

/// An initialized MCP client: one side of one session with one server. Call [`Self::close`] when done: a session that
/// is left open uses the server's memory.
pub struct McpClient {
    service: RunningService<RoleClient, ClientConfig>,
    wire: Wire,
    server: McpServer,
}

/// State of a list while its pages are read.
#[derive(Default)]
struct PageReader {
    /// Number of pages read.
    count: usize,
    /// Number of empty pages in a row, up to and including the last page.
    empty: usize,
    /// Names of all tools read.
    names: HashSet<String>,
    /// Names that the first page contains more than once.
    duplicates: BTreeSet<String>,
}

impl McpClient {
    pub(crate) fn new(
        service: RunningService<RoleClient, ClientConfig>,
        wire: Wire,
        server: McpServer,
    ) -> Self {
        Self { service, wire, server }
    }

    fn context(&self, request: &'static str) -> RequestContext<'_> {
        RequestContext { server: &self.server, wire: &self.wire, request, is_initialized: true }
    }

    /// Lists the server's tools, all pages, each tool once. A cursor that leads to no new tools ends the list: the
    /// tools read so far are returned with a note.
    ///
    /// # Errors
    /// [`McpError`]. A malformed tool is not an error: it is left out with a note.
    pub(crate) async fn list_tools<B: ListBuilder>(&self) -> Result<B::List, McpError> {
        let mut list = B::default();
        let mut pages = PageReader::default();
        let received_before = self.wire.received();
        let mut cursor = None;
        let note = loop {
            if pages.count == MAX_PAGES {
                return Err(McpError::TooMany { limit: MAX_PAGES, what: "pages of tools" });
            }
            let _memory = self.wire.release_memory_on_drop();
            let received = self.wire.received();
            let page = match self.page(cursor.clone()).await {
                Ok(page) => page,
                // Some servers send an empty cursor on the last page and refuse it as a cursor.
                Err(McpError::Rejected { .. } | McpError::Status { .. }) if cursor.as_deref() == Some("") => {
                    break None;
                }
                Err(error) => return Err(error),
            };
            if self.wire.received() - received_before > MAX_LIST_BYTES {
                return Err(McpError::TooMany { limit: MAX_LIST_BYTES, what: "bytes of tools" });
            }
            let (tools, is_worth_continuing) = pages.add(page.tools);
            if pages.names.len() > MAX_TOOLS {
                return Err(McpError::TooMany { limit: MAX_TOOLS, what: "tools" });
            }
            list = self.add_usable_tools(list, tools, self.wire.received() - received).await;
            match page.next_cursor {
                None => break None,
                Some(next) if is_worth_continuing => cursor = Some(next),
                Some(_) => break Some(CURSOR_WITHOUT_NEW_TOOLS.to_owned()),
            }
        };
        pages
            .duplicates
            .iter()
            .for_each(|name| self.wire.note(format!("the second tool named {}", Shown::new(name))));
        Ok(list.finish(self.wire.take_notes().into_iter().chain(note).collect()))
    }

    /// Adds those of a page's tools to `list` that can be offered to a model, and notes why the others cannot. A large
    /// page is checked on a blocking thread: thousands of schemas take time, and other agents, leases and time-outs
    /// must not wait for them.
    async fn add_usable_tools<B: ListBuilder>(&self, list: B, tools: Vec<Tool>, page_bytes: usize) -> B {
        let check = move || {
            let (tools, refused) = usable_tools(tools);
            let mut list = list;
            list.add_page(tools);
            (list, refused)
        };
        let (list, refused) = match page_bytes <= MAX_CHECKED_IN_PLACE {
            true => check(),
            false => tokio::task::spawn_blocking(check).await.unwrap_or_else(|_| {
                let note = "every tool: checking their schemas failed because of a bug; the log says where";
                (B::default(), vec![note.to_owned()])
            }),
        };
        refused.into_iter().for_each(|reason| self.wire.note(reason));
        list
    }

    async fn page(&self, cursor: Option<String>) -> Result<ListToolsResult, McpError> {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let request = ListToolsRequest { params: Some(params), ..Default::default() };
        let answer = self.service.send_request(ClientRequest::ListToolsRequest(request)).await;
        match answer.map_err(|error| self.context("tools/list").request_error(error))? {
            ServerResult::ListToolsResult(page) => Ok(page),
            _ => {
                let reason = "its result is no list of tools".to_owned();
                Err(McpError::BadAnswer { request: "tools/list", reason })
            }
        }
    }

    /// Calls a tool. A result with `isError` is returned as a result.
    ///
    /// # Errors
    /// [`McpError`], without the variants for lists.
    pub async fn call_tool(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, McpError> {
        let _memory = self.wire.release_memory_on_drop();
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        self.service.call_tool(params).await.map_err(|error| self.context("tools/call").request_error(error))
    }

    /// Returns the negotiated protocol revision, such as `2025-11-25`.
    pub(crate) fn protocol_version(&self) -> String {
        self.service.peer_info().map_or_else(String::new, |info| info.protocol_version.to_string())
    }

    /// Returns true if the session has ended without [`Self::close`]: its stream broke or the server went away.
    pub(crate) fn has_ended(&self) -> bool {
        self.service.is_transport_closed()
    }

    /// Ends the session. Gives up after half a second.
    pub async fn close(mut self) {
        if self.service.close_with_timeout(CLOSE_DEADLINE).await.is_err() {
            tracing::debug!("the task of the MCP session ended abnormally");
        }
    }
}

/// Returns the tools that can be offered to a model, and the reasons why the others cannot.
fn usable_tools(mut tools: Vec<Tool>) -> (Vec<Tool>, Vec<String>) {
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

impl PageReader {
    /// Adds a page. Returns the tools that are new, and whether the next page is to be requested. A tool that an
    /// earlier page contained is dropped without a note: the server may have changed its list between two pages.
    fn add(&mut self, tools: Vec<Tool>) -> (Vec<Tool>, bool) {
        let (is_first, is_empty) = (self.count == 0, tools.is_empty());
        let (new, seen): (Vec<Tool>, Vec<Tool>) =
            tools.into_iter().partition(|tool| self.names.insert(tool.name.to_string()));
        if is_first {
            self.duplicates.extend(seen.into_iter().map(|tool| tool.name.into_owned()));
        }
        self.count += 1;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let is_worth_continuing = !new.is_empty() || is_empty && self.empty <= MAX_EMPTY_PAGES;
        (new, is_worth_continuing)
    }
}
