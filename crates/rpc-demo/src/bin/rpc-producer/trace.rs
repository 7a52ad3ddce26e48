//! `--trace`: the steps of a call, as far as its client can know them.
//!
//! Steps 1 and 2 happen here, and are shown when the request has been sent. Steps 3 and 4 happen in the server,
//! which shows them under its own `--trace`; here is shown what its reply proves.

use std::fmt::Display;

use anyhow::Result;
use common::session::Session;
use rpc_demo::client::Client;
use rpc_demo::error::RpcError;
use rpc_demo::marshal::Unmarshal;
use rpc_demo::message::ReplyHeader;
use rpc_demo::service::Fault;
use rpc_demo::trace;
use socket_demo::frame::HEADER;

/// Tries the call once, without waiting, which sends it; then shows what was sent.
pub fn send<T>(
    session: &mut Session,
    client: &mut Client,
    what: &dyn Display,
    call: impl Fn(&mut Client) -> Result<T, RpcError>,
) -> Result<T, RpcError> {
    client.exchange.set_nonblocking(true);
    let tried = call(client);
    let (request, _) = client.exchange.last();
    session.say(&format!(
        "1 arguments    {what}, in process {}\n2 client stub  marshals them, and sends {} bytes to {}:\n{}",
        std::process::id(),
        HEADER + request.len(),
        client.exchange.peer(),
        trace::request(request)
    ));
    tried
}

/// Shows what came back, if a reply did.
pub fn returned<T: Display>(session: &mut Session, client: &Client, result: &Result<T>) {
    let (_, reply) = client.exchange.last();
    let Ok(ReplyHeader { pid, status, .. }) = ReplyHeader::unmarshal(&mut Unmarshal::new(reply)) else {
        return session.say("3 server stub  no reply: nothing is known of it");
    };
    let fault = Fault::from_status(status);
    let proves = match status {
        0 => format!("unmarshalled them: the reply's status 0 says so\n4 function     ran in process {pid}"),
        _ if fault.is_of_the_procedure() => {
            format!(
                "unmarshalled them: status {status} is the function's own fault\n4 function     ran in process {pid}: {fault}"
            )
        }
        _ => format!("refused them: {fault}\n4 function     did not run"),
    };
    let back = match result {
        Ok(value) => format!("result       {value}, in process {}", std::process::id()),
        Err(e) => format!("no result    {e:#}"),
    };
    session.say(&format!(
        "3 server stub  {proves}\n  server stub  marshalled the result: {} bytes came back:\n{}\n  {back}",
        HEADER + reply.len(),
        trace::reply(reply)
    ));
}
