//! What agents are called and how they are described, as the accelerator does it, so that its page,
//! its saved queries and its jobs go on working.

use std::collections::HashSet;

/// What the accelerator offers to ask of such an agent.
pub const SAMPLE_QUERIES: [&str; 3] = [
    "What tools are available from the external MCP server?",
    "Help me use the external tools to solve my problem",
    "Show me what capabilities the MCP server provides",
];

const DEFAULT_DESCRIPTION: &str =
    "Agent which connects to external MCP servers to provide additional tools and capabilities.";
/// How much of a description tool names may fill: the page shows 150 characters, a model a few
/// thousand; a server with thousands of names must not fill the answer of all.
const MAX_NAMED_CHARS: usize = 4_000;

/// The id of an agent: its name in lower case with underscores for spaces, else by position.
pub fn agent_id(name: Option<&str>, position: usize) -> String {
    match name {
        Some(name) => name.to_lowercase().replace(' ', "_"),
        None => format!("external-mcp-agent-{position}"),
    }
}

/// The name of an agent that was given none.
pub fn default_name(position: usize) -> String {
    format!("External MCP Agent {position}")
}

/// Gives out ids: the first of a name keeps it, the next get `_2`, `_3`.
#[derive(Debug, Default)]
pub struct UniqueIds(HashSet<String>);

impl UniqueIds {
    /// The id if it is free, else the first free one of `{id}_2`, `{id}_3`, …
    pub fn take(&mut self, id: String) -> String {
        let numbered = (2..).map(|n| format!("{id}_{n}"));
        let free = std::iter::once(id.clone()).chain(numbered).find(|id| !self.0.contains(id));
        let free = free.unwrap_or(id);
        self.0.insert(free.clone());
        free
    }
}

/// The description of an agent: the one given or the default, with the names of its tools.
pub fn described<'a>(given: Option<&str>, tools: impl IntoIterator<Item = &'a str>) -> String {
    let given = given.unwrap_or(DEFAULT_DESCRIPTION);
    let mut named = String::new();
    let mut unnamed = 0;
    for tool in tools {
        if named.len() + tool.len() > MAX_NAMED_CHARS {
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
    fn ids_are_the_accelerators() {
        let check = |name, expected: &str| assert_eq!(agent_id(name, 4), expected);
        check(Some("My Custom Calculator Agent"), "my_custom_calculator_agent");
        check(Some("Ärzte-Suche"), "ärzte-suche");
        check(None, "external-mcp-agent-4");
    }

    #[test]
    fn the_first_of_a_name_keeps_it() {
        let mut ids = UniqueIds::default();
        let given = ["a", "a", "a_2", "a", "b"].map(|id| ids.take(id.to_owned()));
        assert_eq!(given, ["a", "a_2", "a_2_2", "a_3", "b"]);
    }

    #[test]
    fn descriptions_name_the_tools_within_bounds() {
        assert_eq!(described(Some("Adds."), ["add", "sub"]), "Adds. The tools available are: add, sub.");
        assert_eq!(described(None, []), DEFAULT_DESCRIPTION);
        let long = "x".repeat(3_000);
        let text = described(Some("D."), [long.as_str(), long.as_str(), "add"]);
        assert!(text.ends_with("x, add and 1 more."), "{}", &text[text.len() - 30..]);
    }
}
