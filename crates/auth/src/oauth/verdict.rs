//! The verdict on a refusal of an authorization server, from the endpoint, the request, the client, and the answer.
//!
//! Does not act on it: [`super::lease_holder`], [`super::consent`] and [`super::registration`] do. The text for people is
//! in [`super::refusal_remedy`].
//!
//! Sources: RFC 6749 §§4.1.2.1 and 5.2, RFC 7591 §3.2.2, RFC 8707 §2; and the codes that servers use in their place.

use super::error::OAuthError;
use super::request_context::{ClientKind, Endpoint, RequestContext, TokenRequestKind};

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The grant has ended: a user must sign in again.
    GrantEnds,
    /// The server no longer knows the client that registered itself: its grants have ended, and the next sign-in
    /// registers a new client.
    ClientForgotten,
    /// No client can register itself at the server: an administrator must register one.
    ClientNeeded,
    /// The same request may succeed later.
    RetryLater,
    /// The entry is wrong (client, scopes, resource), and its author can correct it. The grant does not end.
    EntryWrong,
}

/// The subject of an error code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    /// The authorization server itself: it cannot answer now.
    Server,
    /// The client, or its redirect URI.
    Client,
    /// The scopes or the resource that were requested.
    ScopeOrResource,
    /// The authorization code or the refresh token.
    Grant,
    /// The syntax of the request, or anything else.
    Other,
}

/// Returns the verdict on a refusal; [`Verdict::RetryLater`] on errors that are no refusal.
pub(crate) fn verdict(error: &OAuthError) -> Verdict {
    match error.innermost() {
        OAuthError::Refused { endpoint, error, context, .. } => {
            let status = context.status.unwrap_or(400);
            judge(*endpoint, context.token_request, context.client, status, Some(error.whole()))
        }
        OAuthError::Status { endpoint, status, context, .. } => {
            judge(*endpoint, context.token_request, context.client, *status, None)
        }
        _ => Verdict::RetryLater,
    }
}

/// Returns the verdict on an answer. `code` is `None` if the answer is no OAuth error: a web page, or other JSON.
fn judge(
    endpoint: Endpoint,
    token_request: Option<TokenRequestKind>,
    client: Option<ClientKind>,
    status: u16,
    code: Option<&str>,
) -> Verdict {
    let topic = code.map(topic);
    if is_temporary(status, topic) {
        return Verdict::RetryLater;
    }
    match (endpoint, topic) {
        (Endpoint::Registration, _) => of_registration(status, code),
        (_, Some(Topic::Client)) if client == Some(ClientKind::Registered) => Verdict::ClientForgotten,
        // The server reads the client ID metadata document again at the next sign-in, and refuses it until then.
        (Endpoint::Token, Some(Topic::Client)) if client == Some(ClientKind::Document) => ends(token_request),
        (_, Some(Topic::Client | Topic::ScopeOrResource)) => Verdict::EntryWrong,
        // Some servers answer with a web page or other JSON for a client that they have deleted.
        (Endpoint::Token | Endpoint::Revocation, None) if client == Some(ClientKind::Registered) => {
            Verdict::ClientForgotten
        }
        (Endpoint::Token, Some(Topic::Grant))
            if token_request == Some(TokenRequestKind::AuthorizationCode) =>
        {
            Verdict::GrantEnds
        }
        // With any other code the refresh token is refused for good.
        (Endpoint::Token, _) => ends(token_request),
        _ => Verdict::EntryWrong,
    }
}

/// Returns the verdict on a final refusal: a refused refresh token ends its grant; other requests have no grant yet.
fn ends(token_request: Option<TokenRequestKind>) -> Verdict {
    if token_request == Some(TokenRequestKind::RefreshToken) {
        Verdict::GrantEnds
    } else {
        Verdict::EntryWrong
    }
}

fn of_registration(status: u16, code: Option<&str>) -> Verdict {
    match (status, code) {
        (401 | 403 | 404 | 405 | 410 | 501, _) | (_, None) => Verdict::ClientNeeded,
        (
            _,
            Some(
                "invalid_client_metadata"
                | "invalid_redirect_uri"
                | "invalid_scope"
                | "insufficient_scope"
                | "invalid_request"
                | "invalid_target",
            ),
        ) => Verdict::EntryWrong,
        _ => Verdict::ClientNeeded,
    }
}

/// Returns true if a registration that asks for less may be taken where this one was refused.
pub(super) fn may_be_asked_for_less(error: &OAuthError) -> bool {
    match error {
        // Keycloak refuses scopes by policy, with 403.
        OAuthError::Refused { error, context: RequestContext { status: Some(403), .. }, .. } => {
            matches!(error.whole(), "insufficient_scope" | "invalid_scope" | "invalid_client_metadata")
        }
        OAuthError::Refused { error, context, .. } => {
            matches!(context.status, Some(400 | 422)) && error.whole() != "invalid_redirect_uri"
        }
        // Some frameworks refuse a JSON body with 422.
        OAuthError::Status { status, .. } => matches!(status, 400 | 422),
        _ => false,
    }
}

/// Returns true if the refusal is temporary: 408, 425, 429, and the 5xx of a failing server or gateway. `invalid_grant` is
/// final even with status 500. 502 and 504 come from a gateway, whatever the body says.
fn is_temporary(status: u16, topic: Option<Topic>) -> bool {
    match status {
        408 | 425 | 429 | 502 | 504 => true,
        501 => topic == Some(Topic::Server),
        500..=599 => topic != Some(Topic::Grant),
        _ => topic == Some(Topic::Server),
    }
}

