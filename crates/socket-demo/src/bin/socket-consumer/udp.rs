//! `--transport udp`: datagrams.

use anyhow::Result;
use common::session::Session;
use socket_demo::endpoint::{check_reach, inet};
use socket_demo::protocol::TCP_ADDRESS;
use socket_demo::udp_consumer::{Arrival, UdpConsumer};

use crate::flags::Args;

/// Receives what comes, and says what did not.
pub fn run(args: &Args, session: &mut Session) -> Result<()> {
    let addr = inet(args.addr.as_deref().unwrap_or(TCP_ADDRESS))?;
    check_reach(addr, args.allow_remote)?;
    if !addr.ip().is_loopback() {
        crate::warn_of_reach(session, &addr);
    }
    let mut consumer = UdpConsumer::bind(addr)?;
    let received = receive_all(args, session, &mut consumer);
    consumer.leave();
    let dropped = consumer.drops();
    session.report.extra("dropped", dropped);
    if dropped > 0 {
        session.report.note(format!(
            "the kernel dropped {dropped} datagrams: the socket's buffer was full, and UDP tells no sender to wait (--transport tcp does)"
        ));
    }
    received
}

/// The loop: receives items until the last producer has said goodbye.
fn receive_all(args: &Args, session: &mut Session, consumer: &mut UdpConsumer) -> Result<()> {
    loop {
        while let Some(notice) = session.meet(|block| consumer.meet(block))? {
            session.warn("datagram", || notice);
        }
        let lost = loop {
            match session.wait(consumer, empty, |_| Ok(()), UdpConsumer::receive)? {
                Arrival::Item if session.received(0, consumer.item())? => {}
                Arrival::Item => return Ok(()),
                Arrival::Goodbye { stream, sent } => session.report.ended(stream, sent),
                Arrival::Notice(notice) => session.warn("datagram", || notice),
                Arrival::End(lost) => break lost,
            }
        };
        if !args.consumer.forever {
            return Ok(lost?);
        }
    }
}

fn empty(consumer: &UdpConsumer) -> String {
    match consumer.producers() {
        0 => "fewer items came than the goodbye says; they may be late".into(),
        n => format!(
            "nothing has come from {n} producer(s); UDP tells nobody of a death, so only --timeout ends this"
        ),
    }
}
