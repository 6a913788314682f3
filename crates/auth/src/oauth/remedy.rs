//! What to do about a refusal of an authorization server: a text that can be followed as it stands.
//!
//! It depends on where, for what and as which client was asked: a client that registered itself has no entry to
//! mend, one that signs in for itself has no redirect URI, and no user to sign in again.

use super::error::{About, Asking, ClientKind, Place};

const SIGN_IN: &str = "sign in again with POST /oauth/start or `mcp-agents login`";
const LATER: &str = "try again in a moment";
const ENTRY_CLIENT: &str = "check client_id and client_secret (or private_key) in the entry: the authorization server does not take them";
const RESOURCE: &str =
    "check resource in the entry against what the authorization server knows, or set it to \"omit\"";
const SCOPES: &str = "check scopes in the entry against what the authorization server knows";
const LOOK_UP: &str = "look the error up in the authorization server's documentation, and at its logs";
const REGISTER: &str = "register a client at the authorization server by hand, and give its client_id (and client_secret) in the entry";

/// The remedy for a refusal with an OAuth error code.
pub(super) fn refusal_remedy(place: Place, about: About, code: &str) -> &'static str {
    match (place, code) {
        (Place::Revocation, _) => "nothing is left to do here: the token stays good there until it expires",
        (_, "temporarily_unavailable" | "server_error" | "slow_down") => LATER,
        (Place::Server, "insufficient_scope") => {
            "the token has the scopes that the server names, and it wants more: ask its operators for the right to use it"
        }
        (Place::Server, _) => LOOK_UP,
        (Place::Registration, "invalid_scope") => {
            "give scopes in the entry that the authorization server knows"
        }
        (Place::Registration, _) => REGISTER,
        (Place::Authorization, _) => at_authorization(about, code),
        (Place::Token, _) => at_token(about, code),
        (Place::ResourceMetadata | Place::ServerMetadata, _) => LOOK_UP,
    }
}

/// The remedy for an answer without an OAuth error.
pub(super) fn status_remedy(place: Place, about: About) -> &'static str {
    match (place, about.client) {
        (Place::Registration, _) => REGISTER,
        (Place::Revocation, _) => "nothing is left to do here: the token stays good there until it expires",
        (Place::Token, Some(ClientKind::Registered)) => "sign in again: a new client is registered then",
        (Place::Token, Some(ClientKind::OfEntry)) => ENTRY_CLIENT,
        _ => "check that the endpoints are the authorization server's own, and look at its logs",
    }
}

fn at_authorization(about: About, code: &str) -> &'static str {
    match (code, about.client) {
        ("access_denied", _) => {
            "start the sign-in again, and agree; if you did, ask who runs the authorization server for the right to use this client"
        }
        ("invalid_scope", _) => SCOPES,
        ("invalid_target", _) => RESOURCE,
        ("unauthorized_client" | "invalid_client", Some(ClientKind::Registered)) => {
            "start the sign-in again: a new client is registered then"
        }
        ("unauthorized_client" | "invalid_client" | "unsupported_response_type", _) => {
            "let the client use the authorization code grant at the authorization server"
        }
        ("invalid_request", Some(ClientKind::OfEntry) | None) => {
            "check that the client is registered with exactly the redirect URI that was sent; if it is, set resource in the entry to \"omit\""
        }
        ("invalid_request", _) => "set resource in the entry to \"omit\", and start the sign-in again",
        (
            "login_required" | "consent_required" | "interaction_required" | "account_selection_required",
            _,
        ) => "start the sign-in again, and sign in on the page",
        _ => LOOK_UP,
    }
}

