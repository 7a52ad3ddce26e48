//! Meeting a server: the first, for which there is all the time, and the next, for which there is a deadline.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use anyhow::Result;
use common::place::Channel;
use common::session::Session;
use rpc_demo::client::Client;
use socket_demo::dial::{Dial, Link};
use socket_demo::endpoint::{Address, pause};

/// Waits for a server, and for its HELLO; again if it leaves in between.
pub fn first(session: &mut Session, to: Address, channel: &Channel) -> Result<(Dial, Link)> {
    let mut dial = Client::dial(to);
    let mut watching = false;
    loop {
        // Who finds a server need not be told of one: there are fewer inotify instances than there may be clients.
        if !watching && dial.connect(false).is_err() {
            session.watch(channel.watch()?);
            watching = true;
        }
        session.meet(|block| dial.connect(block))?;
        if let Some(link) = session.wait(&mut dial, silent, |_| Ok(()), Dial::greet)? {
            return Ok((dial, link));
        }
    }
}

/// The same, but `None` if nobody is there `until` then.
pub fn again(session: &mut Session, dial: &mut Dial, until: Option<Instant>) -> Result<Option<Link>> {
    loop {
        if session.meet(|block| within(until, block, || dial.connect(false)))?.is_none() {
            return Ok(None);
        }
        let greet = |dial: &mut Dial, block| within(until, block, || dial.greet(false));
        match session.wait(dial, silent, |_| Ok(()), greet)? {
            None => return Ok(None),
            Some(None) => {}
            Some(link) => return Ok(link),
        }
    }
}

fn silent(_: &Dial) -> String {
    "the server has not said HELLO".into()
}

/// One try of `op` before `until`, `None` after it. A try that must block sleeps for a moment instead.
fn within<T>(
    until: Option<Instant>,
    block: bool,
    op: impl FnOnce() -> io::Result<T>,
) -> io::Result<Option<T>> {
    match op() {
        Err(e) if !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Err(e),
        Err(_) if until.is_some_and(|until| Instant::now() >= until) => Ok(None),
        Err(e) if !block => Err(e),
        Err(_) => Err(pause(Duration::from_millis(10)).err().unwrap_or(ErrorKind::Interrupted.into())),
        Ok(done) => Ok(Some(done)),
    }
}
