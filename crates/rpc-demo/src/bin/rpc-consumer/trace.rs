//! `--trace`: the steps of a call that happen in the server, shown where and when they happen.

use std::fmt::Display;

use rpc_demo::service::{Counters, Fault, Receipt, Service};
use rpc_demo::skeleton::{Done, ServerStub};
use rpc_demo::trace;
use socket_demo::frame::HEADER;

use crate::desk::Desk;

/// Runs the request that was received last, and shows each step.
pub fn run(stub: &mut ServerStub, desk: &mut Desk<'_>) -> Done {
    let (request, _) = stub.last();
    let (len, bytes) = (HEADER + request.len(), trace::request(request));
    desk.session.say(&format!("3 server stub  {len} bytes came:\n{bytes}"));
    let done = stub.run(&mut Traced(desk));
    match done {
        Done::Ran | Done::TakenOver | Done::RanAgain => {}
        Done::Remembered => desk.session.say("4 function     has run already, and does not run again"),
        Done::Refused(fault) => desk.session.say(&format!("4 function     does not run: {fault}")),
    }
    let (_, reply) = stub.last();
    let (len, bytes) = (HEADER + reply.len(), trace::reply(reply));
    desk.session.say(&format!("  server stub  marshals the result into {len} bytes:\n{bytes}"));
    done
}

/// The service, which says with what it is called and what it returns.
struct Traced<'a, 'b>(&'a mut Desk<'b>);

impl Traced<'_, '_> {
    fn called(&mut self, call: &dyn Display) {
        self.0.session.say(&format!("  server stub  unmarshals them: {call}"));
    }

    fn returns<T: Display>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        let here = format!("4 function     runs in process {}", std::process::id());
        self.0.session.say(&match &result {
            Ok(value) => format!("{here}, and returns {value}"),
            Err(fault) => format!("{here}, and fails: {fault}"),
        });
        result
    }
}

impl Service for Traced<'_, '_> {
    fn put(&mut self, item: &[u8]) -> Receipt {
        self.called(&format_args!("put(an item of {} bytes)", item.len()));
        let receipt = self.0.put(item);
        let _ = self.returns(Ok(receipt));
        receipt
    }

    fn sum(&mut self, numbers: &[i64]) -> Result<i64, Fault> {
        let list: Vec<_> = numbers.iter().map(i64::to_string).collect();
        self.called(&format_args!("sum({})", list.join(", ")));
        let sum = self.0.sum(numbers);
        self.returns(sum)
    }

    fn stats(&mut self) -> Counters {
        self.called(&"stats()");
        let counters = self.0.stats();
        let _ = self.returns(Ok(counters));
        counters
    }

    fn divide(&mut self, dividend: i64, divisor: i64) -> Result<i64, Fault> {
        self.called(&format_args!("divide({dividend}, {divisor})"));
        let quotient = self.0.divide(dividend, divisor);
        self.returns(quotient)
    }
}
