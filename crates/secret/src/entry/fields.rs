//! The types of the table of fields ([`super::table`]).

/// A sign-in that an entry may name in `auth_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// `none`: requests carry no credential.
    None,
    /// `cognito`: a service user of a Cognito user pool.
    Cognito,
    /// `api_key`: a key in a header.
    ApiKey,
    /// `oauth2`: OAuth, for a user or for the client itself.
    OAuth2,
}

/// The kind of a field: which JSON values it takes, and how it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A text.
    Text,
    /// A text that is a credential.
    Secret,
    /// Words: a text with spaces between them, or a list of texts.
    Words,
    /// An object of header names and values; the values may be credentials.
    Headers,
    /// A selection of tools: a list of globs, or an object with `allow` and `deny`.
    Tools,
}

/// One field that an entry may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryField {
    /// The name in JSON, in snake_case.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: FieldKind,
    /// The sign-in that it belongs to; `None` if every entry may have it.
    pub auth_type: Option<AuthType>,
    /// The placeholder for its value in the command line's help: `URL`.
    pub placeholder: &'static str,
    /// What it means, in one or two sentences of Markdown, for `--help` and docs/entries.md.
    pub help: &'static str,
}

impl EntryField {
    pub(super) const fn of_every_entry(
        name: &'static str,
        kind: FieldKind,
        placeholder: &'static str,
        help: &'static str,
    ) -> Self {
        Self { name, kind, auth_type: None, placeholder, help }
    }

    pub(super) const fn of(
        auth_type: AuthType,
        name: &'static str,
        kind: FieldKind,
        placeholder: &'static str,
        help: &'static str,
    ) -> Self {
        Self { name, kind, auth_type: Some(auth_type), placeholder, help }
    }
}

impl AuthType {
    /// All sign-ins.
    pub const ALL: [Self; 4] = [Self::None, Self::Cognito, Self::ApiKey, Self::OAuth2];

    /// The sign-in with this name; `token` is the accelerator's other name for `api_key`.
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "token" { "api_key" } else { name };
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name that `auth_type` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cognito => "cognito",
            Self::ApiKey => "api_key",
            Self::OAuth2 => "oauth2",
        }
    }
}
