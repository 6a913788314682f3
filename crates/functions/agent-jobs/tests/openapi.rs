//! Compares `docs/openapi.json`, which `GET /openapi.json` returns, with the handlers of both APIs.
//!
//! `UPDATE_OPENAPI=1 cargo test -p agent-jobs --test openapi` writes the file again.

use agent_jobs::OPENAPI;

#[test]
#[expect(clippy::disallowed_methods, reason = "the person who runs the test sets the variable")]
fn the_document_matches_the_handlers() {
    let mut document = agent_jobs::openapi();
    document.merge(connections_api::openapi());
    let written = document.to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/openapi.json");
        std::fs::write(path, written).unwrap();
    } else {
        assert!(
            written == OPENAPI,
            "docs/openapi.json is out of date: run this test with UPDATE_OPENAPI=1 to write it again"
        );
    }
}
