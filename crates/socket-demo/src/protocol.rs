//! What the producers and the consumer of this pair say to each other in frames: the words both must know.

use crate::frame::{self, Rules};

/// What this pair's HELLO says: that items are to follow.
pub const PROTOCOL: [u8; 4] = *b"item";
/// The version of what follows it.
pub const VERSION: u32 = 1;

/// In place of [`PROTOCOL`]: no frames behind the two HELLOs ([`unframed`](crate::unframed)).
pub const UNFRAMED: [u8; 4] = *b"bare";
/// In place of [`PROTOCOL`]: every item comes back ([`duplex`](crate::duplex)).
pub const DUPLEX: [u8; 4] = *b"both";
/// The flags that say so, and have to be said to both sides.
pub const FLAGS: [([u8; 4], &str); 2] = [(UNFRAMED, "--unframed"), (DUPLEX, "--duplex")];

/// Where the consumer is to be found over TCP and UDP when it is not told otherwise.
pub const TCP_ADDRESS: &str = "127.0.0.1:7411";

/// Why [`DUPLEX`] is not for UDP.
pub const NO_DUPLEX: &str = "--transport udp may lose an item or its answer, and its producer would wait for ever: --duplex is for connections (unix, abstract, seqpacket, tcp)";

/// The frames of this pair, after HELLO: items of 1 to `max_frame` bytes, and the goodbye.
pub fn rules(max_frame: usize) -> Rules {
    Rules::new([(frame::DATA, 1..=max_frame), (frame::GOODBYE, 8..=8)])
}

/// How two sides can meet. The first is the default.
pub const TRANSPORTS: [&str; 5] = ["unix", "abstract", "seqpacket", "tcp", "udp"];

/// What the other side must be told, so that both meet; `said` is which of the [`FLAGS`] were.
pub fn both_need(transport: &str, addr: Option<&str>, said: [bool; 2]) -> String {
    let mut needs = Vec::new();
    if transport != TRANSPORTS[0] {
        needs.push(format!("--transport {transport}"));
    }
    if ["tcp", "udp"].contains(&transport) {
        needs.push(format!("--addr {}", addr.unwrap_or(TCP_ADDRESS)));
    }
    needs.extend(FLAGS.iter().zip(said).filter(|(_, said)| *said).map(|((_, flag), _)| flag.to_string()));
    needs.join(" ")
}
