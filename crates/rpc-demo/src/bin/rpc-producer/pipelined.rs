//! `--in-flight N`: up to N puts are under way at once.

use std::io;

use anyhow::{Context, Result};
use common::{session::Session, source::Items};
use rpc_demo::service::PUT;
use socket_demo::dial::{Dial, Link};

use crate::flags::Args;
use crate::puts::Puts;

/// Puts all items, and leaves.
pub fn run(args: &Args, met: (Dial, Link), items: &mut Items, session: &mut Session) -> Result<()> {
    session.report.extra("in_flight", args.in_flight);
    let mut puts = Puts::new(args, met, items.stream());
    let mut done = put_all(items, session, &mut puts).context("put");
    if done.is_ok() || session.stopped().is_some() {
        let left = puts.leave(session);
        done = done.and(left);
    }
    puts.report(session);
    done
}

/// The loop: an item is put as soon as there is room for another call, and its receipt is checked when it comes.
fn put_all(items: &mut Items, session: &mut Session, puts: &mut Puts) -> Result<()> {
    while let Some(item) = next(items, session, puts)? {
        while !puts.pipeline.has_room() {
            puts.receive(session)?;
        }
        puts.pipeline.begin(PUT, |args| args.raw(item)).map_err(io::Error::from)?;
    }
    Ok(())
}

/// The next item. Nothing stays under way, unwatched, while it is waited for, nor if none comes.
fn next<'a>(items: &'a mut Items, session: &mut Session, puts: &mut Puts) -> Result<Option<&'a [u8]>> {
    if items.may_pause() {
        puts.receive_all(session)?;
    }
    let item = items.next(session);
    if !matches!(item, Ok(Some(_))) {
        puts.receive_all(session)?;
    }
    item
}
