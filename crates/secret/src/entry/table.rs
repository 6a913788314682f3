//! The table of an entry's fields: name, kind, sign-in, and help of each.
//!
//! Everything that lists fields is made from this table: how a value is held ([`super::EntryFields`]), which fields an
//! `auth_type` allows, the flags of `mcp-agents add`, and the tables of docs/entries.md (a test compares them).

use super::fields::{
    AuthType::{self, ApiKey, Cognito, OAuth2},
    EntryField,
    FieldKind::{Headers, Secret, Text, Tools, Words},
};

/// All fields, in the order in which documentation and `--help` show them.
pub const ENTRY_FIELDS: [EntryField; 30] = [
    EntryField::of_every_entry(
        "mcp_url",
        Text,
        "URL",
        "The URL of the MCP endpoint, with `https://`, or the ARN of an AgentCore runtime.",
    ),
    EntryField::of_every_entry(
        "agent_runtime_arn",
        Text,
        "ARN",
        "The ARN of an Amazon Bedrock AgentCore runtime, in place of `mcp_url`. Such a server takes `oauth2` or `cognito`.",
    ),
    EntryField::of_every_entry(
        "region",
        Text,
        "REGION",
        "The AgentCore runtime's region. Default: the ARN's; another one is refused.",
    ),
    EntryField::of_every_entry(
        "qualifier",
        Text,
        "QUALIFIER",
        "The AgentCore runtime's endpoint name. Default: `DEFAULT`.",
    ),
    EntryField::of_every_entry(
        "agent_name",
        Text,
        "NAME",
        "The agent's name; in lower case and with underscores it is the agent's id. Default: `External MCP Agent {N}` with the id `external-mcp-agent-{N}`, where N is the entry's position, counted from 1.",
    ),
    EntryField::of_every_entry(
        "agent_description",
        Text,
        "TEXT",
        "What the agent is for. The names of its tools are appended.",
    ),
    EntryField::of_every_entry(
        "transport",
        Text,
        "TRANSPORT",
        "`streamable_http` (default; `http` is the same) or `sse`, the HTTP+SSE transport of 2024-11-05.",
    ),
    EntryField::of_every_entry(
        "tools",
        Tools,
        "GLOB",
        "The tools that are offered: a list of names with globs (`[\"read_*\"]`), or `{\"allow\": […], \"deny\": […]}`. Default: all.",
    ),
    EntryField::of_every_entry(
        "extra_headers",
        Headers,
        "NAME=FILE",
        "Headers for every request to the server, `{\"X-Client\": \"…\"}`. `Authorization`, `Host` and MCP's own headers are refused. A value is removed from everything that is shown if the header's name says that it is secret (`X-Api-Key`), or if the value has 12 characters or more with letters and digits.",
    ),
    EntryField::of_every_entry(
        "auth_type",
        Text,
        "TYPE",
        "The sign-in: `none`, `cognito`, `api_key` (or `token`) or `oauth2`. Default: the sign-in that the other fields belong to. If it is given, a field of another sign-in is refused.",
    ),
    EntryField::of(
        Cognito,
        "cognito_user_pool_id",
        Text,
        "ID",
        "The user pool's id. The sign-in goes to the region in it.",
    ),
    EntryField::of(
        Cognito,
        "cognito_client_id",
        Text,
        "ID",
        "The app client's id. The app client must allow `ALLOW_USER_PASSWORD_AUTH`.",
    ),
    EntryField::of(
        Cognito,
        "cognito_client_secret",
        Secret,
        "FILE",
        "The app client's secret, if it has one.",
    ),
    EntryField::of(
        Cognito,
        "cognito_username",
        Text,
        "NAME",
        "The service user's name. The user must be confirmed and have no MFA.",
    ),
    EntryField::of(Cognito, "cognito_password", Secret, "FILE", "The service user's permanent password."),
    EntryField::of(
        ApiKey,
        "credentials",
        Secret,
        "FILE",
        "The key. A key that begins with its scheme (`Bearer abc`) is sent as it is.",
    ),
    EntryField::of(
        ApiKey,
        "authorization_scheme",
        Text,
        "SCHEME",
        "The scheme before the key: `Bearer` (default), `Token` or `none`.",
    ),
    EntryField::of(
        ApiKey,
        "api_key_header",
        Text,
        "NAME",
        "The header that carries the key. Default: `Authorization`.",
    ),
    EntryField::of(
        OAuth2,
        "grant_type",
        Text,
        "TYPE",
        "`authorization_code`: a user signs in. `client_credentials`: the client signs in for itself. Default: what the authorization server offers.",
    ),
    EntryField::of(
        OAuth2,
        "client_id",
        Text,
        "ID",
        "The client's id at the authorization server. Default: a client that registers itself.",
    ),
    EntryField::of(OAuth2, "client_secret", Secret, "FILE", "The client's secret, if it has one."),
    EntryField::of(
        OAuth2,
        "private_key",
        Secret,
        "FILE",
        "The client's private key in PEM, in place of `client_secret`.",
    ),
    EntryField::of(
        OAuth2,
        "private_key_id",
        Text,
        "ID",
        "The key's id (`kid`), if the authorization server needs it.",
    ),
    EntryField::of(
        OAuth2,
        "signing_algorithm",
        Text,
        "ALG",
        "The algorithm that the key signs with, such as `ES256`. Default: the one that fits the key.",
    ),
    EntryField::of(
        OAuth2,
        "scopes",
        Words,
        "WORDS",
        "The scopes to ask for: a text with spaces between them, or a list. Default: those that the server names.",
    ),
    EntryField::of(
        OAuth2,
        "audience",
        Text,
        "AUDIENCE",
        "The `audience` parameter, for authorization servers that name an API by it.",
    ),
    EntryField::of(
        OAuth2,
        "resource",
        Text,
        "RESOURCE",
        "The `resource` parameter (RFC 8707): a URL, or `omit` to send none. Default: the one in the server's metadata.",
    ),
    EntryField::of(
        OAuth2,
        "issuer",
        Text,
        "URL",
        "The authorization server's issuer. Default: the one in the server's metadata.",
    ),
    EntryField::of(
        OAuth2,
        "authorization_url",
        Text,
        "URL",
        "The authorization endpoint. Default: the one in the authorization server's metadata.",
    ),
    EntryField::of(
        OAuth2,
        "token_url",
        Text,
        "URL",
        "The token endpoint. Default: the one in the authorization server's metadata.",
    ),
];

