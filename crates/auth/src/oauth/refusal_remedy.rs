//! What to do about a refusal of an authorization server: an instruction that can be followed as it stands.
//!
//! It depends on the endpoint, the request, the client and the entry: a client that registered itself is not in the
//! entry; client credentials have neither a redirect URI nor a user who could sign in again. No remedy asks for what the
//! entry has already. Called by [`super::error_remedy`].

use std::borrow::Cow;

use super::request_context::{ClientKind, Endpoint, EntryAuthentication, RequestContext, TokenRequestKind};

const SIGN_IN: &str = "sign in again with POST /oauth/start or `mcp-agents login`";
const LATER: &str = "try again in a moment";
const LOOK_UP: &str = "look the error up in the authorization server's documentation, and at its logs";
const NEW_CLIENT: &str = "sign in again: a new client is registered then";
const NOTHING_TO_DO: &str =
    "no action is needed: the sign-in is removed here, and the server accepts its token until it expires";

/// Returns the remedy for a refusal with an OAuth error code. `redirect_uri` is that of the sign-in, if there is one.
pub(super) fn refusal_remedy(
    endpoint: Endpoint,
    context: RequestContext,
    code: &str,
    redirect_uri: Option<&str>,
) -> Cow<'static, str> {
    match (endpoint, code) {
        (Endpoint::Revocation, _) => NOTHING_TO_DO.into(),
        (_, "temporarily_unavailable" | "server_error" | "slow_down") => LATER.into(),
        (Endpoint::McpServer, "insufficient_scope") => {
            "the token has the scopes that the server names, and it wants more: ask its operators for the right to use it"
                .into()
        }
        (Endpoint::Registration, _) => register(redirect_uri),
        (Endpoint::Authorization, _) => at_authorization(context, code, redirect_uri),
        (Endpoint::Token, _) => at_token(context, code, redirect_uri),
        (Endpoint::McpServer | Endpoint::ResourceMetadata | Endpoint::AuthorizationServerMetadata, _) => LOOK_UP.into(),
    }
}

/// Returns the remedy for an answer without an OAuth error code.
pub(super) fn status_remedy(endpoint: Endpoint, context: RequestContext, status: u16) -> Cow<'static, str> {
    match (endpoint, context.client) {
        (Endpoint::Registration, _) => register(None),
        (Endpoint::Revocation, _) => NOTHING_TO_DO.into(),
        (Endpoint::Token, Some(ClientKind::Registered)) => NEW_CLIENT.into(),
        (Endpoint::Token, _) if context.token_request == Some(TokenRequestKind::RefreshToken) => {
            SIGN_IN.into()
        }
        (Endpoint::Token, Some(ClientKind::OfEntry)) if matches!(status, 401 | 403) => {
            entrys_client(context).into()
        }
        _ => "check that the endpoints are the authorization server's own, and look at its logs".into(),
    }
}

fn at_authorization(context: RequestContext, code: &str, redirect_uri: Option<&str>) -> Cow<'static, str> {
    let is_of_entry = matches!(context.client, Some(ClientKind::OfEntry) | None);
    let fixed = match code {
        "access_denied" => {
            "start the sign-in again, and agree; if you did, ask who runs the authorization server for the right to use this client"
        }
        "invalid_scope" => scopes(context),
        "invalid_target" => resource(context),
        "unauthorized_client" | "invalid_client" if context.client == Some(ClientKind::Registered) => {
            "start the sign-in again: a new client is registered then"
        }
        "unauthorized_client" | "invalid_client" | "unsupported_response_type" => {
            "let the client use the authorization code grant at the authorization server"
        }
        "invalid_request" if is_of_entry => return exact_redirect_uri(context, redirect_uri),
        "invalid_request" => invalid_request(context),
        "login_required" | "consent_required" | "interaction_required" | "account_selection_required" => {
            "start the sign-in again, and sign in on the page"
        }
        _ => LOOK_UP,
    };
    fixed.into()
}

