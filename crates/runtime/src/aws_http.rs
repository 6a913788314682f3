//! What the AWS SDKs send their requests with: the HTTP client that everything else here uses.
//!
//! The SDKs' own client brings a second pool, HTTP/2 and a second reading of the root certificates along, into
//! every function. What the services are asked here is small and answered
//! whole, so bodies are sent and read whole. Time-outs beyond connecting are the SDKs' own, around this.

use std::{sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use tokio::sync::OnceCell;

/// From the start until TCP and TLS are up, for every AWS endpoint.
const CONNECT: Duration = Duration::from_secs(2);

/// The client. Clones share their connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsHttp {
    /// Made when first needed: reading the root certificates is half of a cold start.
    https: Arc<OnceCell<reqwest::Client>>,
    /// For a local AWS, which needs none.
    http: Arc<OnceCell<reqwest::Client>>,
}

impl HttpClient for AwsHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for AwsHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.clone();
        HttpConnectorFuture::new(async move { client.send(request).await })
    }
}

impl AwsHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let is_https = request.uri().scheme_str() != Some("http");
        let (parts, body) = request.into_parts();
        let body = body.bytes().map(<[u8]>::to_vec);
        let body =
            body.ok_or_else(|| ConnectorError::user("a body that is a stream cannot be sent".into()))?;
        let request = reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(explain)?;
        let made = if is_https { &self.https } else { &self.http };
        let client = made.get_or_try_init(|| async { build(is_https) }).await.map_err(explain)?;
        let answer = client.execute(request).await.map_err(explain)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(explain)?;
        let mut response = http::Response::new(SdkBody::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

#[expect(clippy::disallowed_methods, reason = "AWS's own addresses, which the SDKs choose")]
fn build(is_https: bool) -> reqwest::Result<reqwest::Client> {
    let builder = match is_https {
        true => reqwest::Client::builder(),
        false => reqwest::Client::builder().tls_certs_only([]),
    };
    builder
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // What the SDKs sign is sent as it is, and what comes is checked as it came.
        .http1_only()
        .no_gzip()
        .no_deflate()
        .no_brotli()
        .no_zstd()
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .build()
}

/// As the SDKs want it told, which decide by it whether to try again.
fn explain(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
