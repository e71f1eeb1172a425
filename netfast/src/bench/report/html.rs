//! The report as a page that needs nothing else.

use super::Report;

/// The page.
pub fn html(report: &Report) -> String {
    let _ = report;
    String::new()
}
