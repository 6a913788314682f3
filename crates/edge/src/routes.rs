//! One list of handlers, from which a function's router and its part of the OpenAPI document are made.
//!
//! [`routes!`](crate::routes!) takes each route's path and methods from the handler's `#[utoipa::path]` attribute, so
//! that the router and the document cannot differ. The router does not build the document: a cold start pays for paths
//! and methods alone. The test that compares the document with `docs/openapi.json` builds it. The functions with an HTTP
//! API use this macro.

use axum::routing::MethodFilter;
#[doc(hidden)]
pub use pastey::paste;
use utoipa::openapi::HttpMethod;
use utoipa_axum::PathItemExt;

/// Defines `routes()`, the axum router of the handlers in the list, and `openapi()`, the document of `$document` (a
/// `utoipa::OpenApi`) with the same handlers.
///
/// Routes for which the document has no path of their own are added to the router by the caller.
///
/// ```text
/// edge::routes! {
///     state: Arc<Api>,
///     document: Document,
///     handlers: [list_jobs, submit_job, callback::callback],
/// }
/// ```
#[macro_export]
macro_rules! routes {
    (
        state: $state:ty,
        document: $document:ty,
        handlers: [$($($segment:ident)::+),* $(,)?] $(,)?
    ) => {
        /// Returns the router of the listed handlers, without the layers of [`edge::serve`](edge::serve()).
        fn routes() -> ::axum::Router<$state> {
            ::axum::Router::new()$(.route(
                &<$crate::routes!(@path $($segment)::+) as ::utoipa::Path>::path(),
                ::axum::routing::on(
                    $crate::method_filter(&<$crate::routes!(@path $($segment)::+) as ::utoipa::Path>::methods()),
                    $($segment)::+,
                ),
            ))*
        }

        /// Builds the part of the OpenAPI document that describes these routes. Nothing calls it at run time.
        pub fn openapi() -> ::utoipa::openapi::OpenApi {
            ::utoipa_axum::router::OpenApiRouter::<$state>::with_openapi(<$document as ::utoipa::OpenApi>::openapi())
                $(.routes(::utoipa_axum::routes!($($segment)::+)))*
                .into_openapi()
        }
    };
    // The type that `#[utoipa::path]` defines beside a handler.
    (@path $handler:ident) => { $crate::paste! { [<__path_ $handler>] } };
    (@path $module:ident::$handler:ident) => { $crate::paste! { $module::[<__path_ $handler>] } };
}

/// Returns the filter that matches any of the methods of a `#[utoipa::path]`, of which there is at least one.
#[doc(hidden)]
pub fn method_filter(methods: &[HttpMethod]) -> MethodFilter {
    let filters = methods.iter().map(PathItemExt::to_method_filter);
    filters.reduce(MethodFilter::or).expect("a path has a method")
}
