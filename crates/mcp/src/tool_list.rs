//! A server's tool list, and what builds one of its pages.

use rmcp::model::Tool;

/// The tools that a server lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolList {
    /// Its tools, all pages.
    pub tools: Vec<Tool>,
    /// What was left out, one line each: tools that are malformed or cannot be offered, pages that did not
    /// come.
    pub left_out: Vec<String>,
}

/// What is made of a list, a page at a time: the tools themselves, or what is kept of them.
pub(crate) trait ListBuilder: Default + Send + 'static {
    /// What is made.
    type List;

    /// Takes in the tools of a page.
    fn add(&mut self, tools: Vec<Tool>);

    /// The list, with what was left out.
    fn end(self, left_out: Vec<String>) -> Self::List;
}

impl ListBuilder for Vec<Tool> {
    type List = ToolList;

    fn add(&mut self, tools: Vec<Tool>) {
        self.extend(tools);
    }

    fn end(self, left_out: Vec<String>) -> ToolList {
        ToolList { tools: self, left_out }
    }
}
