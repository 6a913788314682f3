//! What goes wrong on the way to an access token, and what to do about it.
//!
//! Authorization servers' own words (`error`, `error_description`) are shown, since nobody can mend
//! anything without them: cut, without control characters, and without any secret that was sent.

use std::{borrow::Cow, sync::Arc};

use egress::{EgressError, Shown};

use super::{
    about::{About, EntryFacts, Place},
    config::OAuthConfig,
    issuer::is_same_issuer,
    remedy::{refusal_remedy, status_remedy},
};
use vault::VaultError;

/// Why there is no access token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OAuthError {
    /// An address was not reached, or is not allowed.
    #[error("{place} was not reached: {source}")]
    Unreachable {
        /// Which.
        place: Place,
        /// Why.
        source: Arc<EgressError>,
    },
    /// An answer that is neither what was asked for nor an OAuth error.
    #[error("{place} answered with HTTP status {status}{}", described(.said))]
    Status {
        /// Which.
        place: Place,
        /// The status.
        status: u16,
        /// What the answer says, where it says anything.
        said: Option<Shown>,
        /// What was asked for, and by which client.
        about: About,
    },
    /// A web page, or anything else, where JSON belongs.
    #[error("{place} answered with {} instead of JSON", if *.html { "HTML" } else { "something else" })]
    NotJson {
        /// Which.
        place: Place,
        /// Whether it looks like a web page.
        html: bool,
    },
    /// A document that is always somewhere else.
    #[error("{place} is redirected more than {times} times")]
    Moved {
        /// Which.
        place: Place,
        /// How often a redirect is followed.
        times: usize,
    },
    /// An answer that goes on and on.
    #[error("{place} answered with something larger than {limit} bytes")]
    TooLarge {
        /// Which.
        place: Place,
        /// How much is read.
        limit: usize,
    },
    /// JSON without what it must hold.
    #[error("{place} answered without a usable {field}")]
    Incomplete {
        /// Which.
        place: Place,
        /// What is missing or garbled.
        field: &'static str,
    },
    /// The server's metadata is for another resource.
    #[error("the protected-resource metadata is for the resource {found}, not for {expected}")]
    ResourceMismatch {
        /// What it should be for.
        expected: String,
        /// What it says.
        found: Shown,
    },
    /// The authorization server's metadata is of another issuer.
    #[error("the authorization server's metadata names the issuer {found}, not {expected}")]
    IssuerMismatch {
        /// Whose it should be.
        expected: Shown,
        /// Whose it is.
        found: Shown,
    },
    /// The server names another authorization server than at the first sign-in.
    #[error(
        "the server now names the authorization server {found}, where it was {pinned} at the first sign-in; nothing was sent to the new one"
    )]
    IssuerChanged {
        /// Whom it named then.
        pinned: Shown,
        /// Whom it names now.
        found: Shown,
    },
    /// Nothing says who signs people in to the server.
    #[error("the server asks for a sign-in but no metadata says where: none of {tried} is there")]
    NoMetadata {
        /// Where it was looked for.
        tried: Shown,
    },
    /// The authorization server does not promise S256.
    #[error("the authorization server {issuer} does not support PKCE with S256")]
    NoPkce {
        /// Which.
        issuer: Shown,
    },
    /// The authorization server that is meant cannot be used, and the server names others.
    #[error("{first}; the server also names the authorization servers {others}, {}", others_why(*.were_tried))]
    OneOfSeveral {
        /// What is wrong with the first.
        first: Box<Self>,
        /// The others.
        others: Shown,
        /// Whether they were tried too.
        were_tried: bool,
    },
    /// An address that no browser may be sent to, or no secret.
    #[error("{place} is not an https URL")]
    NotHttps {
        /// Which.
        place: Place,
    },
    /// The authorization server offers nothing that this client can do.
    #[error("the authorization server {issuer} {lacks}")]
    NotOffered {
        /// Which.
        issuer: Shown,
        /// What it lacks.
        lacks: &'static str,
    },
    /// No client is known at the authorization server, and none can be made there.
    #[error(
        "the authorization server {issuer} knows no client of ours and lets none register{}; the redirect URI to register one with is {redirect_uri}",
        in_brackets(said)
    )]
    ClientNeeded {
        /// Which.
        issuer: Shown,
        /// The redirect URI to register it with.
        redirect_uri: String,
        /// What the server said when this client tried to register, if it tried.
        said: Option<Shown>,
    },
    /// It refused, in its own words.
    #[error("{place} refused with {error}{}", described(.description))]
    Refused {
        /// Which.
        place: Place,
        /// The error's code.
        error: Shown,
        /// What it says about it.
        description: Option<Shown>,
        /// What was asked for, and by which client.
        about: About,
    },
    /// A refusal of a sign-in by way of a redirect URI, which its remedy may name.
    #[error("{refusal}")]
    OfSignIn {
        /// The redirect URI of the sign-in.
        redirect_uri: String,
        /// What was refused.
        refusal: Box<Self>,
    },
    /// The token is of a kind that cannot be sent as a bearer token.
    #[error("the token endpoint gave a token of the type {found}, not Bearer")]
    TokenType {
        /// What it says.
        found: Shown,
    },
    /// The key that signs assertions cannot be used.
    #[error("the private key cannot sign: {reason}")]
    PrivateKey {
        /// Why, in our own words.
        reason: &'static str,
    },
    /// The redirect came back with a state that nobody waits for.
    #[error("nobody waits for this sign-in: its state is unknown, used, or older than ten minutes")]
    State,
    /// The redirect came back for another user than the one who started.
    #[error("this sign-in was started by another user")]
    OtherUser,
    /// The redirect came back without `iss` although it was announced.
    #[error("the redirect names no issuer although {expected} announces that it always does")]
    IssMissing {
        /// Who should have been named.
        expected: Shown,
    },
    /// The redirect came back from another authorization server.
    #[error("the redirect comes from the issuer {found}, not from {expected}")]
    IssMismatch {
        /// Who should have been named.
        expected: Shown,
        /// Who was.
        found: Shown,
    },
    /// The redirect came to the address of another authorization server's client.
    #[error("the redirect came back to the address of another authorization server than {expected}")]
    OtherRedirect {
        /// Who should have sent it.
        expected: Shown,
    },
    /// The redirect came back without a code.
    #[error("the redirect holds no code")]
    NoCode,
    /// The user has not come back yet.
    #[error("the user has not come back from the authorization server yet")]
    NotYet,
    /// No random numbers, so no state that nobody can guess.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// Where tokens are kept did not answer.
    #[error(transparent)]
    Store(#[from] VaultError),
}

