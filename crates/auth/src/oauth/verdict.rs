//! What a refusal of an authorization server means: one verdict from who asked where for what, and what was said.
//!
//! Decides nothing about what is then done: [`super::renewal`], [`super::consent`] and [`super::registration`] do.
//! What to tell people is [`super::remedy`]'s.
//!
//! Sources: RFC 6749 §§4.1.2.1 and 5.2, RFC 7591 §3.2.2, RFC 8707 §2; and what servers say instead.

use super::about::{About, Asking, ClientKind, Place};
use super::error::OAuthError;

/// What follows from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The grant is no longer good: a user must sign in again.
    GrantEnds,
    /// The client that registered itself is not known any more: its grant ends, and the next sign-in registers anew.
    ClientForgotten,
    /// The server registers no clients that ask for it: a person must register one.
    ClientNeeded,
    /// Nothing is decided: the same request may succeed later.
    RetryLater,
    /// Something that an operator can change is wrong (client, scopes, resource); what was granted stays.
    EntryWrong,
}

/// What an error code is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    /// The server itself: it cannot answer now.
    Server,
    /// The client, or its redirect URI.
    Client,
    /// What is asked for: scopes, the resource.
    Demand,
    /// The code or the refresh token.
    Grant,
    /// The form of the request, or something else.
    Other,
}

/// The verdict on a refusal; [`Verdict::RetryLater`] on errors that are no refusal.
pub(crate) fn verdict(error: &OAuthError) -> Verdict {
    match error.bare() {
        OAuthError::Refused { place, error, about, .. } => {
            let status = about.status.unwrap_or(400);
            judge(*place, about.asking, about.client, status, Some(error.whole()))
        }
        OAuthError::Status { place, status, about, .. } => {
            judge(*place, about.asking, about.client, *status, None)
        }
        _ => Verdict::RetryLater,
    }
}

/// The verdict on what was said; `code` is `None` where it was no OAuth error: a page, or another JSON.
fn judge(
    place: Place,
    asking: Option<Asking>,
    client: Option<ClientKind>,
    status: u16,
    code: Option<&str>,
) -> Verdict {
    let topic = code.map(topic);
    if is_passing(status, topic) {
        return Verdict::RetryLater;
    }
    match (place, topic) {
        (Place::Registration, _) => of_registration(status, code),
        (_, Some(Topic::Client)) if client == Some(ClientKind::Registered) => Verdict::ClientForgotten,
        // A document is read again at the next sign-in; until then the server refuses it.
        (Place::Token, Some(Topic::Client)) if client == Some(ClientKind::Document) => ends(asking),
        (_, Some(Topic::Client | Topic::Demand)) => Verdict::EntryWrong,
        // Servers show a page, or whatever else, for a client that they have purged.
        (Place::Token | Place::Revocation, None) if client == Some(ClientKind::Registered) => {
            Verdict::ClientForgotten
        }
        (Place::Token, Some(Topic::Grant)) if asking == Some(Asking::Code) => Verdict::GrantEnds,
        // Whatever it is called: the refresh token is no longer taken.
        (Place::Token, _) => ends(asking),
        _ => Verdict::EntryWrong,
    }
}

/// A refresh that is refused for good ends the grant; nothing else has one that could end.
fn ends(asking: Option<Asking>) -> Verdict {
    if asking == Some(Asking::Refresh) { Verdict::GrantEnds } else { Verdict::EntryWrong }
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
        OAuthError::Refused { error, about: About { status: Some(403), .. }, .. } => {
            matches!(error.whole(), "insufficient_scope" | "invalid_scope" | "invalid_client_metadata")
        }
        OAuthError::Refused { error, about, .. } => {
            matches!(about.status, Some(400 | 422)) && error.whole() != "invalid_redirect_uri"
        }
        // Some frameworks refuse a JSON body with 422.
        OAuthError::Status { status, .. } => matches!(status, 400 | 422),
        _ => false,
    }
}

/// 408, 429 and what a server or gateway says when it fails. `invalid_grant` is the last word on a grant, even of a
/// server that says it with 500; a gateway's 502 and 504 are never the authorization server's words.
fn is_passing(status: u16, topic: Option<Topic>) -> bool {
    match status {
        408 | 425 | 429 | 502 | 504 => true,
        501 => topic == Some(Topic::Server),
        500..=599 => topic != Some(Topic::Grant),
        _ => topic == Some(Topic::Server),
    }
}

/// The standards' codes, and those that GitHub, Slack, Google and others use in their place.
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
        "invalid_scope" | "insufficient_scope" | "invalid_target" | "invalid_resource" => Topic::Demand,
        "invalid_grant" => Topic::Grant,
        _ => Topic::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egress::Shown;

    fn refused(place: Place, asking: Option<Asking>, client: ClientKind, status: u16, code: &str) -> Verdict {
        let about = About { asking, client: Some(client), status: Some(status), ..About::default() };
        verdict(&OAuthError::Refused { place, error: Shown::new(code), description: None, about })
    }

    #[test]
    fn a_refresh_that_is_refused_for_good_ends_the_grant() {
        let check = |client, status, code: &str, expected| {
            assert_eq!(
                refused(Place::Token, Some(Asking::Refresh), client, status, code),
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
    fn a_page_is_about_the_client_or_ends_the_grant() {
        let check = |place, asking, client, status, expected| {
            let about = About { asking, client: Some(client), ..About::default() };
            assert_eq!(
                verdict(&OAuthError::Status { place, status, said: None, about }),
                expected,
                "{place:?} {status}"
            );
        };
        let refresh = Some(Asking::Refresh);
        check(Place::Token, refresh, ClientKind::Registered, 401, Verdict::ClientForgotten);
        check(Place::Token, refresh, ClientKind::OfEntry, 401, Verdict::GrantEnds);
        for status in [200, 302, 400, 403, 404] {
            check(Place::Token, refresh, ClientKind::Registered, status, Verdict::ClientForgotten);
            check(Place::Token, Some(Asking::Code), ClientKind::Registered, status, Verdict::ClientForgotten);
        }
        check(Place::Token, refresh, ClientKind::OfEntry, 404, Verdict::GrantEnds);
        check(Place::Token, refresh, ClientKind::OfEntry, 502, Verdict::RetryLater);
        check(Place::Token, Some(Asking::Code), ClientKind::Registered, 403, Verdict::ClientForgotten);
        check(Place::Token, Some(Asking::ClientCredentials), ClientKind::OfEntry, 400, Verdict::EntryWrong);
        for status in [400, 401, 403, 404, 405, 410] {
            check(Place::Registration, None, ClientKind::Registered, status, Verdict::ClientNeeded);
        }
        check(Place::Registration, None, ClientKind::Registered, 503, Verdict::RetryLater);
    }

    #[test]
    fn a_registration_is_closed_or_asks_for_too_much() {
        let check = |status, code: &str, expected| {
            assert_eq!(
                refused(Place::Registration, None, ClientKind::Registered, status, code),
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