/// Returns the field with this name, if there is one.
pub(super) fn entry_field(name: &str) -> Option<&'static EntryField> {
    ENTRY_FIELDS.iter().find(|field| field.name == name)
}

/// Returns the fields that belong to one sign-in alone.
pub(super) fn fields_of(auth_type: AuthType) -> impl Iterator<Item = &'static EntryField> {
    ENTRY_FIELDS.iter().filter(move |field| field.auth_type == Some(auth_type))
}

/// Returns true if an entry with this sign-in may have the field.
pub(super) fn is_allowed(auth_type: AuthType, name: &str) -> bool {
    entry_field(name).is_some_and(|field| field.auth_type.is_none_or(|kind| kind == auth_type))
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;
    use crate::entry::fields::FieldKind;

    const BEGIN: &str = "<!-- entry fields: begin -->\n";
    const END: &str = "<!-- entry fields: end -->\n";

    fn table(auth_type: Option<AuthType>) -> String {
        let rows = ENTRY_FIELDS.iter().filter(|field| field.auth_type == auth_type);
        let row = |field: &EntryField| {
            let kind = match field.kind {
                FieldKind::Text => "text",
                FieldKind::Secret => "secret",
                FieldKind::Words => "words",
                FieldKind::Headers => "headers",
                FieldKind::Tools => "tools",
            };
            format!("| `{}` | {kind} | {} |\n", field.name, field.help)
        };
        format!("| field | kind | meaning |\n|---|---|---|\n{}", rows.map(row).collect::<String>())
    }

    /// `UPDATE_DOCS=1 cargo test -p secret` writes the tables anew.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a switch for developers, no configuration")]
    fn the_tables_of_the_documentation_are_the_table_of_fields() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/entries.md");
        let text = fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (tables, after) = rest.split_once(END).unwrap();
        let of_sign_ins = AuthType::ALL.into_iter().filter(|kind| fields_of(*kind).next().is_some());
        let sections = of_sign_ins
            .map(|kind| format!("\nWith `auth_type: {}`:\n\n{}", kind.name(), table(Some(kind))))
            .collect::<String>();
        let expected = format!("\nEvery entry may have:\n\n{}{sections}\n", table(None));
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        } else {
            assert_eq!(tables, expected, "run UPDATE_DOCS=1 cargo test -p secret");
        }
    }
}