impl OAuthError {
    /// The same, knowing what was asked for and by which client.
    pub(crate) fn about(mut self, known: About) -> Self {
        if let Self::Refused { about, .. } | Self::Status { about, .. } = &mut self {
            *about = About {
                asking: about.asking.or(known.asking),
                client: about.client.or(known.client),
                status: about.status.or(known.status),
                entry: known.entry,
            };
        }
        self
    }

    /// The same, naming the redirect URI of the sign-in that was refused.
    pub(crate) fn of_sign_in(self, redirect_uri: &str) -> Self {
        match self {
            Self::Refused { .. } | Self::Status { .. } => {
                Self::OfSignIn { redirect_uri: redirect_uri.to_owned(), refusal: Box::new(self) }
            }
            other => other,
        }
    }

    /// The fault itself, without what stands beside it: a redirect URI, the names of other authorization servers.
    pub fn bare(&self) -> &Self {
        match self {
            Self::OfSignIn { refusal, .. } => refusal.bare(),
            Self::OneOfSeveral { first, .. } => first.bare(),
            fault => fault,
        }
    }

    /// What the authorization server said, where it said anything.
    pub(crate) fn said(&self) -> Option<Shown> {
        match self {
            Self::Refused { error, description, .. } => {
                let description = description.as_ref().map(|text| format!(": {}", text.whole()));
                Some(Shown::new(&format!("{}{}", error.whole(), description.unwrap_or_default())))
            }
            Self::Status { status, said, .. } => {
                let said = said.as_ref().map(|said| format!(": {}", said.whole())).unwrap_or_default();
                Some(Shown::new(&format!("HTTP status {status}{said}")))
            }
            _ => None,
        }
    }

    /// The same without any secret of `config` in what others say: a server that is shown one may name itself
    /// after it.
    pub(crate) fn without(mut self, config: &OAuthConfig) -> Self {
        let texts: [Option<&mut Shown>; 2] = match &mut self {
            Self::ResourceMismatch { found, .. } | Self::TokenType { found } => [Some(found), None],
            Self::IssuerMismatch { expected, found }
            | Self::IssMismatch { expected, found }
            | Self::IssuerChanged { pinned: expected, found } => [Some(expected), Some(found)],
            Self::NoMetadata { tried } => [Some(tried), None],
            Self::OneOfSeveral { first, others, .. } => {
                **first = first.clone().without(config);
                [Some(others), None]
            }
            Self::NoPkce { issuer } | Self::NotOffered { issuer, .. } => [Some(issuer), None],
            Self::ClientNeeded { issuer, said, .. } => [Some(issuer), said.as_mut()],
            Self::IssMissing { expected } => [Some(expected), None],
            Self::Refused { error, description, about, .. } => {
                about.entry = EntryFacts::of(config);
                [Some(error), description.as_mut()]
            }
            Self::Status { said, about, .. } => {
                about.entry = EntryFacts::of(config);
                [said.as_mut(), None]
            }
            Self::OfSignIn { refusal, .. } => {
                **refusal = refusal.clone().without(config);
                [None, None]
            }
            _ => [None, None],
        };
        for text in texts.into_iter().flatten() {
            *text = Shown::new(&config.scrub(text.whole().to_owned()));
        }
        self
    }

