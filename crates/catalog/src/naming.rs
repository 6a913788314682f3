//! Ids, names and descriptions of agents, built as the accelerator builds them, so that its page, its saved queries and
//! its jobs work unchanged. Called by `secret` for ids and names, and by [`crate::Catalog`] for descriptions.

use std::collections::HashSet;

/// The sample queries that the accelerator shows for agents of external MCP servers.
pub const SAMPLE_QUERIES: [&str; 3] = [
    "What tools are available from the external MCP server?",
    "Help me use the external tools to solve my problem",
    "Show me what capabilities the MCP server provides",
];

const DEFAULT_DESCRIPTION: &str =
    "Agent which connects to external MCP servers to provide additional tools and capabilities.";
/// Maximum length of the tool names in a description, in bytes. The page shows 150 characters, a model reads a few
/// thousand. A server with thousands of tools must not fill the whole response.
const MAX_TOOL_NAMES_BYTES: usize = 4_000;

/// Returns the id of an agent: its name in lower case with underscores for spaces; without a name, an id by position.
pub fn agent_id(name: Option<&str>, position: usize) -> String {
    match name {
        Some(name) => name.to_lowercase().replace(' ', "_"),
        None => format!("external-mcp-agent-{position}"),
    }
}

/// Returns the name of an agent whose entry has none.
pub fn default_name(position: usize) -> String {
    format!("External MCP Agent {position}")
}

/// The ids in use. The first agent with an id keeps it; the next ones get `_2`, `_3` and so on.
#[derive(Debug, Default)]
pub struct UniqueIds(HashSet<String>);

impl UniqueIds {
    /// Takes and returns the id if it is free, else the first free one of `{id}_2`, `{id}_3`, …
    pub fn take(&mut self, id: String) -> String {
        let numbered = (2..).map(|n| format!("{id}_{n}"));
        let free = std::iter::once(id.clone()).chain(numbered).find(|id| !self.0.contains(id));
        let free = free.unwrap_or(id);
        self.0.insert(free.clone());
        free
    }
}

/// Returns the description of an agent: the given or the default one, followed by the names of its tools.
pub fn described<'a>(given: Option<&str>, tools: impl IntoIterator<Item = &'a str>) -> String {
    let given = given.unwrap_or(DEFAULT_DESCRIPTION);
    let mut named = String::new();
    let mut unnamed = 0;
    for tool in tools {
        if named.len() + tool.len() > MAX_TOOL_NAMES_BYTES {
            unnamed += 1;
            continue;
        }
        if !named.is_empty() {
            named.push_str(", ");
        }
        named.push_str(tool);
    }
    if named.is_empty() {
        return given.to_owned();
    }
    let rest = if unnamed > 0 { format!(" and {unnamed} more") } else { String::new() };
    format!("{given} The tools available are: {named}{rest}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_built_as_the_accelerator_builds_them() {
        let check = |name, expected: &str| assert_eq!(agent_id(name, 4), expected);
        check(Some("My Custom Calculator Agent"), "my_custom_calculator_agent");
        check(Some("Ärzte-Suche"), "ärzte-suche");
        check(None, "external-mcp-agent-4");
    }

    #[test]
    fn the_first_agent_with_an_id_keeps_it() {
        let mut ids = UniqueIds::default();
        let given = ["a", "a", "a_2", "a", "b"].map(|id| ids.take(id.to_owned()));
        assert_eq!(given, ["a", "a_2", "a_2_2", "a_3", "b"]);
    }

    #[test]
    fn descriptions_name_the_tools_up_to_a_limit() {
        assert_eq!(described(Some("Adds."), ["add", "sub"]), "Adds. The tools available are: add, sub.");
        assert_eq!(described(None, []), DEFAULT_DESCRIPTION);
        let long = "x".repeat(3_000);
        let text = described(Some("D."), [long.as_str(), long.as_str(), "add"]);
        assert!(text.ends_with("x, add and 1 more."), "{}", &text[text.len() - 30..]);
    }
}
