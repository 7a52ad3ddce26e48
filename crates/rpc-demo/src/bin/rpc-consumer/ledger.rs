//! What became of the calls: how often each ran, and what a client will never know.

use common::session::Session;
use rpc_demo::message::RequestHeader;
use rpc_demo::service::{PUT, is_idempotent, name};
use rpc_demo::skeleton::Done;

/// Counts.
#[derive(Debug, Default)]
pub struct Ledger {
    executed: u64,
    twice: u64,
    items_twice: u64,
    remembered: u64,
}

impl Ledger {
    /// Counts what was done with a request, and says so if it was not simply run.
    pub fn count(&mut self, session: &mut Session, request: &RequestHeader, done: Done) {
        match done {
            Done::Ran => self.executed += 1,
            Done::TakenOver => {
                self.executed += 1;
                // What is missing here has gone to the server before us: it is not lost.
                session.report.shared(true);
            }
            Done::RanAgain => {
                self.executed += 1;
                self.twice += 1;
                self.items_twice += u64::from(request.procedure == PUT);
                let harm = match is_idempotent(request.procedure) {
                    true => "harmless, because it is idempotent",
                    false => "it is not idempotent; say --semantics at-most-once to the producer",
                };
                session.warn("executed again", || format!("{}: {harm}", which(request)));
            }
            Done::Remembered => {
                self.remembered += 1;
                session.warn("not executed again", || format!("{}: answered from memory", which(request)));
            }
            Done::Refused(fault) => session.warn("refused", || format!("{}: {fault}", which(request))),
        }
    }

    /// Says that a client will not get its reply.
    pub fn dropped(&self, session: &mut Session, request: &RequestHeader) {
        session.warn("reply dropped", || {
            format!("{}: its client cannot know that it ran (--drop-replies)", which(request))
        });
    }

    /// What there is to be told at the end.
    pub fn report(&self, session: &mut Session, dropped: u64) {
        for (key, value) in [
            ("executed", self.executed),
            ("executed_twice", self.twice),
            ("remembered", self.remembered),
            ("replies_dropped", dropped),
        ] {
            session.report.extra(key, value);
        }
        let Ledger { executed, twice, items_twice, remembered } = self;
        let mut note = format!("executed {executed}, of these again {twice}");
        if *remembered > 0 {
            note += &format!(", answered from memory {remembered}");
        }
        if dropped > 0 {
            note += &format!(", replies dropped {dropped} (--drop-replies)");
        }
        session.report.note(note);
        if *items_twice > 0 {
            session.report.note(format!(
                "{items_twice} duplicated: their put got no reply, was sent again, and ran again, at-least-once; \
                 say --semantics at-most-once to the producer"
            ));
        }
    }
}

fn which(request: &RequestHeader) -> String {
    format!("{}, call {}, attempt {}", name(request.procedure), request.call, request.attempt)
}
