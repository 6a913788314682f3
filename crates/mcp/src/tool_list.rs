//! A server's tool list, and the trait by which a list is built page by page.
//!
//! [`crate::client`] builds lists, [`crate::Session`] returns them.

use rmcp::model::Tool;

/// The tools that a server lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolList {
    /// The usable tools of all pages.
    pub tools: Vec<Tool>,
    /// Notes on what was left out, one line each: tools that are malformed or cannot be offered to a model, and pages
    /// that could not be read.
    pub left_out: Vec<String>,
}

/// Builds a list page by page. Implemented by `Vec<Tool>`, which collects the tools themselves, and by
/// [`crate::tool_names::PackedToolList`], which collects their names and packs the rest.
pub(crate) trait ListBuilder: Default + Send + 'static {
    /// The finished list.
    type List;

    /// Adds the tools of one page.
    fn add_page(&mut self, tools: Vec<Tool>);

    /// Returns the list, with the notes on what was left out.
    fn finish(self, left_out: Vec<String>) -> Self::List;
}

impl ListBuilder for Vec<Tool> {
    type List = ToolList;

    fn add_page(&mut self, tools: Vec<Tool>) {
        self.extend(tools);
    }

    fn finish(self, left_out: Vec<String>) -> ToolList {
        ToolList { tools: self, left_out }
    }
}
