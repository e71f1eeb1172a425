//! What came of cases.

use serde::Serialize;

use super::judge::Answers;
use crate::manifest::Diagnostic;
use crate::manifest::cases::{Case, Probe, Verdict};

/// What came of all cases.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Case by case.
    pub cases: Vec<CaseReport>,
    /// The totals.
    #[serde(flatten)]
    pub totals: Totals,
}

/// How many probes came to what. A case that cannot be judged at all counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not judged.
    pub skipped: usize,
}

/// What came of one case.
#[derive(Debug, Serialize)]
pub struct CaseReport {
    /// Its id.
    pub id: String,
    /// The file it is in.
    pub file: String,
    /// Its line there.
    pub line: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was not judged.
    pub why: Option<String>,
    /// What is wrong with its policies.
    pub diagnostics: Vec<Diagnostic>,
    /// Probe by probe.
    pub probes: Vec<ProbeReport>,
}

/// What came of one probe.
#[derive(Debug, Serialize)]
pub struct ProbeReport {
    /// Who asked, as the case says it.
    pub from: String,
    /// Whom.
    pub to: String,
    /// The port.
    pub port: u16,
    /// The protocol, in capitals.
    pub protocol: String,
    /// The family, where the case says it.
    pub family: Option<u8>,
    /// What came of it.
    pub outcome: Outcome,
    /// What the case expects.
    pub expected: Verdict,
    /// What the tables say.
    pub judged: Option<Verdict>,
    /// What became of a packet, if one was sent.
    pub sent: Option<Verdict>,
    /// What the sender's side says, and why.
    pub egress: Option<String>,
    /// What the receiver's side says, and why.
    pub ingress: Option<String>,
    /// Why it was not judged, or what else is wrong.
    pub why: Option<String>,
}

/// What came of a case or a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All is as expected.
    Passed,
    /// Something is not.
    Failed,
    /// It was not judged.
    Skipped,
}

impl Report {
    /// Gathers what came of cases.
    pub fn new(cases: Vec<CaseReport>) -> Self {
        let mut totals = Totals::default();
        for outcome in cases.iter().flat_map(CaseReport::outcomes) {
            match outcome {
                Outcome::Passed => totals.passed += 1,
                Outcome::Failed => totals.failed += 1,
                Outcome::Skipped => totals.skipped += 1,
            }
        }
        Self { cases, totals }
    }
}

impl CaseReport {
    /// That of a case whose probes were judged.
    pub(super) fn of(case: &Case, probes: Vec<ProbeReport>) -> Self {
        let any = |outcome| probes.iter().any(|probe| probe.outcome == outcome);
        let outcome = if any(Outcome::Failed) {
            Outcome::Failed
        } else if any(Outcome::Passed) || probes.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Skipped
        };
        Self { outcome, probes, ..Self::skipped(case, String::new()).without_reason() }
    }

    /// That of a case whose policies have mistakes.
    pub(super) fn wrong(case: &Case, diagnostics: Vec<Diagnostic>) -> Self {
        Self { outcome: Outcome::Failed, diagnostics, ..Self::skipped(case, String::new()).without_reason() }
    }

    /// That of a case that could not be built, which is a failure.
    pub(super) fn failed(case: &Case, why: String) -> Self {
        Self { outcome: Outcome::Failed, ..Self::skipped(case, why) }
    }

    /// That of a case that cannot be judged here.
    pub(super) fn skipped(case: &Case, why: String) -> Self {
        Self {
            id: case.id.clone(),
            file: case.source.file.clone(),
            line: case.source.line,
            outcome: Outcome::Skipped,
            why: Some(why),
            diagnostics: Vec::new(),
            probes: Vec::new(),
        }
    }

    fn without_reason(self) -> Self {
        Self { why: None, ..self }
    }

    /// What counts: its probes; or itself, if none was looked at.
    fn outcomes(&self) -> Vec<Outcome> {
        let is_whole = self.why.is_some() || !self.diagnostics.is_empty();
        if is_whole { vec![self.outcome] } else { self.probes.iter().map(|probe| probe.outcome).collect() }
    }
}

impl ProbeReport {
    pub(super) fn new(probe: &Probe) -> Self {
        Self {
            from: probe.from.to_string(),
            to: probe.to.to_string(),
            port: probe.port,
            protocol: probe.protocol.name().to_uppercase(),
            family: probe.is_v6.map(|is_v6| if is_v6 { 6 } else { 4 }),
            outcome: Outcome::Skipped,
            expected: probe.expect,
            judged: None,
            sent: None,
            egress: None,
            ingress: None,
            why: None,
        }
    }

    /// Notes what the tables say.
    pub(super) fn judged(&mut self, Answers { alone, after }: &Answers) {
        let judged = Verdict::of(alone.allowed);
        self.judged = Some(judged);
        (self.egress, self.ingress) = (Some(alone.egress.to_string()), Some(alone.ingress.to_string()));
        let is_same = after.is_none_or(|after| after == judged);
        if !is_same {
            self.why = Some(format!("compiled after the step before, the tables do not say {judged}"));
        }
        let passed = is_same && judged == self.expected;
        self.outcome = if passed { Outcome::Passed } else { Outcome::Failed };
    }

    /// Notes what became of a packet, after what the tables say.
    pub fn sent(&mut self, sent: Verdict) {
        self.sent = Some(sent);
        if self.judged.is_some_and(|judged| judged != sent) {
            self.why = Some("kernel and tables do not agree".to_owned());
        }
        if sent != self.expected || self.why.is_some() {
            self.outcome = Outcome::Failed;
        }
    }

    /// Notes that it is not judged.
    pub(super) fn skip(&mut self, why: String) {
        (self.outcome, self.why) = (Outcome::Skipped, Some(why));
    }

    /// Notes that it could not be sent, which is a failure.
    pub(super) fn fail(&mut self, why: String) {
        (self.outcome, self.why) = (Outcome::Failed, Some(why));
    }
}
