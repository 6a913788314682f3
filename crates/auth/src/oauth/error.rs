//! The errors of signing in with OAuth: the enum, its messages and its codes.
//!
//! The authorization server's own words (`error`, `error_description`) are part of a message, since an operator needs
//! them to find the cause. They are shown cut, without control characters and without any secret that was sent. The
//! remedies are in [`super::error_remedy`]; [`super::error_context`] adds to an error what its caller knows.

use std::sync::Arc;

use egress::{EgressError, Shown};
use vault::VaultError;

use super::request_context::{Endpoint, RequestContext};

/// The reason why there is no access token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OAuthError {
    /// The endpoint was not reached, or the egress policy refuses its address.
    #[error("{endpoint} was not reached: {source}")]
    Unreachable {
        /// The endpoint.
        endpoint: Endpoint,
        /// The cause.
        source: Arc<EgressError>,
    },
    /// The endpoint answered with an error status, or with a web page, and without an OAuth error code.
    #[error("{endpoint} answered with HTTP status {status}{}", after_colon(.server_message))]
    Status {
        /// The endpoint.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// The error message in the answer, if it has one.
        server_message: Option<Shown>,
        /// What was requested, and by which client.
        context: RequestContext,
    },
    /// The answer is not JSON.
    #[error("{endpoint} answered with {} instead of JSON", if *.html { "HTML" } else { "something else" })]
    NotJson {
        /// The endpoint.
        endpoint: Endpoint,
        /// True if the answer looks like a web page.
        html: bool,
    },
    /// The document was redirected too often.
    #[error("{endpoint} is redirected more than {times} times")]
    Moved {
        /// The endpoint.
        endpoint: Endpoint,
        /// How many redirects are followed.
        times: usize,
    },
    /// The answer is larger than the limit.
    #[error("{endpoint} answered with something larger than {limit} bytes")]
    TooLarge {
        /// The endpoint.
        endpoint: Endpoint,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer is JSON and lacks a required member.
    #[error("{endpoint} answered without a usable {field}")]
    Incomplete {
        /// The endpoint.
        endpoint: Endpoint,
        /// The member that is missing or malformed.
        field: &'static str,
    },
    /// The MCP server's metadata is for another resource.
    #[error("the protected-resource metadata is for the resource {found}, not for {expected}")]
    ResourceMismatch {
        /// The MCP server's URL.
        expected: String,
        /// `resource` in the metadata.
        found: Shown,
    },
    /// The authorization server's metadata names another issuer.
    #[error("the authorization server's metadata names the issuer {found}, not {expected}")]
    IssuerMismatch {
        /// The issuer that the metadata was looked up for.
        expected: Shown,
        /// `issuer` in the metadata.
        found: Shown,
    },
    /// The MCP server names another authorization server than at the first sign-in.
    #[error(
        "the server now names the authorization server {found}, where it was {pinned} at the first sign-in; nothing was sent to the new one"
    )]
    IssuerChanged {
        /// The issuer of the first sign-in.
        pinned: Shown,
        /// The issuer that the server names now.
        found: Shown,
    },
    /// No metadata names the authorization server's endpoints.
    #[error("the server asks for a sign-in but no metadata says where: none of {tried} is there")]
    NoMetadata {
        /// The URLs that were asked.
        tried: Shown,
    },
    /// The authorization server does not announce PKCE with S256.
    #[error("the authorization server {issuer} does not support PKCE with S256")]
    NoPkce {
        /// The authorization server.
        issuer: Shown,
    },
    /// The first authorization server that the MCP server names cannot be used, and the server names others.
    #[error("{first}; the server also names the authorization servers {others}, {}", why_unused(*.were_tried))]
    OneOfSeveral {
        /// The error of the first authorization server.
        first: Box<Self>,
        /// The issuers of the others.
        others: Shown,
        /// True if the others were tried too.
        were_tried: bool,
    },
    /// The URL is not `https`: no browser and no secret is sent there.
    #[error("{endpoint} is not an https URL")]
    NotHttps {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The authorization server lacks a feature that this client needs.
    #[error("the authorization server {issuer} {lacks}")]
    NotOffered {
        /// The authorization server.
        issuer: Shown,
        /// The missing feature, as the end of a sentence.
        lacks: &'static str,
    },
    /// The authorization server knows no client of this backend, and none can register itself there.
    #[error(
        "the authorization server {issuer} knows no client of ours and lets none register{}; the redirect URI to register one with is {redirect_uri}",
        in_brackets(server_message)
    )]
    ClientNeeded {
        /// The authorization server.
        issuer: Shown,
        /// The redirect URI to register a client with.
        redirect_uri: String,
        /// The error message of the registration endpoint, if there is one.
        server_message: Option<Shown>,
    },
    /// The endpoint answered with an OAuth error code.
    #[error("{endpoint} refused with {error}{}", after_colon(.description))]
    Refused {
        /// The endpoint.
        endpoint: Endpoint,
        /// `error`.
        error: Shown,
        /// `error_description`.
        description: Option<Shown>,
        /// What was requested, and by which client.
        context: RequestContext,
    },
    /// A refusal during a sign-in with a redirect URI, which the remedy may name.
    #[error("{refusal}")]
    WithRedirectUri {
        /// The redirect URI of the sign-in.
        redirect_uri: String,
        /// The refusal.
        refusal: Box<Self>,
    },
    /// The token type is one that cannot be sent as a bearer token.
    #[error("the token endpoint gave a token of the type {found}, not Bearer")]
    TokenType {
        /// `token_type`.
        found: Shown,
    },
    /// The private key for client assertions cannot sign.
    #[error("the private key cannot sign: {reason}")]
    PrivateKey {
        /// The reason, in this program's words.
        reason: &'static str,
    },
    /// No pending sign-in has this state.
    #[error("nobody waits for this sign-in: its state is unknown, used, or older than ten minutes")]
    State,
    /// The sign-in was started by another user than the one who completes it.
    #[error("this sign-in was started by another user")]
    OtherUser,
    /// The redirect has no `iss`, although the authorization server announces it (RFC 9207).
    #[error("the redirect names no issuer although {expected} announces that it always does")]
    IssMissing {
        /// The issuer of the sign-in.
        expected: Shown,
    },
    /// `iss` in the redirect names another issuer than the one of the sign-in.
    #[error("the redirect comes from the issuer {found}, not from {expected}")]
    IssMismatch {
        /// The issuer of the sign-in.
        expected: Shown,
        /// `iss` in the redirect.
        found: Shown,
    },
    /// The redirect came to the redirect URI of another authorization server.
    #[error("the redirect came back to the address of another authorization server than {expected}")]
    OtherRedirect {
        /// The issuer of the sign-in.
        expected: Shown,
    },
    /// The redirect has no `code`.
    #[error("the redirect holds no code")]
    NoCode,
    /// No redirect has arrived for this sign-in yet.
    #[error("the user has not come back from the authorization server yet")]
    NotYet,
    /// The system has no random numbers for `state` and the PKCE verifier.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The vault failed.
    #[error(transparent)]
    Store(#[from] VaultError),
}

