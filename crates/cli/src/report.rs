//! What the doctor found, and how it is told: as text, and as JSON.

use std::borrow::Cow;

use anstream::println;
use mcp::{McpError, McpServer};
use runtime::plain_json;
use secret::{Diagnostic, ParsedEntry};
use serde::Serialize;

use crate::style::{BAD, GOOD, ODD, STRONG, styled};

/// The steps, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Parsed,
    Resolved,
    /// TCP is up; for servers at `http`.
    Connected,
    /// TCP and TLS are up; for servers at `https`.
    Tls,
    Discovered,
    SignedIn,
    Initialized,
    ToolsListed,
}

/// How one step went.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    step: Step,
    ok: bool,
    /// What was found, or what failed.
    detail: String,
    /// The kind of failure, as a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<Cow<'static, str>>,
}

/// How one entry went. Its steps end with the first that failed.
#[derive(Debug, Serialize)]
pub(crate) struct EntryReport {
    position: usize,
    agent_name: Option<String>,
    url: Option<String>,
    pub(crate) steps: Vec<StepReport>,
    /// What is odd about the entry without keeping it from working.
    warnings: Vec<String>,
    pub(crate) tools: Vec<String>,
}

impl Step {
    fn title(self) -> &'static str {
        match self {
            Self::Parsed => "parsed",
            Self::Resolved => "name resolved",
            Self::Connected => "connected",
            Self::Tls => "TLS",
            Self::Discovered => "discovered",
            Self::SignedIn => "signed in",
            Self::Initialized => "initialized",
            Self::ToolsListed => "tools listed",
        }
    }
}

impl StepReport {
    pub(crate) fn passed(step: Step, detail: String) -> Self {
        Self { step, ok: true, detail, reason: None, remedy: None }
    }

    /// Takes the entry's own secrets out of what others say: the remedy may quote them too.
    pub(crate) fn scrub(&mut self, server: &McpServer) {
        self.detail = server.scrub(std::mem::take(&mut self.detail));
        self.remedy = self.remedy.take().map(|remedy| server.scrub(remedy.into_owned()).into());
    }

    pub(crate) fn is(&self, step: Step) -> bool {
        self.step == step
    }

    pub(crate) fn failed(step: Step, error: &McpError) -> Self {
        let (reason, remedy) = (Some(error.kind()), Some(error.remedy()));
        Self { step, ok: false, detail: error.to_string(), reason, remedy }
    }
}

impl EntryReport {
    /// The first step: whether the entry could be read.
    pub(crate) fn new(entry: &ParsedEntry) -> Self {
        let (fatal, odd): (Vec<_>, Vec<_>) =
            entry.diagnostics.iter().partition(|diagnostic| diagnostic.fatal);
        let parsed = match fatal.as_slice() {
            [] => StepReport::passed(Step::Parsed, "all fields in order".to_owned()),
            faults => StepReport {
                step: Step::Parsed,
                ok: false,
                detail: told(faults),
                reason: Some("bad_entry"),
                remedy: Some("mend the named fields in the secret".into()),
            },
        };
        Self {
            position: entry.position,
            agent_name: entry.agent_name.clone(),
            url: entry.server.as_ref().map(mcp::McpServer::shown_url),
            steps: vec![parsed],
            warnings: odd.iter().map(ToString::to_string).collect(),
            tools: Vec::new(),
        }
    }

    pub(crate) fn works(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    /// Whether the server may speak another transport than was tried.
    pub(crate) fn may_speak_otherwise(&self) -> bool {
        self.steps.last().is_some_and(|step| matches!(step.reason, Some("http_status" | "not_mcp")))
    }

    /// Whether all that fails is that no user has signed in yet.
    pub(crate) fn needs_sign_in(&self) -> bool {
        self.steps.last().is_some_and(|step| step.reason == Some("needs_sign_in"))
    }
}

fn told(diagnostics: &[&Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Prints one entry's report for people.
pub(crate) fn print_text(report: &EntryReport) {
    let name = printable(report.agent_name.as_deref().unwrap_or("without a name"));
    let url = report.url.as_deref().unwrap_or_default();
    println!("entry {} ({}) {url}", report.position, styled(STRONG, name));
    for warning in &report.warnings {
        println!("  {:<14} {}", styled(ODD, "warning"), printable(warning));
    }
    for step in &report.steps {
        let mark = if step.ok { styled(GOOD, "ok") } else { styled(BAD, "FAILED") };
        println!("  {:<14} {mark:<6} {}", step.step.title(), printable(&step.detail));
        if let (Some(reason), Some(remedy)) = (step.reason, &step.remedy) {
            println!("  {:<14} {reason}", "reason");
            println!("  {:<14} {}", styled(STRONG, "what to do"), printable(remedy));
        }
    }
    if !report.tools.is_empty() {
        println!("  {:<14} {}", "tools", printable(&report.tools.join(", ")));
    }
}

/// Without control characters: what a server or an entry says must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if egress::is_printable(c) { c } else { '\u{fffd}' }).collect()
}

/// Prints all reports for programs.
pub(crate) fn print_json(reports: &[EntryReport]) -> anyhow::Result<()> {
    println!("{}", plain_json(&serde_json::to_string_pretty(reports)?));
    Ok(())
}
