//! What to do about a refusal of an authorization server: a text that can be followed as it stands.
//!
//! It depends on where, for what and as which client was asked: a client that registered itself has no entry to
//! mend, one that signs in for itself has no redirect URI, and no user to sign in again.

use std::borrow::Cow;

use super::about::{About, Asking, ClientKind, EntryProof, Place};

const SIGN_IN: &str = "sign in again with POST /oauth/start or `mcp-agents login`";
const LATER: &str = "try again in a moment";
const LOOK_UP: &str = "look the error up in the authorization server's documentation, and at its logs";
const NEW_CLIENT: &str = "sign in again: a new client is registered then";
const NOTHING_LEFT: &str = "nothing is left to do here: the token stays good there until it expires";

/// The remedy for a refusal with an OAuth error code; `redirect_uri` is that of the sign-in, if there is one.
pub(super) fn refusal_remedy(
    place: Place,
    about: About,
    code: &str,
    redirect_uri: Option<&str>,
) -> Cow<'static, str> {
    match (place, code) {
        (Place::Revocation, _) => NOTHING_LEFT.into(),
        (_, "temporarily_unavailable" | "server_error" | "slow_down") => LATER.into(),
        (Place::Server, "insufficient_scope") => {
            "the token has the scopes that the server names, and it wants more: ask its operators for the right to use it"
                .into()
        }
        (Place::Registration, _) => register(redirect_uri),
        (Place::Authorization, _) => at_authorization(about, code, redirect_uri),
        (Place::Token, _) => at_token(about, code, redirect_uri),
        (Place::Server | Place::ResourceMetadata | Place::ServerMetadata, _) => LOOK_UP.into(),
    }
}

/// The remedy for an answer without an OAuth error.
pub(super) fn status_remedy(place: Place, about: About, status: u16) -> Cow<'static, str> {
    match (place, about.client) {
        (Place::Registration, _) => register(None),
        (Place::Revocation, _) => NOTHING_LEFT.into(),
        (Place::Token, Some(ClientKind::Registered)) => NEW_CLIENT.into(),
        (Place::Token, _) if about.asking == Some(Asking::Refresh) => SIGN_IN.into(),
        (Place::Token, Some(ClientKind::OfEntry)) if matches!(status, 401 | 403) => {
            entrys_client(about).into()
        }
        _ => "check that the endpoints are the authorization server's own, and look at its logs".into(),
    }
}

fn at_authorization(about: About, code: &str, redirect_uri: Option<&str>) -> Cow<'static, str> {
    let is_of_entry = matches!(about.client, Some(ClientKind::OfEntry) | None);
    let fixed = match code {
        "access_denied" => {
            "start the sign-in again, and agree; if you did, ask who runs the authorization server for the right to use this client"
        }
        "invalid_scope" => scopes(about),
        "invalid_target" => resource(about),
        "unauthorized_client" | "invalid_client" if about.client == Some(ClientKind::Registered) => {
            "start the sign-in again: a new client is registered then"
        }
        "unauthorized_client" | "invalid_client" | "unsupported_response_type" => {
            "let the client use the authorization code grant at the authorization server"
        }
        "invalid_request" if is_of_entry => return exact_redirect_uri(about, redirect_uri),
        "invalid_request" => demand(about),
        "login_required" | "consent_required" | "interaction_required" | "account_selection_required" => {
            "start the sign-in again, and sign in on the page"
        }
        _ => LOOK_UP,
    };
    fixed.into()
}

fn at_token(about: About, code: &str, redirect_uri: Option<&str>) -> Cow<'static, str> {
    let is_of_entry = matches!(about.client, Some(ClientKind::OfEntry) | None);
    let is_of_client = |code: &str| code.contains("client") && code != "invalid_client_metadata";
    let fixed = match (about.asking, code) {
        (_, "invalid_target" | "invalid_resource") => resource(about),
        (_, "invalid_scope" | "insufficient_scope") => scopes(about),
        (Some(Asking::ClientCredentials), "unauthorized_client" | "unsupported_grant_type") => {
            "let the client use the client credentials grant at the authorization server, or set grant_type in the entry to authorization_code"
        }
        (Some(Asking::ClientCredentials), "invalid_request") => demand(about),
        (_, code) if is_of_client(code) && is_of_entry => entrys_client(about),
        (_, code) if is_of_client(code) && about.client == Some(ClientKind::Document) => {
            "check that the authorization server can fetch this client's metadata document, and sign in again"
        }
        (_, code) if is_of_client(code) => NEW_CLIENT,
        (Some(Asking::Refresh), _) => SIGN_IN,
        (Some(Asking::Code), "invalid_grant") => "start the sign-in again: the code was used, or is too old",
        (Some(Asking::Code), "invalid_request" | "redirect_uri_mismatch" | "invalid_redirect_uri")
            if is_of_entry =>
        {
            return exact_redirect_uri(about, redirect_uri);
        }
        (Some(Asking::Code), "redirect_uri_mismatch" | "invalid_redirect_uri")
            if about.client == Some(ClientKind::Registered) =>
        {
            NEW_CLIENT
        }
        (Some(Asking::Code), "invalid_request") => demand(about),
        (Some(Asking::Code), "unsupported_grant_type") => {
            "use an authorization server that offers the authorization code grant"
        }
        _ => LOOK_UP,
    };
    fixed.into()
}

