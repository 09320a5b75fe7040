//! One exchange in full, and every reason for which something was not believed.

use super::numbers::{Round, nanos, seconds};
use crate::finding::Finding;
use crate::sample::{Record, StampedBy};
use crate::timestamp::WallTime;
use wirelab::measure::human;

/// Every reason for which something was not believed, with the rule and how often.
#[must_use]
pub fn refusals(finding: &Finding) -> String {
    let mut out = String::new();
    for server in &finding.servers {
        for (name, count) in &server.counts.refused {
            let times = human::times(*count);
            let note = server.notes.iter().find(|note| note.reason == *name);
            let (section, text) =
                note.map_or(("", ""), |note| (&*note.section, note.text.as_str()));
            out.push_str(&format!("  {name}, {times} ({section}): {text}\n"));
        }
    }
    if out.is_empty() {
        return "\nno reply was refused\n".to_owned();
    }
    format!("\nrefused, each reason with the rule that it breaks and its first case:\n{out}")
}

/// The shortest exchange as a diagram, with the sums that follow from it.
#[must_use]
pub fn explain(finding: &Finding) -> Option<String> {
    let server = finding.servers.iter().find(|server| !server.samples.is_empty())?;
    let sample = server.samples.iter().min_by_key(|sample| sample.delay_ns())?;
    let record = &sample.record;
    let (t1, t4) = (record.t1.wall, record.t4.wall);
    let (t2, t3) = (t1.plus(sample.forward_ns), t4.plus(sample.backward_ns));
    let s = |ns: i64| seconds(ns, 9, Round::Nearest);
    let stamp = |time: WallTime| seconds(time.as_nanos(), 9, Round::Nearest)[1..].to_owned();
    let ahead = if sample.offset_ns() >= 0 { "ahead of" } else { "behind" };
    Some(format!(
        "\nrequest {request} to {name}, the shortest exchange of {count} (seconds since 1970)\n\n  \
         this host's clock                               the server's clock\n\n  \
         T1 {t1:<22} |------------------>|  T2 {t2}   T2 - T1 = {forward} s\n  \
         {blank:<25} |                   |\n  \
         T4 {t4:<22} |<------------------|  T3 {t3}   T3 - T4 = {backward} s\n\n  \
         offset = ((T2 - T1) + (T3 - T4)) / 2 = ({forward} {backward}) / 2 = {offset} s\n  \
         delay  = (T4 - T1) - (T3 - T2) = {round} - {stay} = {delay} s\n\n  \
         No packet comes before it was sent: the request took T2 - T1 - offset >= 0, the reply\n  \
         T4 - T3 + offset >= 0. So the offset is at most {forward} s and at least {backward} s\n  \
         (± {slack} for the clocks' own resolution, {drift} for {limit} of drift between T1\n  \
         and T4): delay / 2 on each side of the middle.\n  \
         The server is {ahead} this host by {size} if both ways took equally long.\n  \
         {stamps}.\n",
        request = record.request,
        name = server.name,
        count = server.samples.len(),
        t1 = stamp(t1),
        t2 = stamp(t2),
        t3 = stamp(t3),
        t4 = stamp(t4),
        blank = "",
        forward = s(sample.forward_ns),
        backward = s(sample.backward_ns),
        offset = s(sample.offset_ns()),
        round = s(t4.minus(t1)),
        stay = s(t3.minus(t2)),
        delay = s(sample.delay_ns()),
        slack = nanos(sample.slack_ns),
        drift = nanos(finding.view.drift_limit.over(t4.minus(t1).unsigned_abs())),
        limit = super::numbers::limit(finding.view.drift_limit),
        stamps = stamps(record),
        size = human::latency(sample.offset_ns().unsigned_abs()),
    ))
}

/// Sources of an exchange's timestamps, and the error of the other sources.
fn stamps(record: &Record) -> String {
    let t1 = match (record.t1_by, record.t1_user) {
        (StampedBy::Kernel, Some(before)) => format!(
            "T1 was taken by the kernel, {} after this program's own stamp",
            nanos(record.t1.wall.minus(before))
        ),
        (StampedBy::Kernel, None) => "T1 was taken by the kernel".to_owned(),
        (StampedBy::User, _) => "T1 was taken by this program, just before it sent".to_owned(),
    };
    let t4 = match record.t4_by {
        StampedBy::Kernel => format!(
            "T4 by the kernel, {} before this program had read the reply",
            nanos(record.t4_user.minus(record.t4.wall))
        ),
        StampedBy::User => "T4 by this program, as the kernel gave no timestamp".to_owned(),
    };
    let t3 = if record.interleaved {
        "T3 is when the\n  reply left, as the next reply reported (RFC 9769)"
    } else {
        "T3 is what the\n  server wrote into the reply before it left"
    };
    format!("{t1};\n  {t4}. {t3}")
}
