//! `<fsa-doctor>`, as `frontend/js/doctor.ts` and `findings.ts` draw it.

use super::markup::prose;
use crate::http::preview::page::escape;
use kubernetes::doctor::{Finding, Report, Verdict};

/// The element's content.
pub fn html(report: &Report) -> String {
    let findings: String = report.findings.iter().map(row).collect();
    format!(
        "<div class=\"doctor-bar\"><button class=\"button\" type=\"button\">Look again</button>\
         <span class=\"state-note\" role=\"status\">{}</span></div><ul class=\"findings\">{findings}</ul>",
        summary(&report.findings)
    )
}

fn row(finding: &Finding) -> String {
    let (verdict, tone, word) = match finding.verdict {
        Verdict::Ok => ("ok", "good", "Well"),
        Verdict::Warn => ("warn", "warn", "Look"),
        Verdict::Fail => ("fail", "bad", "Failed"),
    };
    let mut text = format!("<p><strong>{}</strong> <span>{}</span></p>", escape(&finding.check), prose(&finding.what));
    if finding.verdict != Verdict::Ok {
        if !finding.why.is_empty() {
            text += &format!("<p class=\"quiet small\"><span>{}</span></p>", prose(&finding.why));
        }
        if !finding.mend.is_empty() {
            let steps: String = finding.mend.iter().map(|step| format!("<li><span>{}</span></li>", prose(step))).collect();
            text += &format!("<ul class=\"steps\">{steps}</ul>");
        }
        if let Some(detail) = finding.detail.as_deref().filter(|detail| !detail.is_empty()) {
            text += &format!(
                "<details><summary class=\"small\">What it said</summary><pre class=\"small\">{}</pre></details>",
                escape(detail)
            );
        }
    }
    format!(
        "<li class=\"finding\" data-verdict=\"{verdict}\"><span class=\"tag\" data-tone=\"{tone}\">{word}</span>\
         <div class=\"finding-text\">{text}</div></li>"
    )
}

/// "12 checks: 1 failed, 2 to look at".
fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (failed, warned) = (count(Verdict::Fail), count(Verdict::Warn));
    let all = if findings.len() == 1 { "1 check".to_owned() } else { format!("{} checks", findings.len()) };
    match (failed, warned) {
        (0, 0) => format!("{all}: all is well"),
        (failed, 0) => format!("{all}: {failed} failed"),
        (0, warned) => format!("{all}: {warned} to look at"),
        (failed, warned) => format!("{all}: {failed} failed, {warned} to look at"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(findings: Vec<Finding>) -> String {
        let mut report = Report::telling(None);
        report.findings = findings;
        html(&report)
    }

    #[test]
    fn what_is_well_is_short_and_the_rest_says_what_mends_it() {
        let bad = Finding {
            detail: Some("<raw>".to_owned()),
            ..Finding::new("disk", Verdict::Fail, "It is <full>.", "`home` is there.", &["Run `df -h`."])
        };
        let html = drawn(vec![Finding::ok("ports", "They answer.", "Browsers come by these."), bad]);
        assert!(html.contains("2 checks: 1 failed</span>") && !html.contains("Browsers come"), "{html}");
        for part in
            ["It is &lt;full&gt;.", "<code>home</code> is there.", "<li><span>Run <code>df -h</code>.</span></li>", "&lt;raw&gt;"]
        {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn how_it_is_in_all() {
        let of = |verdict| Finding::new("x", verdict, "x", "", &[]);
        let said = |findings: Vec<Finding>| summary(&findings);
        assert_eq!(said(vec![of(Verdict::Ok)]), "1 check: all is well");
        assert_eq!(said(vec![of(Verdict::Ok), of(Verdict::Warn)]), "2 checks: 1 to look at");
        assert_eq!(said(vec![of(Verdict::Fail), of(Verdict::Warn)]), "2 checks: 1 failed, 1 to look at");
    }
}
