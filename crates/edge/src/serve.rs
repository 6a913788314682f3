//! What all functions do around their routes: deadlines, the access log line, errors for requests without a route.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{Method, Uri, request::Parts, uri::PathAndQuery},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::time::{Instant, timeout_at};
use tower::util::MapRequest;

use crate::{Caller, ErrorKind, HttpError};

/// The time of requests that come without [`InvocationEnd`], as from a test. An HTTP API waits no longer.
const TIME_WITHOUT_INVOCATION: Duration = Duration::from_secs(30);

/// When the invocation that a request came with ends. [`crate::lambda::answer`] puts it into the request.
#[derive(Debug, Clone, Copy)]
pub struct InvocationEnd(pub Instant);

/// When a handler shall have its answer.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

/// Parts of a request's time. Each counts back from the end of the invocation.
#[derive(Debug, Clone, Copy)]
pub struct Margins {
    /// From here on handlers answer with what they have ([`Deadline`]).
    pub deadline: Duration,
    /// From here on a handler without an answer is dropped: 504.
    pub cut_off: Duration,
    /// From here on token refreshes are not waited for any more.
    pub settled: Duration,
}

type Settling = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Edge {
    margins: Margins,
    settled: Box<dyn Fn(Instant) -> Settling + Send + Sync>,
}

/// Makes `routes` what a function serves.
///
/// A path means the same with and without a slash at its end. A request that matches no path is answered with 404,
/// one that matches a path with other methods with 405 and `Allow`. After each answer `settled` is awaited: what a
/// process has to finish before it may be frozen, until the time that it is given.
pub fn serve<F>(
    routes: Router,
    margins: Margins,
    settled: impl Fn(Instant) -> F + Send + Sync + 'static,
) -> Router
where
    F: Future<Output = ()> + Send + 'static,
{
    let edge = Edge { margins, settled: Box::new(move |until| Box::pin(settled(until))) };
    let routes = routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::new(edge), around));
    // A layer of the router runs after routing, when it is too late to change the path.
    Router::new().fallback_service(MapRequest::new(routes, without_slash_at_end))
}

async fn around(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let end = request.extensions().get::<InvocationEnd>().map(|end| end.0);
    let end = end.unwrap_or(began + TIME_WITHOUT_INVOCATION);
    let before_end = |margin| end.checked_sub(margin).unwrap_or(began);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let caller = request.extensions().get::<Caller>().cloned();
    request.extensions_mut().insert(Deadline(before_end(edge.margins.deadline)));

    let answered = timeout_at(before_end(edge.margins.cut_off), next.run(request)).await;
    let response = answered.unwrap_or_else(|_| timed_out().into_response());
    (edge.settled)(before_end(edge.margins.settled)).await;

    // No path, no query and no body: they hold ids of agents and states of sign-ins.
    tracing::info!(
        http.method = %method,
        http.route = route.as_ref().map_or("none", MatchedPath::as_str),
        http.status = response.status().as_u16(),
        duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        user.sub = caller.as_ref().and_then(|caller| caller.user.sub.as_deref()),
        "External MCP: request answered"
    );
    response
}

async fn no_route() -> HttpError {
    HttpError::new(ErrorKind::NotFound, "there is no such route")
        .with_remedy("GET /openapi.json lists the routes")
}

async fn no_method(method: Method) -> HttpError {
    HttpError::new(ErrorKind::MethodNotAllowed, format!("this route does not take {method}"))
        .with_remedy("use one of the methods in the header Allow")
}

fn timed_out() -> HttpError {
    let message = "the answer was not ready in time: a server or a service that it depends on did not answer";
    HttpError::new(ErrorKind::Timeout, message)
        .with_remedy("try again; if that fails too, look into the function's log")
}

fn without_slash_at_end(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == path.len() {
        return request;
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    // What was a path and a query stays one.
    parts.path_and_query = PathAndQuery::try_from(format!("{trimmed}{query}")).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

impl<S: Send + Sync> FromRequestParts<S> for Deadline {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let deadline = parts.extensions.get::<Self>().copied();
        Ok(deadline.unwrap_or_else(|| Self(Instant::now() + TIME_WITHOUT_INVOCATION)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{body::Body, body::to_bytes, http::HeaderMap, routing::get};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::Path;

    const MARGINS: Margins = Margins {
        deadline: Duration::from_secs(2),
        cut_off: Duration::from_secs(1),
        settled: Duration::from_millis(500),
    };

    async fn send(
        router: &Router,
        method: &str,
        path: &str,
        end: Option<Instant>,
    ) -> (u16, Value, HeaderMap) {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        if let Some(end) = end {
            request.extensions_mut().insert(InvocationEnd(end));
        }
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default(), parts.headers)
    }

    #[tokio::test]
    async fn requests_without_a_route_are_answered_in_the_one_body() {
        let routes = Router::new().route("/jobs/{id}", get(|Path(id): Path<String>| async move { id }));
        let router = serve(routes, MARGINS, |_| std::future::ready(()));
        for path in ["/jobs/a", "/jobs/a/", "/jobs/a//", "/jobs/a/?x=1"] {
            assert_eq!(send(&router, "GET", path, None).await.0, 200, "{path}");
        }
        for path in ["/", "/jobs", "/jobs/a/b", "/nothing"] {
            let (status, body, _) = send(&router, "GET", path, None).await;
            assert_eq!((status, &body["error"]), (404, &"not_found".into()), "{path}");
            assert!(body["remedy"].is_string());
        }
        let (status, body, headers) = send(&router, "PUT", "/jobs/a/", None).await;
        assert_eq!((status, &body["error"]), (405, &"method_not_allowed".into()));
        assert_eq!(headers["allow"], "GET,HEAD");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_is_told_its_deadline_and_dropped_at_the_cut_off() {
        let end = Instant::now() + Duration::from_secs(10);
        let told = move |Deadline(deadline): Deadline| async move {
            assert_eq!(end - deadline, MARGINS.deadline);
        };
        let hangs = || async { std::future::pending::<()>().await };
        let settled = Arc::new(AtomicUsize::new(0));
        let counted = settled.clone();
        let router = serve(
            Router::new().route("/told", get(told)).route("/hangs", get(hangs)),
            MARGINS,
            move |until| {
                assert_eq!(end - until, MARGINS.settled);
                counted.fetch_add(1, Ordering::Relaxed);
                std::future::ready(())
            },
        );
        assert_eq!(send(&router, "GET", "/told", Some(end)).await.0, 200);
        let (status, body, _) = send(&router, "GET", "/hangs", Some(end)).await;
        assert_eq!((status, &body["error"]), (504, &"timeout".into()));
        assert_eq!(end - Instant::now(), MARGINS.cut_off);
        assert_eq!(settled.load(Ordering::Relaxed), 2);
    }
}
