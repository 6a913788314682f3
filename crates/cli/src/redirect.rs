//! The listener that the authorization server redirects the user's browser to: on a loopback address, for one request.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, bail};
use auth::{Redirect, is_loopback};
use axum::{
    Router,
    extract::{Query, State},
    response::Html,
    routing::get,
};
use futures::future::select_all;
use tokio::{net::TcpListener, sync::mpsc};
use url::{Host, Url};

/// A listener for one redirect.
pub(crate) struct Listener {
    listeners: Vec<TcpListener>,
    /// The redirect URI, exactly as it is sent to the authorization server.
    pub(crate) redirect_uri: String,
    path: String,
}

impl Listener {
    /// Listens at `redirect_uri`; without it on `port` of 127.0.0.1, where 0 is any free port.
    pub(crate) async fn new(redirect_uri: Option<&str>, port: u16) -> anyhow::Result<Self> {
        let Some(uri) = redirect_uri else {
            let listener = listen(Ipv4Addr::LOCALHOST.into(), port).await?;
            let (port, path) = (listener.local_addr()?.port(), "/oauth/callback".to_owned());
            let redirect_uri = format!("http://127.0.0.1:{port}{path}");
            return Ok(Self { listeners: vec![listener], redirect_uri, path });
        };
        let url = Url::parse(uri).context("--redirect-uri is not a URL")?;
        let port = url.port_or_known_default().unwrap_or(80);
        let addresses: Vec<IpAddr> = match url.host() {
            _ if url.scheme() != "http" || !is_loopback(&url) => {
                bail!("--redirect-uri must be http on 127.0.0.1 or localhost: this machine listens there")
            }
            Some(Host::Ipv4(v4)) => vec![v4.into()],
            Some(Host::Ipv6(v6)) => vec![v6.into()],
            // A browser may resolve `localhost` to either address, so that this command must hold both.
            _ => loopbacks().await,
        };
        let mut listeners = Vec::new();
        for address in addresses {
            listeners.push(listen(address, port).await?);
        }
        Ok(Self { listeners, redirect_uri: uri.to_owned(), path: url.path().to_owned() })
    }

    /// Waits for the redirect with `state`. A request with another state is answered with a page that says so.
    pub(crate) async fn wait(self, state: String) -> anyhow::Result<Redirect> {
        let (sender, mut receiver) = mpsc::channel(1);
        let router = Router::new().route(&self.path, get(take)).with_state((sender, state));
        let servers = self.listeners.into_iter().map(|listener| {
            let router = router.clone();
            Box::pin(async move { axum::serve(listener, router).await })
        });
        tokio::select! {
            redirect = receiver.recv() => redirect.context("the listener ended"),
            (served, ..) = select_all(servers) => {
                served?;
                bail!("the listener ended")
            }
        }
    }
}

async fn listen(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((address, port)).await;
    listener.with_context(|| format!("port {port} of {address} cannot be listened on"))
}

/// Returns the loopback addresses of this machine: 127.0.0.1, and ::1 if it has IPv6.
async fn loopbacks() -> Vec<IpAddr> {
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let has_v6 = TcpListener::bind((v6, 0)).await.is_ok();
    [Ipv4Addr::LOCALHOST.into()].into_iter().chain(has_v6.then_some(v6)).collect()
}

type Waiting = (mpsc::Sender<Redirect>, String);

async fn take(
    State((sender, state)): State<Waiting>,
    Query(query): Query<HashMap<String, String>>,
) -> Html<&'static str> {
    if query.get("state") != Some(&state) {
        return Html("<p>Nobody waits for this sign-in: start it again.</p>");
    }
    // The channel holds one redirect; a second request with the same state is ignored.
    let _ = sender.try_send(Redirect::from_pairs(query));
    Html("<p>Go back to the terminal: it says whether the sign-in worked. You may close this window.</p>")
}