fn at_token(about: About, code: &str) -> &'static str {
    let is_of_entry = matches!(about.client, Some(ClientKind::OfEntry) | None);
    match (about.asking, code) {
        (_, "invalid_target") => RESOURCE,
        (_, "invalid_scope") => SCOPES,
        (Some(Asking::ClientCredentials), "unauthorized_client" | "unsupported_grant_type") => {
            "let the client use the client credentials grant at the authorization server, or set grant_type in the entry to authorization_code"
        }
        (Some(Asking::ClientCredentials), "invalid_client") => ENTRY_CLIENT,
        (Some(Asking::ClientCredentials), "invalid_request") => {
            "check resource and scopes in the entry: some authorization servers take no resource (set it to \"omit\") and want a scope"
        }
        (Some(Asking::ClientCredentials), _) => LOOK_UP,
        (_, "invalid_client" | "unauthorized_client") if is_of_entry => ENTRY_CLIENT,
        (_, "invalid_client" | "unauthorized_client") if about.client == Some(ClientKind::Document) => {
            "check that the authorization server can fetch this client's metadata document, and sign in again"
        }
        (_, "invalid_client" | "unauthorized_client") => "sign in again: a new client is registered then",
        (Some(Asking::Code), "invalid_grant") => "start the sign-in again: the code was used, or is too old",
        (Some(Asking::Code), "invalid_request") if is_of_entry => {
            "check that the client is registered with exactly the redirect URI that was sent; if it is, set resource in the entry to \"omit\""
        }
        (Some(Asking::Code), "invalid_request") => {
            "set resource in the entry to \"omit\", and start the sign-in again"
        }
        (Some(Asking::Code), "unsupported_grant_type") => {
            "use an authorization server that offers the authorization code grant"
        }
        (Some(Asking::Code), _) => LOOK_UP,
        (Some(Asking::Refresh), _) => SIGN_IN,
        (None, _) => LOOK_UP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [&str; 24] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "access_denied",
        "unsupported_response_type",
        "server_error",
        "temporarily_unavailable",
        "slow_down",
        "invalid_redirect_uri",
        "invalid_client_metadata",
        "invalid_software_statement",
        "unapproved_software_statement",
        "insufficient_scope",
        "login_required",
        "consent_required",
        "interaction_required",
        "bad_refresh_token",
        "invalid_token",
        "unsupported_token_type",
        "something_else",
    ];

    /// What a remedy must not say there.
    fn misfit(place: Place, about: About, remedy: &str) -> Option<&'static str> {
        let has_user = about.asking != Some(Asking::ClientCredentials);
        let has_redirect = matches!(place, Place::Authorization) || about.asking == Some(Asking::Code);
        let is_of_entry = about.client == Some(ClientKind::OfEntry);
        let asks_to_register = remedy.starts_with("register a client");
        if remedy.contains("redirect URI") && !has_redirect {
            return Some("names a redirect URI where none was sent");
        }
        if remedy.contains("client_secret") && !is_of_entry && !asks_to_register {
            return Some("names the entry's client, which was not used");
        }
        if (remedy.contains("sign in again") || remedy.contains("start the sign-in")) && !has_user {
            return Some("asks a user to sign in where the client signs in for itself");
        }
        if remedy.contains("new client is registered") && is_of_entry {
            return Some("promises a registration for the entry's own client");
        }
        if asks_to_register && place != Place::Registration {
            return Some("asks to register a client that is registered");
        }
        remedy.is_empty().then_some("is empty")
    }

    #[test]
    fn every_remedy_fits_where_it_is_given() {
        let places = [
            Place::Server,
            Place::ResourceMetadata,
            Place::ServerMetadata,
            Place::Registration,
            Place::Authorization,
            Place::Token,
            Place::Revocation,
        ];
        let askings = [None, Some(Asking::Code), Some(Asking::Refresh), Some(Asking::ClientCredentials)];
        let clients = [ClientKind::OfEntry, ClientKind::Registered, ClientKind::Document];
        for place in places {
            for asking in askings.into_iter().filter(|asking| (place == Place::Token) == asking.is_some()) {
                for client in clients {
                    // Only the entry's own client can sign in for itself.
                    if asking == Some(Asking::ClientCredentials) && client != ClientKind::OfEntry {
                        continue;
                    }
                    let about = About { asking, client: Some(client), status: None };
                    let remedies = CODES.map(|code| refusal_remedy(place, about, code));
                    for remedy in remedies.into_iter().chain([status_remedy(place, about)]) {
                        assert_eq!(misfit(place, about, remedy), None, "{place:?} {about:?}: {remedy}");
                    }
                }
            }
        }
    }
}