fn register(redirect_uri: Option<&str>) -> Cow<'static, str> {
    let with = redirect_uri.map(|uri| format!(" with the redirect URI {uri}")).unwrap_or_default();
    format!(
        "register a client at the authorization server by hand{with}, and give its client_id (and client_secret) in the entry"
    )
    .into()
}

fn exact_redirect_uri(about: About, redirect_uri: Option<&str>) -> Cow<'static, str> {
    let uri = redirect_uri.unwrap_or("that was sent");
    format!(
        "check that the client is registered with exactly the redirect URI {uri}; if it is, {}",
        demand(about)
    )
    .into()
}

fn entrys_client(about: About) -> &'static str {
    match about.entry.proof {
        EntryProof::Secret => {
            "check client_id and client_secret in the entry: the authorization server does not take them"
        }
        EntryProof::PrivateKey => {
            "check client_id and private_key in the entry, and that the authorization server has the public key"
        }
        EntryProof::None => {
            "check client_id in the entry; if the client has a secret there, give it as client_secret"
        }
    }
}

fn scopes(about: About) -> &'static str {
    match about.entry.gives_scopes {
        true => "check scopes in the entry against what the authorization server knows",
        false => "check scopes in the entry: give those that the authorization server knows",
    }
}

fn resource(about: About) -> &'static str {
    match about.entry.omits_resource {
        true => "check resource in the entry: give the one that the authorization server knows",
        false => {
            "check resource in the entry against what the authorization server knows, or set it to \"omit\""
        }
    }
}

/// For `invalid_request`: something in the form that the server does not take, or misses.
fn demand(about: About) -> &'static str {
    match (about.entry.omits_resource, about.entry.gives_scopes) {
        (false, true) => {
            "check resource and scopes in the entry: set resource to \"omit\" if the authorization server takes none, else change scopes or audience as its words say"
        }
        (false, false) => {
            "check resource and scopes in the entry: set resource to \"omit\" if the authorization server takes none, and give scopes if it wants them"
        }
        (true, true) => {
            "change scopes, audience or resource in the entry as the authorization server's words say"
        }
        (true, false) => "give scopes in the entry, and audience if the authorization server wants one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::about::EntryFacts;

    const URI: &str = "https://me.example/callback";
    const CODES: [&str; 27] = [
        "incorrect_client_credentials",
        "redirect_uri_mismatch",
        "invalid_resource",
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
        if remedy.contains("redirect URI") && !remedy.contains(URI) && !asks_to_register {
            return Some("names no redirect URI that could be registered");
        }
        if remedy.contains("redirect URI") && !has_redirect && place != Place::Registration {
            return Some("names a redirect URI where none was sent");
        }
        if remedy.contains("client_secret") && !is_of_entry && !asks_to_register {
            return Some("names the entry's client, which was not used");
        }
        if remedy.contains("client_secret")
            && about.entry.proof == EntryProof::PrivateKey
            && !asks_to_register
        {
            return Some("names a secret beside a key");
        }
        if remedy.contains("private_key") && about.entry.proof != EntryProof::PrivateKey {
            return Some("names a key that is not there");
        }
        if remedy.contains("\"omit\"") && about.entry.omits_resource {
            return Some("has the resource left out, which it is");
        }
        if remedy.contains("give scopes") && about.entry.gives_scopes {
            return Some("has scopes given, which they are");
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

    /// Every entry that a client of this kind can have.
    fn entries(client: ClientKind) -> Vec<EntryFacts> {
        let proofs: &[EntryProof] = match client {
            ClientKind::OfEntry => &[EntryProof::None, EntryProof::Secret, EntryProof::PrivateKey],
            _ => &[EntryProof::None],
        };
        let mut entries = Vec::new();
        for &proof in proofs {
            for (omits_resource, gives_scopes) in [(false, false), (false, true), (true, false), (true, true)]
            {
                entries.push(EntryFacts { proof, omits_resource, gives_scopes });
            }
        }
        entries
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
                    for entry in entries(client) {
                        let about = About { asking, client: Some(client), status: None, entry };
                        let refused = |code: &&str| refusal_remedy(place, about, code, Some(URI));
                        let answered = [200, 401, 404].map(|status| status_remedy(place, about, status));
                        for remedy in CODES.iter().map(refused).chain(answered) {
                            assert_eq!(misfit(place, about, &remedy), None, "{place:?} {about:?}: {remedy}");
                        }
                    }
                }
            }
        }
    }
}
