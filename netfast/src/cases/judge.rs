//! Judges cases by the tables their policies compile to: the evaluation the kernel makes, without a kernel.

use super::Group;
use super::report::{CaseReport, ProbeReport};
use super::world::{Scene, Unjudged};
use crate::compile::policy::{Answer, Numbers, Tables, compile};
use crate::manifest::cases::{Case, Probe, Verdict};

/// Judges all probes of a group of cases.
///
/// The snapshots of a sequence are compiled twice: alone, and from the numbers of the one before, as an instance does
/// that lives through them. Both must say the same.
pub fn judge(group: &Group<'_>) -> Vec<CaseReport> {
    let mut numbers = Numbers::default();
    group.iter().map(|case| judge_case(case, &mut numbers)).collect()
}

fn judge_case(case: &Case, numbers: &mut Numbers) -> CaseReport {
    let judges = match Judges::new(case, numbers) {
        Ok(judges) => judges,
        Err(unjudged) => return refused(case, unjudged),
    };
    let probes = case.probes.iter().map(|probe| {
        let mut report = ProbeReport::new(probe);
        match judges.answers(probe) {
            Ok(answers) => report.judged(&answers),
            Err(why) => report.skip(why),
        }
        report
    });
    CaseReport::of(case, probes.collect())
}

/// The report of a case that cannot be judged.
pub(super) fn refused(case: &Case, unjudged: Unjudged) -> CaseReport {
    match unjudged {
        Unjudged::Wrong(diagnostics) => CaseReport::wrong(case, diagnostics.0),
        Unjudged::Unknown(why) => CaseReport::skipped(case, why),
    }
}

/// A case with its tables.
pub(super) struct Judges {
    pub(super) scene: Scene,
    alone: Tables,
    /// Compiled from the numbers of a case before, where there is one.
    after: Option<Tables>,
}

impl Judges {
    pub(super) fn new(case: &Case, numbers: &mut Numbers) -> Result<Self, Unjudged> {
        let scene = Scene::new(case)?;
        let compile = |numbers: &Numbers| {
            compile(&scene.world, &scene.addresses, numbers, usize::MAX)
                .map_err(|error| Unjudged::Unknown(error.to_string()))
        };
        let alone = compile(&Numbers::default())?;
        let after = if *numbers == Numbers::default() { None } else { Some(compile(numbers)?) };
        *numbers = after.as_ref().unwrap_or(&alone).numbers.clone();
        Ok(Self { scene, alone, after })
    }

    /// What the tables say; or why a probe cannot be judged.
    pub(super) fn answers(&self, probe: &Probe) -> Result<Answers, String> {
        let family = self.scene.family(probe)?;
        let ask = |tables: &Tables| {
            let (from, to) = (self.scene.side(&probe.from, family)?, self.scene.side(&probe.to, family)?);
            tables.answer(&from, &to, probe.protocol.number(), probe.port)
        };
        let unknown = || "an end of it is unknown to policies".to_owned();
        let alone = ask(&self.alone).ok_or_else(unknown)?;
        let after = match &self.after {
            Some(tables) => Some(Verdict::of(ask(tables).ok_or_else(unknown)?.allowed)),
            None => None,
        };
        Ok(Answers { alone, after })
    }
}

/// What the tables say of a probe.
pub(super) struct Answers {
    pub(super) alone: Answer,
    /// The verdict of those compiled from the numbers of a case before.
    pub(super) after: Option<Verdict>,
}
