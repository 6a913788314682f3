//! Adds to an [`OAuthError`] what its caller knows: the request, the redirect URI, the entry; and removes secrets.
//!
//! Changes no error into another kind. Called wherever an error leaves a request or leaves this crate.

use egress::Shown;

use super::{
    config::OAuthConfig,
    error::OAuthError,
    request_context::{EntryFacts, RequestContext},
};

impl OAuthError {
    /// Adds what was requested and by which client, as far as the error does not say it.
    pub(crate) fn in_context(mut self, known: RequestContext) -> Self {
        if let Self::Refused { context, .. } | Self::Status { context, .. } = &mut self {
            *context = RequestContext {
                token_request: context.token_request.or(known.token_request),
                client: context.client.or(known.client),
                status: context.status.or(known.status),
                entry: known.entry,
            };
        }
        self
    }

    /// Adds the redirect URI of the sign-in to a refusal. Other errors stay as they are.
    pub(crate) fn with_redirect_uri(self, redirect_uri: &str) -> Self {
        match self {
            Self::Refused { .. } | Self::Status { .. } => {
                Self::WithRedirectUri { redirect_uri: redirect_uri.to_owned(), refusal: Box::new(self) }
            }
            other => other,
        }
    }

    /// Removes the secrets of `config` from the texts that come from servers: a server may repeat a secret that it was
    /// sent, even in its issuer. Adds what the entry says.
    pub(crate) fn scrubbed(mut self, config: &OAuthConfig) -> Self {
        let texts: [Option<&mut Shown>; 2] = match &mut self {
            Self::ResourceMismatch { found, .. } | Self::TokenType { found } => [Some(found), None],
            Self::IssuerMismatch { expected, found }
            | Self::IssMismatch { expected, found }
            | Self::IssuerChanged { pinned: expected, found } => [Some(expected), Some(found)],
            Self::NoMetadata { tried } => [Some(tried), None],
            Self::OneOfSeveral { first, others, .. } => {
                **first = first.clone().scrubbed(config);
                [Some(others), None]
            }
            Self::NoPkce { issuer } | Self::NotOffered { issuer, .. } => [Some(issuer), None],
            Self::ClientNeeded { issuer, server_message, .. } => [Some(issuer), server_message.as_mut()],
            Self::IssMissing { expected } => [Some(expected), None],
            Self::Refused { error, description, context, .. } => {
                context.entry = EntryFacts::of(config);
                [Some(error), description.as_mut()]
            }
            Self::Status { server_message, context, .. } => {
                context.entry = EntryFacts::of(config);
                [server_message.as_mut(), None]
            }
            Self::WithRedirectUri { refusal, .. } => {
                **refusal = refusal.clone().scrubbed(config);
                [None, None]
            }
            _ => [None, None],
        };
        for text in texts.into_iter().flatten() {
            *text = Shown::new(&config.scrub(text.whole().to_owned()));
        }
        self
    }
}
