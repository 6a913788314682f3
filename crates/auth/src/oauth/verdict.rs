//! What a refusal of an authorization server means: one verdict from who asked where for what, and what was said.
//!
//! Decides nothing about what is then done: [`super::renewal`], [`super::consent`] and [`super::registration`] do.
//! What to tell people is [`super::remedy`]'s.
//!
//! Sources: RFC 6749 §§4.1.2.1 and 5.2, RFC 7591 §3.2.2, RFC 8707 §2; and what servers say instead.

use super::error::{Asking, ClientKind, OAuthError, Place};

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

/// The verdict on a refusal; [`Verdict::RetryLater`] on errors that are no refusal.
pub(crate) fn verdict(error: &OAuthError) -> Verdict {
    match error {
        OAuthError::Refused { place, error, about, .. } => {
            of_code(*place, about.asking, about.client, error.whole(), about.status.unwrap_or(400))
        }
        OAuthError::Status { place, status, about } => of_status(*place, about.asking, about.client, *status),
        _ => Verdict::RetryLater,
    }
}

fn of_code(
    place: Place,
    asking: Option<Asking>,
    client: Option<ClientKind>,
    code: &str,
    status: u16,
) -> Verdict {
    let is_passing = matches!(code, "temporarily_unavailable" | "server_error" | "slow_down");
    // `invalid_grant` is about the grant, whatever status it comes with.
    if is_passing || code != "invalid_grant" && is_passing_status(status) {
        return Verdict::RetryLater;
    }
    match (place, code) {
        (
            Place::Registration,
            "access_denied" | "unauthorized_client" | "invalid_token" | "invalid_client",
        ) => Verdict::ClientNeeded,
        (Place::Registration, _) if matches!(status, 401 | 403 | 404 | 405) => Verdict::ClientNeeded,
        (Place::Registration, _) => Verdict::EntryWrong,
        (_, "invalid_client" | "unauthorized_client") if client == Some(ClientKind::Registered) => {
            Verdict::ClientForgotten
        }
        (_, "invalid_client" | "unauthorized_client" | "invalid_scope" | "invalid_target") => {
            Verdict::EntryWrong
        }
        // Whatever else it calls it: the refresh token is no longer taken.
        (Place::Token, _) if asking == Some(Asking::Refresh) => Verdict::GrantEnds,
        (Place::Token, "invalid_grant") if asking == Some(Asking::Code) => Verdict::GrantEnds,
        _ => Verdict::EntryWrong,
    }
}

/// The verdict on an answer without an OAuth error: a page, or nothing.
fn of_status(place: Place, asking: Option<Asking>, client: Option<ClientKind>, status: u16) -> Verdict {
    match place {
        _ if is_passing_status(status) => Verdict::RetryLater,
        // Closed, or a page where JSON belongs.
        Place::Registration => Verdict::ClientNeeded,
        // Servers show a page for a client that they have purged.
        Place::Token | Place::Revocation
            if client == Some(ClientKind::Registered) && is_about_client(status) =>
        {
            Verdict::ClientForgotten
        }
        Place::Token if asking == Some(Asking::Refresh) && !is_about_client(status) => Verdict::GrantEnds,
        _ => Verdict::EntryWrong,
    }
}

/// 408, 429 and what a server or proxy says when it fails.
fn is_passing_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// 401 and 403 say who may not, and not what.
fn is_about_client(status: u16) -> bool {
    matches!(status, 401 | 403)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{error::About, shown::Shown};

    fn refused(place: Place, asking: Option<Asking>, client: ClientKind, status: u16, code: &str) -> Verdict {
        let about = About { asking, client: Some(client), status: Some(status) };
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
        check(Document, 401, "invalid_client", Verdict::EntryWrong);
        check(Registered, 400, "invalid_scope", Verdict::EntryWrong);
        check(OfEntry, 400, "invalid_target", Verdict::EntryWrong);
    }

    #[test]
    fn a_page_is_about_the_client_or_ends_the_grant() {
        let check = |place, asking, client, status, expected| {
            let about = About { asking, client: Some(client), status: None };
            assert_eq!(verdict(&OAuthError::Status { place, status, about }), expected, "{place:?} {status}");
        };
        let refresh = Some(Asking::Refresh);
        check(Place::Token, refresh, ClientKind::Registered, 401, Verdict::ClientForgotten);
        check(Place::Token, refresh, ClientKind::OfEntry, 401, Verdict::EntryWrong);
        check(Place::Token, refresh, ClientKind::Registered, 400, Verdict::GrantEnds);
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