fn at_token(context: RequestContext, code: &str, redirect_uri: Option<&str>) -> Cow<'static, str> {
    let is_of_entry = matches!(context.client, Some(ClientKind::OfEntry) | None);
    let is_of_client = |code: &str| code.contains("client") && code != "invalid_client_metadata";
    let fixed = match (context.token_request, code) {
        (_, "invalid_target" | "invalid_resource") => resource(context),
        (_, "invalid_scope" | "insufficient_scope") => scopes(context),
        (Some(TokenRequestKind::ClientCredentials), "unauthorized_client" | "unsupported_grant_type") => {
            "let the client use the client credentials grant at the authorization server, or set grant_type in the entry to authorization_code"
        }
        (Some(TokenRequestKind::ClientCredentials), "invalid_request") => invalid_request(context),
        (_, code) if is_of_client(code) && is_of_entry => entrys_client(context),
        (_, code) if is_of_client(code) && context.client == Some(ClientKind::Document) => {
            "check that the authorization server can fetch this client's metadata document, and sign in again"
        }
        (_, code) if is_of_client(code) => NEW_CLIENT,
        (Some(TokenRequestKind::RefreshToken), _) => SIGN_IN,
        (Some(TokenRequestKind::AuthorizationCode), "invalid_grant") => {
            "start the sign-in again: the code was used, or is too old"
        }
        (
            Some(TokenRequestKind::AuthorizationCode),
            "invalid_request" | "redirect_uri_mismatch" | "invalid_redirect_uri",
        ) if is_of_entry => {
            return exact_redirect_uri(context, redirect_uri);
        }
        (Some(TokenRequestKind::AuthorizationCode), "redirect_uri_mismatch" | "invalid_redirect_uri")
            if context.client == Some(ClientKind::Registered) =>
        {
            NEW_CLIENT
        }
        (Some(TokenRequestKind::AuthorizationCode), "invalid_request") => invalid_request(context),
        (Some(TokenRequestKind::AuthorizationCode), "unsupported_grant_type") => {
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

fn exact_redirect_uri(context: RequestContext, redirect_uri: Option<&str>) -> Cow<'static, str> {
    let uri = redirect_uri.unwrap_or("that was sent");
    format!(
        "check that the client is registered with exactly the redirect URI {uri}; if it is, {}",
        invalid_request(context)
    )
    .into()
}

fn entrys_client(context: RequestContext) -> &'static str {
    match context.entry.authentication {
        EntryAuthentication::Secret => {
            "check client_id and client_secret in the entry: the authorization server does not take them"
        }
        EntryAuthentication::PrivateKey => {
            "check client_id and private_key in the entry, and that the authorization server has the public key"
        }
        EntryAuthentication::None => {
            "check client_id in the entry; if the client has a secret there, give it as client_secret"
        }
    }
}

fn scopes(context: RequestContext) -> &'static str {
    match context.entry.gives_scopes {
        true => "check scopes in the entry against what the authorization server knows",
        false => "check scopes in the entry: give those that the authorization server knows",
    }
}

fn resource(context: RequestContext) -> &'static str {
    match context.entry.omits_resource {
        true => "check resource in the entry: give the one that the authorization server knows",
        false => {
            "check resource in the entry against what the authorization server knows, or set it to \"omit\""
        }
    }
}

