//! Hints for a field name that is not known: the known field that it resembles, or what another MCP client means by it.

use super::{
    fields::AuthType,
    table::{ENTRY_FIELDS, is_allowed},
};

/// The similarity (Jaro-Winkler, 0 to 1) from which a known field is suggested. 0.8 accepts `mcp_ulr` and `password`,
/// and rejects names that only share a prefix.
const MIN_SIMILARITY: f64 = 0.8;

/// The problem of a field that starts a program.
pub(super) const STARTS_PROGRAM: &str = "it starts a program on one's own machine, which is not done here: run the server somewhere that speaks HTTP, and give its URL as mcp_url";

/// Returns what to write instead of a field that does not belong in an entry of this sign-in; of any sign-in for `None`.
pub(super) fn suggestion(name: &str, auth_type: Option<AuthType>) -> Option<String> {
    let known = || nearest(name, auth_type).filter(|known| *known != name);
    let of_another_client = hint_for_other_clients(name).map(str::to_owned);
    of_another_client.or_else(|| known().map(|known| format!("did you mean {known}?")))
}

/// Returns what to write here for a field of another MCP client's configuration.
fn hint_for_other_clients(name: &str) -> Option<&'static str> {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match name.to_ascii_lowercase().as_str() {
        "url" | "serverurl" | "httpurl" | "endpoint" | "uri" => "the server's URL is written as mcp_url here",
        "type" | "transporttype" => "how the server is spoken to is written as transport here",
        "headers" | "httpheaders" | "requestheaders" => "headers are written as extra_headers here",
        "command" | "args" | "env" | "cwd" | "envfile" => STARTS_PROGRAM,
        "mcpservers" | "servers" | "contextservers" => {
            "it is another MCP client's list of servers: write each of them as an entry of its own, \
             {\"mcp_url\": …}"
        }
        _ => return None,
    })
}

/// Returns the known field that is most similar to `name`, among those that the sign-in allows.
fn nearest(name: &str, auth_type: Option<AuthType>) -> Option<&'static str> {
    let name = name.to_lowercase();
    let similarity = |known: &&'static str| {
        // Users often leave out the prefix: `password` for `cognito_password`.
        let bare = known.split_once('_').map_or(*known, |(_, bare)| bare);
        strsim::jaro_winkler(&name, known).max(strsim::jaro_winkler(&name, bare))
    };
    let allowed = ENTRY_FIELDS.iter().map(|field| field.name);
    let allowed = allowed.filter(|known| auth_type.is_none_or(|kind| is_allowed(kind, known)));
    let nearest = allowed.max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    nearest.filter(|known| similarity(known) >= MIN_SIMILARITY)
}