impl OAuthError {
    /// Returns the error itself, without a redirect URI or the names of other authorization servers beside it.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::WithRedirectUri { refusal, .. } => refusal.innermost(),
            Self::OneOfSeveral { first, .. } => first.innermost(),
            error => error,
        }
    }

    /// Returns the error message of the authorization server, with its code or HTTP status; `None` for other errors.
    pub(crate) fn server_message(&self) -> Option<Shown> {
        match self {
            Self::Refused { error, description, .. } => {
                let description = description.as_ref().map(|text| format!(": {}", text.whole()));
                Some(Shown::new(&format!("{}{}", error.whole(), description.unwrap_or_default())))
            }
            Self::Status { status, server_message, .. } => {
                let message = server_message.as_ref().map(|message| format!(": {}", message.whole()));
                Some(Shown::new(&format!("HTTP status {status}{}", message.unwrap_or_default())))
            }
            _ => None,
        }
    }

    /// Returns the kind of failure, as a code that programs can match on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { source, .. } => match source.as_ref() {
                EgressError::Refused { .. } | EgressError::Url => "address_refused",
                _ => "authorization_server_unreachable",
            },
            Self::Status { status: 429 | 500..=599, .. } => "authorization_server_failed",
            Self::Status { endpoint, .. }
            | Self::NotJson { endpoint, .. }
            | Self::TooLarge { endpoint, .. }
            | Self::Moved { endpoint, .. }
            | Self::Incomplete { endpoint, .. } => match endpoint {
                Endpoint::ResourceMetadata | Endpoint::AuthorizationServerMetadata => "metadata_unusable",
                _ => "authorization_server_failed",
            },
            Self::ResourceMismatch { .. } => "resource_mismatch",
            Self::IssuerMismatch { .. } => "issuer_mismatch",
            Self::IssuerChanged { .. } => "issuer_changed",
            Self::NoMetadata { .. } => "no_metadata",
            Self::NoPkce { .. } => "pkce_not_supported",
            Self::OneOfSeveral { first, .. } => first.kind(),
            Self::WithRedirectUri { refusal, .. } => refusal.kind(),
            Self::NotHttps { .. } => "not_https",
            Self::NotOffered { .. } => "not_offered",
            Self::ClientNeeded { .. } => "client_needed",
            Self::Refused { .. } => "refused",
            Self::TokenType { .. } => "token_type",
            Self::PrivateKey { .. } => "private_key",
            Self::State => "state_mismatch",
            Self::OtherUser => "other_user",
            Self::IssMissing { .. } => "iss_missing",
            Self::IssMismatch { .. } | Self::OtherRedirect { .. } => "iss_mismatch",
            Self::NoCode => "no_code",
            Self::NotYet => "not_yet",
            Self::NoRandomness => "no_randomness",
            Self::Store(_) => "store",
        }
    }
}

/// Returns why the other authorization servers that the MCP server names are not used, as the end of a sentence.
fn why_unused(were_tried: bool) -> &'static str {
    match were_tried {
        true => "which cannot be used either",
        false => "which were not tried, since the entry is for one authorization server only",
    }
}

fn after_colon(text: &Option<Shown>) -> String {
    text.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

fn in_brackets(text: &Option<Shown>) -> String {
    text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}
