//! Where a browser comes back to: a listener on this machine alone, for one request.

use std::collections::HashMap;

use anyhow::{Context, bail};
use auth::{Redirect, is_loopback};
use axum::{
    Router,
    extract::{Query, State},
    response::Html,
    routing::get,
};
use tokio::{net::TcpListener, sync::mpsc};
use url::Url;

/// Waits for one browser.
pub(crate) struct Listener {
    listener: TcpListener,
    /// What the authorization server is told, exactly.
    pub(crate) redirect_uri: String,
    path: String,
}

impl Listener {
    /// Listens where `redirect_uri` says, else on `port` (0 for any that is free) of 127.0.0.1.
    pub(crate) async fn new(redirect_uri: Option<&str>, port: u16) -> anyhow::Result<Self> {
        let given = redirect_uri.map(Url::parse).transpose().context("--redirect-uri is not a URL")?;
        let port = match &given {
            None => port,
            Some(url) if url.scheme() == "http" && is_loopback(url) => {
                url.port_or_known_default().unwrap_or(80)
            }
            Some(_) => {
                bail!("--redirect-uri must be http on 127.0.0.1 or localhost: this machine listens there")
            }
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.with_context(|| format!("port {port} of 127.0.0.1 cannot be listened on"))?;
        let port = listener.local_addr()?.port();
        let path = given.as_ref().map_or("/oauth/callback", Url::path).to_owned();
        let redirect_uri = match redirect_uri {
            Some(uri) => uri.to_owned(),
            None => format!("http://127.0.0.1:{port}{path}"),
        };
        Ok(Self { listener, redirect_uri, path })
    }

    /// Waits until a browser comes back with `state`; others are told that they are wrong here.
    pub(crate) async fn wait(self, state: String) -> anyhow::Result<Redirect> {
        let (sender, mut receiver) = mpsc::channel(1);
        let router = Router::new().route(&self.path, get(take)).with_state((sender, state));
        tokio::select! {
            redirect = receiver.recv() => redirect.context("the listener ended"),
            served = async { axum::serve(self.listener, router).await } => {
                served?;
                bail!("the listener ended")
            }
        }
    }
}

type Waiting = (mpsc::Sender<Redirect>, String);

async fn take(
    State((sender, state)): State<Waiting>,
    Query(query): Query<HashMap<String, String>>,
) -> Html<&'static str> {
    if query.get("state") != Some(&state) {
        return Html("<p>Nobody waits for this sign-in: start it again.</p>");
    }
    // A second request finds the place taken.
    let _ = sender.try_send(Redirect::from_pairs(query));
    Html("<p>Go back to the terminal: it says whether the sign-in worked. You may close this window.</p>")
}
