//! What to do about an [`OAuthError`]: one instruction for each error.
//!
//! Refusals have remedies of their own ([`super::refusal_remedy`]), which depend on the request and the entry.

use std::borrow::Cow;

use egress::EgressError;

use super::{
    error::OAuthError,
    issuer::{is_same_issuer, is_template},
    refusal_remedy::{refusal_remedy, status_remedy},
    request_context::Endpoint,
};

impl OAuthError {
    /// Returns what to do about the error, as an instruction that can be followed as it stands.
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::ClientNeeded { redirect_uri, .. } => format!(
                "register a client at the authorization server with the redirect URI {redirect_uri}, and give its client_id (and client_secret) in the entry"
            )
            .into(),
            Self::WithRedirectUri { redirect_uri, refusal } => match refusal.as_ref() {
                Self::Refused { endpoint, context, error, .. } => {
                    refusal_remedy(*endpoint, *context, error.whole(), Some(redirect_uri))
                }
                other => other.remedy(),
            },
            Self::Refused { endpoint, context, error, .. } => refusal_remedy(*endpoint, *context, error.whole(), None),
            Self::Status { endpoint, context, status, .. } if !matches!(status, 429 | 500..=599) && context.client.is_some() => {
                status_remedy(*endpoint, *context, *status)
            }
            Self::OneOfSeveral { first, others, .. } => {
                let first = first.remedy();
                format!("{first}; or, to use another of them, give that one as issuer in the entry: {others}").into()
            }
            Self::IssuerMismatch { found, .. } if is_template(found.whole()) => format!(
                "the issuer is a template: give issuer in the entry as {found}, with your own tenant in place of the braces and the text in them"
            )
            .into(),
            Self::IssMismatch { expected, found } if is_same_issuer(expected.whole(), found.whole()) => format!(
                "the two differ by the slash at the end alone: give issuer in the entry exactly as {found}, or have the authorization server write it alike in its metadata and its redirects"
            )
            .into(),
            _ => self.fixed_remedy().into(),
        }
    }

    /// Returns the remedy of an error whose remedy depends on nothing but its kind.
    fn fixed_remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { source, .. } => match source.as_ref() {
                EgressError::Refused { .. } => {
                    "if that address is inside your network, name its network in ALLOW_PRIVATE_MCP_SERVERS; otherwise do not trust this server"
                }
                EgressError::Url => "the address must be https; have the server's metadata mended",
                _ => "check that the authorization server runs and that firewalls let this through",
            },
            Self::Status { status: 429, .. } => "wait: the authorization server limits requests",
            Self::Status { status: 500..=599, .. } => "look at the authorization server's own logs",
            Self::Status { endpoint, .. }
            | Self::NotJson { endpoint, .. }
            | Self::TooLarge { endpoint, .. }
            | Self::Moved { endpoint, .. }
            | Self::Incomplete { endpoint, .. } => match endpoint {
                Endpoint::ResourceMetadata | Endpoint::AuthorizationServerMetadata => {
                    "have the metadata mended, or give issuer, or authorization_url and token_url, in the entry"
                }
                _ => "check that the endpoints are the authorization server's own, and look at its logs",
            },
            Self::ResourceMismatch { .. } => {
                "give mcp_url exactly as the server's metadata names it, or that name as resource if you trust it"
            }
            Self::IssuerMismatch { .. } => {
                "have the authorization server's metadata mended; if its issuer is right, give it as issuer in the entry"
            }
            Self::IssuerChanged { .. } => {
                "find out whether that change is meant; if you trust the new authorization server, give it as issuer in the entry"
            }
            Self::NoMetadata { .. } => {
                "give issuer, or authorization_url and token_url, in the entry; or auth_type api_key if the server takes keys"
            }
            Self::NoPkce { .. } => {
                "turn PKCE with S256 on there; if it is on and only not announced, give authorization_url in the entry"
            }
            Self::OneOfSeveral { first, .. } | Self::WithRedirectUri { refusal: first, .. } => {
                first.fixed_remedy()
            }
            Self::NotHttps { .. } => "have the authorization server's metadata mended: it must be https",
            Self::NotOffered { .. } => "check grant_type in the entry, and what the client may do there",
            Self::ClientNeeded { .. } | Self::Refused { .. } => "look at the authorization server's own logs",
            Self::TokenType { .. } => "use an authorization server that gives bearer tokens",
            Self::PrivateKey { .. } => {
                "give private_key as PEM (PKCS#8), and signing_algorithm to match the key: ES256, RS256, PS256 or EdDSA"
            }
            Self::State | Self::NoCode => "start the sign-in again",
            Self::NotYet => "sign in on the authorization server's page first, then complete the sign-in",
            Self::NoRandomness => {
                "check the random number generator of the machine that this program runs on"
            }
            Self::OtherUser => "start the sign-in yourself, and finish it as the same user",
            Self::IssMissing { .. } | Self::IssMismatch { .. } | Self::OtherRedirect { .. } => {
                "do not continue: another authorization server may be trying to get the code (a mix-up attack); start the sign-in again, and report it to your administrator if the error comes back"
            }
            Self::Store(error) => error.remedy(),
        }
    }
}
