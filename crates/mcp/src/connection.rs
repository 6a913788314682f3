//! One initialized connection: listing tools, calling one.
//!
//! Sets no deadline of its own but for closing: the caller bounds each call, and dropping one ends it.
//! Retries nothing ([`crate::Session`] signs in again); caches nothing ([`crate::ToolCache`] does).

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
    error::McpError, explain::Context, schema::ToolSchema, server::McpServer, tool_list::ListBuilder,
    wire::Wire,
};

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
/// A page up to this length is judged where it is read: that takes a few milliseconds.
const JUDGED_IN_PLACE: usize = 16 * 1024;
/// How long ending a session may take: it is a courtesy to the server, and the caller waits for it.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);

/// One initialized connection. [`Self::close`] it: a session left open costs the server memory.
pub struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    wire: Wire,
    server: McpServer,
}

/// What has come of a list, beside its tools.
#[derive(Default)]
struct Pages {
    count: usize,
    /// How many without a tool came last.
    empty: usize,
    names: HashSet<String>,
    /// The names that one page gave twice.
    twice: BTreeSet<String>,
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
    pub(crate) async fn list_tools<B: ListBuilder>(&self) -> Result<B::List, McpError> {
        let mut list = B::default();
        let mut pages = Pages::default();
        let received_before = self.wire.received();
        let mut cursor = None;
        let left_out = loop {
            if pages.count == MAX_PAGES {
                return Err(McpError::TooMany { limit: MAX_PAGES, what: "pages of tools" });
            }
            let _memory = self.wire.holding_memory();
            let received = self.wire.received();
            let page = match self.page(cursor.clone()).await {
                Ok(page) => page,
                // A server whose last page has a cursor of no characters may refuse that as one.
                Err(McpError::Rejected { .. } | McpError::Status { .. }) if cursor.as_deref() == Some("") => {
                    break None;
                }
                Err(error) => return Err(error),
            };
            if self.wire.received() - received_before > MAX_LIST_BYTES {
                return Err(McpError::TooMany { limit: MAX_LIST_BYTES, what: "bytes of tools" });
            }
            let (tools, brought) = pages.take(page.tools);
            if pages.names.len() > MAX_TOOLS {
                return Err(McpError::TooMany { limit: MAX_TOOLS, what: "tools" });
            }
            list = self.judged_onto(list, tools, self.wire.received() - received).await;
            match page.next_cursor {
                None => break None,
                Some(next) if brought => cursor = Some(next),
                Some(_) => break Some(LEADS_NOWHERE.to_owned()),
            }
        };
        pages
            .twice
            .iter()
            .for_each(|name| self.wire.note(format!("the second tool named {}", Shown::new(name))));
        Ok(list.end(self.wire.take_notes().into_iter().chain(left_out).collect()))
    }

    /// `list` with those of a page's tools that a model can be offered; why the others cannot is noted. A large page
    /// is judged on a thread that can be given up: thousands of schemas take their time, and other agents, leases
    /// and time-outs wait for none of them.
    async fn judged_onto<B: ListBuilder>(&self, list: B, tools: Vec<Tool>, page_bytes: usize) -> B {
        let judge = move || {
            let (tools, refused) = judged(tools);
            let mut list = list;
            list.add(tools);
            (list, refused)
        };
        let (list, refused) = match page_bytes <= JUDGED_IN_PLACE {
            true => judge(),
            false => tokio::task::spawn_blocking(judge).await.unwrap_or_else(|_| {
                (B::default(), vec!["every tool: a bug in judging them; the log has the place".to_owned()])
            }),
        };
        refused.into_iter().for_each(|reason| self.wire.note(reason));
        list
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
        let _memory = self.wire.holding_memory();
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

impl Pages {
    /// Takes in a page: those of its tools that are new, and whether it is worth asking for the next one. A tool of
    /// an earlier page is passed over in silence: the list may have moved between the two.
    fn take(&mut self, tools: Vec<Tool>) -> (Vec<Tool>, bool) {
        let (is_first, is_empty) = (self.count == 0, tools.is_empty());
        let (new, known): (Vec<Tool>, Vec<Tool>) =
            tools.into_iter().partition(|tool| self.names.insert(tool.name.to_string()));
        if is_first {
            self.twice.extend(known.into_iter().map(|tool| tool.name.into_owned()));
        }
        self.count += 1;
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let brought = !new.is_empty() || is_empty && self.empty <= MAX_EMPTY_PAGES;
        (new, brought)
    }
}