    /// The kind of failure, as a word that programs can match on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { source, .. } => match source.as_ref() {
                EgressError::Refused { .. } | EgressError::Url => "address_refused",
                _ => "authorization_server_unreachable",
            },
            Self::Status { status: 429 | 500..=599, .. } => "authorization_server_failed",
            Self::Status { place, .. }
            | Self::NotJson { place, .. }
            | Self::TooLarge { place, .. }
            | Self::Moved { place, .. }
            | Self::Incomplete { place, .. } => match place {
                Place::ResourceMetadata | Place::ServerMetadata => "metadata_unusable",
                _ => "authorization_server_failed",
            },
            Self::ResourceMismatch { .. } => "resource_mismatch",
            Self::IssuerMismatch { .. } => "issuer_mismatch",
            Self::IssuerChanged { .. } => "issuer_changed",
            Self::NoMetadata { .. } => "no_metadata",
            Self::NoPkce { .. } => "pkce_not_supported",
            Self::OneOfSeveral { first, .. } => first.kind(),
            Self::OfSignIn { refusal, .. } => refusal.kind(),
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

    /// What to do about it, as an instruction that can be followed as it stands.
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::ClientNeeded { redirect_uri, .. } => format!(
                "register a client at the authorization server with the redirect URI {redirect_uri}, and give its client_id (and client_secret) in the entry"
            )
            .into(),
            Self::OfSignIn { redirect_uri, refusal } => match refusal.as_ref() {
                Self::Refused { place, about, error, .. } => {
                    refusal_remedy(*place, *about, error.whole(), Some(redirect_uri))
                }
                other => other.remedy(),
            },
            Self::Refused { place, about, error, .. } => refusal_remedy(*place, *about, error.whole(), None),
            Self::Status { place, about, status, .. } if !matches!(status, 429 | 500..=599) && about.client.is_some() => {
                status_remedy(*place, *about, *status)
            }
            Self::OneOfSeveral { first, others, .. } => {
                let first = first.remedy();
                format!("{first}; or, to use another of them, give that one as issuer in the entry: {others}").into()
            }
            Self::IssuerMismatch { found, .. } if is_template(found.whole()) => format!(
                "the issuer is a template: give issuer in the entry as {found}, with your own tenant in the place of the braces and what is in them"
            )
            .into(),
            Self::IssMismatch { expected, found } if is_same_issuer(expected.whole(), found.whole()) => format!(
                "the two differ by the slash at the end alone: give issuer in the entry exactly as {found}, or have the authorization server write it alike in its metadata and its redirects"
            )
            .into(),
            _ => self.fixed_remedy().into(),
        }
    }

    /// The remedies that name nothing of this one failure.
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
            Self::Status { place, .. }
            | Self::NotJson { place, .. }
            | Self::TooLarge { place, .. }
            | Self::Moved { place, .. }
            | Self::Incomplete { place, .. } => match place {
                Place::ResourceMetadata | Place::ServerMetadata => {
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
            Self::OneOfSeveral { first, .. } | Self::OfSignIn { refusal: first, .. } => first.fixed_remedy(),
            Self::NotHttps { .. } => "have the authorization server's metadata mended: it must be https",
            Self::NotOffered { .. } => "check grant_type in the entry, and what the client may do there",
            Self::ClientNeeded { .. } | Self::Refused { .. } => "look at the authorization server's own logs",
            Self::TokenType { .. } => "use an authorization server that gives bearer tokens",
            Self::PrivateKey { .. } => {
                "give private_key as PEM (PKCS#8), and signing_algorithm to match the key: ES256, RS256, PS256 or EdDSA"
            }
            Self::State | Self::NoCode => "start the sign-in again",
            Self::NotYet => "sign in on the page first, then complete",
            Self::NoRandomness => "look at the machine that this runs on",
            Self::OtherUser => "start the sign-in yourself, and finish it as the same user",
            Self::IssMissing { .. } | Self::IssMismatch { .. } | Self::OtherRedirect { .. } => {
                "do not go on: somebody may be mixing up authorization servers; start again, and report it if it stays"
            }
            Self::Store(error) => error.remedy(),
        }
    }
}

/// Why the others that a server names are not used.
fn others_why(were_tried: bool) -> &'static str {
    match were_tried {
        true => "which cannot be used either",
        false => "which were not tried: the entry means one alone",
    }
}

/// Whether an issuer is a template, as the `common` one of Entra ID: `https://login.example.com/{tenantid}/v2.0`.
pub(super) fn is_template(issuer: &str) -> bool {
    issuer.split_once('{').is_some_and(|(_, rest)| rest.contains('}'))
}

fn described(description: &Option<Shown>) -> String {
    description.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

fn in_brackets(said: &Option<Shown>) -> String {
    said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default()
}
