//! Which fields an entry may have, and what a misspelt one may have meant.

/// How alike a misspelt field must be to be suggested, by Jaro-Winkler: 0.8 takes `mcp_ulr` and
/// `password` and leaves out what only shares a prefix.
const ALIKE: f64 = 0.8;

/// What every entry may have.
pub(super) const COMMON: [&str; 10] = [
    "mcp_url",
    "agent_runtime_arn",
    "region",
    "qualifier",
    "agent_name",
    "agent_description",
    "transport",
    "tools",
    "auth_type",
    "extra_headers",
];

/// How an entry may say that its server is signed in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthType {
    None,
    Cognito,
    ApiKey,
    OAuth2,
}

impl AuthType {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Cognito, Self::ApiKey, Self::OAuth2];

    pub(super) fn named(name: &str) -> Option<Self> {
        // The original's other half calls a key a token.
        let name = if name == "token" { "api_key" } else { name };
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cognito => "cognito",
            Self::ApiKey => "api_key",
            Self::OAuth2 => "oauth2",
        }
    }

    /// What an entry of this kind may have beside what every entry may.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Cognito => &[
                "cognito_user_pool_id",
                "cognito_client_id",
                "cognito_client_secret",
                "cognito_username",
                "cognito_password",
            ],
            Self::ApiKey => &["credentials", "authorization_scheme", "api_key_header"],
            Self::OAuth2 => &[
                "grant_type",
                "client_id",
                "client_secret",
                "private_key",
                "private_key_id",
                "signing_algorithm",
                "scopes",
                "audience",
                "resource",
                "issuer",
                "authorization_url",
                "token_url",
            ],
        }
    }

    pub(super) fn allows(self, field: &str) -> bool {
        COMMON.contains(&field) || self.fields().contains(&field)
    }
}

/// Which kind of entry a field belongs to, if to one alone.
pub(super) fn owner(field: &str) -> Option<AuthType> {
    AuthType::ALL.into_iter().find(|kind| kind.fields().contains(&field))
}

/// What is told of a field that starts a program.
pub(super) const STARTS_PROGRAM: &str = "it starts a program on one's own machine, which is not done here: run the server somewhere that speaks HTTP, and give its URL as mcp_url";

/// What other MCP clients call a field of theirs, and what to do about it here.
pub(super) fn of_other_clients(name: &str) -> Option<&'static str> {
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

/// The known field that a name is most like; of one kind of entry, if that is known.
pub(super) fn nearest(name: &str, kind: Option<AuthType>) -> Option<&'static str> {
    let name = name.to_lowercase();
    let alike = |known: &&'static str| {
        // `password` for `cognito_password` is the commonest slip of all.
        let bare = known.split_once('_').map_or(*known, |(_, bare)| bare);
        strsim::jaro_winkler(&name, known).max(strsim::jaro_winkler(&name, bare))
    };
    let kinds = AuthType::ALL.into_iter().filter(|one| kind.is_none_or(|kind| kind == *one));
    let known = COMMON.iter().chain(kinds.flat_map(AuthType::fields)).copied();
    known.max_by(|a, b| alike(a).total_cmp(&alike(b))).filter(|known| alike(known) >= ALIKE)
}
