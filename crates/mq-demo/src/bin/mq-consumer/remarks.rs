//! What is said of single messages: which struct one is, and that one was for somebody else.

use common::item::{HEADER, Header};
use common::session::Session;
use mq_demo::direct;
use mq_demo::rendezvous::Receipt;
use mq_demo::structs::Struct;

use crate::End;

/// A message that has been taken, and is about to be reported.
pub fn remark(kind: i64, session: &mut Session, end: &End) {
    if end.queue.structs() {
        let payload = end.queue.message().get(HEADER..).unwrap_or_default();
        match Struct::unmarshal(kind, payload) {
            Some(one) => session.report.remark(|| one.to_string()),
            None => session.report.remark(|| format!("no struct of type {kind}")),
        }
    }
    if let Some(pid) = direct::addressee(kind).filter(|pid| *pid != std::process::id()) {
        session.warn("not for this process", || {
            format!("sent to {pid}; a receiver of type 0 takes anything (start it with --direct or --type)")
        });
    }
}

/// A producer that waits for its receipt gets it.
pub fn receipt(what: Receipt, end: &mut End) {
    if let Some(Header { stream, pid, seq, .. }) = end.queue.message().first_chunk().map(Header::parse) {
        end.receipts.send(stream, pid, seq, what);
    }
}