/// Returns the subject of an error code: one of the standards, or one that GitHub, Slack, Google and others use instead.
fn topic(code: &str) -> Topic {
    match code {
        "temporarily_unavailable"
        | "server_error"
        | "slow_down"
        | "service_unavailable"
        | "internal_error"
        | "rate_limit_exceeded"
        | "rate_limited"
        | "ratelimited"
        | "too_many_requests" => Topic::Server,
        "invalid_client"
        | "unauthorized_client"
        | "unknown_client"
        | "client_not_found"
        | "invalid_client_id"
        | "bad_client_id"
        | "bad_client_secret"
        | "invalid_client_secret"
        | "invalid_client_credentials"
        | "incorrect_client_credentials"
        | "invalid_redirect_uri"
        | "redirect_uri_mismatch"
        | "bad_redirect_uri" => Topic::Client,
        "invalid_scope" | "insufficient_scope" | "invalid_target" | "invalid_resource" => {
            Topic::ScopeOrResource
        }
        "invalid_grant" => Topic::Grant,
        _ => Topic::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egress::Shown;

    fn refused(
        endpoint: Endpoint,
        token_request: Option<TokenRequestKind>,
        client: ClientKind,
        status: u16,
        code: &str,
    ) -> Verdict {
        let context = RequestContext {
            token_request,
            client: Some(client),
            status: Some(status),
            ..RequestContext::default()
        };
        verdict(&OAuthError::Refused { endpoint, error: Shown::new(code), description: None, context })
    }

    #[test]
    fn a_final_refusal_of_a_refresh_token_ends_the_grant() {
        let check = |client, status, code: &str, expected| {
            assert_eq!(
                refused(Endpoint::Token, Some(TokenRequestKind::RefreshToken), client, status, code),
                expected,
                "{status} {code}"
            );
        };
        use ClientKind::{Document, OfEntry, Registered};
        for code in
            ["invalid_grant", "invalid_request", "bad_refresh_token", "unsupported_grant_type", "whatever"]
        {
            check(OfEntry, 400, code, Verdict::GrantEnds);
            check(Registered, 200, code, Verdict::GrantEnds);
        }
        check(Registered, 500, "invalid_grant", Verdict::GrantEnds);
        for (status, code) in
            [(400, "temporarily_unavailable"), (400, "slow_down"), (503, "x"), (429, "x"), (408, "x")]
        {
            check(Registered, status, code, Verdict::RetryLater);
        }
        check(Registered, 401, "invalid_client", Verdict::ClientForgotten);
        check(Registered, 400, "unauthorized_client", Verdict::ClientForgotten);
        check(OfEntry, 401, "invalid_client", Verdict::EntryWrong);
        check(Document, 401, "invalid_client", Verdict::GrantEnds);
        check(Registered, 200, "incorrect_client_credentials", Verdict::ClientForgotten);
        check(Registered, 429, "invalid_grant", Verdict::RetryLater);
        check(Registered, 502, "invalid_grant", Verdict::RetryLater);
        check(Registered, 400, "invalid_scope", Verdict::EntryWrong);
        check(OfEntry, 400, "invalid_target", Verdict::EntryWrong);
    }

    #[test]
    fn a_web_page_means_a_forgotten_client_or_the_end_of_the_grant() {
        let check = |endpoint, token_request, client, status, expected| {
            let context = RequestContext { token_request, client: Some(client), ..RequestContext::default() };
            assert_eq!(
                verdict(&OAuthError::Status { endpoint, status, server_message: None, context }),
                expected,
                "{endpoint:?} {status}"
            );
        };
        let refresh = Some(TokenRequestKind::RefreshToken);
        check(Endpoint::Token, refresh, ClientKind::Registered, 401, Verdict::ClientForgotten);
        check(Endpoint::Token, refresh, ClientKind::OfEntry, 401, Verdict::GrantEnds);
        for status in [200, 302, 400, 403, 404] {
            check(Endpoint::Token, refresh, ClientKind::Registered, status, Verdict::ClientForgotten);
            check(
                Endpoint::Token,
                Some(TokenRequestKind::AuthorizationCode),
                ClientKind::Registered,
                status,
                Verdict::ClientForgotten,
            );
        }
        check(Endpoint::Token, refresh, ClientKind::OfEntry, 404, Verdict::GrantEnds);
        check(Endpoint::Token, refresh, ClientKind::OfEntry, 502, Verdict::RetryLater);
        check(
            Endpoint::Token,
            Some(TokenRequestKind::AuthorizationCode),
            ClientKind::Registered,
            403,
            Verdict::ClientForgotten,
        );
        check(
            Endpoint::Token,
            Some(TokenRequestKind::ClientCredentials),
            ClientKind::OfEntry,
            400,
            Verdict::EntryWrong,
        );
        for status in [400, 401, 403, 404, 405, 410] {
            check(Endpoint::Registration, None, ClientKind::Registered, status, Verdict::ClientNeeded);
        }
        check(Endpoint::Registration, None, ClientKind::Registered, 503, Verdict::RetryLater);
    }

    #[test]
    fn a_refused_registration_needs_a_client_or_another_entry() {
        let check = |status, code: &str, expected| {
            assert_eq!(
                refused(Endpoint::Registration, None, ClientKind::Registered, status, code),
                expected,
                "{code}"
            );
        };
        check(403, "access_denied", Verdict::ClientNeeded);
        check(400, "unauthorized_client", Verdict::ClientNeeded);
        check(401, "invalid_token", Verdict::ClientNeeded);
        check(403, "policy", Verdict::ClientNeeded);
        check(400, "invalid_client_metadata", Verdict::EntryWrong);
        check(400, "invalid_scope", Verdict::EntryWrong);
        check(400, "invalid_redirect_uri", Verdict::EntryWrong);
        check(503, "x", Verdict::RetryLater);
    }
}