/// Returns the remedy for `invalid_request`: the server refuses or misses a parameter of the request.
fn invalid_request(context: RequestContext) -> &'static str {
    match (context.entry.omits_resource, context.entry.gives_scopes) {
        (false, true) => {
            "check resource and scopes in the entry: set resource to \"omit\" if the authorization server takes none, else change scopes or audience as its error message says"
        }
        (false, false) => {
            "check resource and scopes in the entry: set resource to \"omit\" if the authorization server takes none, and give scopes if it wants them"
        }
        (true, true) => {
            "change scopes, audience or resource in the entry as the authorization server's error message says"
        }
        (true, false) => "give scopes in the entry, and audience if the authorization server wants one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::request_context::EntryFacts;

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

    /// Returns what is wrong with a remedy in this context.
    fn misfit(endpoint: Endpoint, context: RequestContext, remedy: &str) -> Option<&'static str> {
        let has_user = context.token_request != Some(TokenRequestKind::ClientCredentials);
        let has_redirect = matches!(endpoint, Endpoint::Authorization)
            || context.token_request == Some(TokenRequestKind::AuthorizationCode);
        let is_of_entry = context.client == Some(ClientKind::OfEntry);
        let asks_to_register = remedy.starts_with("register a client");
        if remedy.contains("redirect URI") && !remedy.contains(URI) && !asks_to_register {
            return Some("names no redirect URI that could be registered");
        }
        if remedy.contains("redirect URI") && !has_redirect && endpoint != Endpoint::Registration {
            return Some("names a redirect URI where none was sent");
        }
        if remedy.contains("client_secret") && !is_of_entry && !asks_to_register {
            return Some("names the entry's client, which was not used");
        }
        if remedy.contains("client_secret")
            && context.entry.authentication == EntryAuthentication::PrivateKey
            && !asks_to_register
        {
            return Some("names a secret beside a key");
        }
        if remedy.contains("private_key") && context.entry.authentication != EntryAuthentication::PrivateKey {
            return Some("names a key that is not there");
        }
        if remedy.contains("\"omit\"") && context.entry.omits_resource {
            return Some("has the resource left out, which it is");
        }
        if remedy.contains("give scopes") && context.entry.gives_scopes {
            return Some("has scopes given, which they are");
        }
        if (remedy.contains("sign in again") || remedy.contains("start the sign-in")) && !has_user {
            return Some("asks a user to sign in where the client signs in for itself");
        }
        if remedy.contains("new client is registered") && is_of_entry {
            return Some("promises a registration for the entry's own client");
        }
        if asks_to_register && endpoint != Endpoint::Registration {
            return Some("asks to register a client that is registered");
        }
        remedy.is_empty().then_some("is empty")
    }

    /// Returns every entry that a client of this kind can have.
    fn entries(client: ClientKind) -> Vec<EntryFacts> {
        let proofs: &[EntryAuthentication] = match client {
            ClientKind::OfEntry => {
                &[EntryAuthentication::None, EntryAuthentication::Secret, EntryAuthentication::PrivateKey]
            }
            _ => &[EntryAuthentication::None],
        };
        let mut entries = Vec::new();
        for &authentication in proofs {
            for (omits_resource, gives_scopes) in [(false, false), (false, true), (true, false), (true, true)]
            {
                entries.push(EntryFacts { authentication, omits_resource, gives_scopes });
            }
        }
        entries
    }

    #[test]
    fn every_remedy_fits_its_context() {
        let places = [
            Endpoint::McpServer,
            Endpoint::ResourceMetadata,
            Endpoint::AuthorizationServerMetadata,
            Endpoint::Registration,
            Endpoint::Authorization,
            Endpoint::Token,
            Endpoint::Revocation,
        ];
        let askings = [
            None,
            Some(TokenRequestKind::AuthorizationCode),
            Some(TokenRequestKind::RefreshToken),
            Some(TokenRequestKind::ClientCredentials),
        ];
        let clients = [ClientKind::OfEntry, ClientKind::Registered, ClientKind::Document];
        for endpoint in places {
            for token_request in askings
                .into_iter()
                .filter(|token_request| (endpoint == Endpoint::Token) == token_request.is_some())
            {
                for client in clients {
                    // Only the entry's client uses client credentials.
                    if token_request == Some(TokenRequestKind::ClientCredentials)
                        && client != ClientKind::OfEntry
                    {
                        continue;
                    }
                    for entry in entries(client) {
                        let context =
                            RequestContext { token_request, client: Some(client), status: None, entry };
                        let refused = |code: &&str| refusal_remedy(endpoint, context, code, Some(URI));
                        let answered = [200, 401, 404].map(|status| status_remedy(endpoint, context, status));
                        for remedy in CODES.iter().map(refused).chain(answered) {
                            assert_eq!(
                                misfit(endpoint, context, &remedy),
                                None,
                                "{endpoint:?} {context:?}: {remedy}"
                            );
                        }
                    }
                }
            }
        }
    }
}
