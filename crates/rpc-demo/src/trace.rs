//! What the bytes of a call mean, field by field: for whoever wants to see a stub's work.
//!
//! ```text
//!    frame  24 00 00 00 04 00 00 00                          36 bytes of kind 4, REQUEST
//!        0  5b 1f 07 c2 90 44 a8 3e                          stream: which client
//!        8  01 00 00 00 00 00 00 00                          call 1
//!       16  03 00 00 00                                      procedure 3, stats
//!        …
//! ```
//!
//! The numbers on the left are offsets in the frame's body, as in `docs/wire-format.md`.

use std::fmt::{self, Write};

use socket_demo::frame::{self, REPLY, REQUEST};

use crate::marshal::Unmarshal;
use crate::message::{REPLY_HEADER, REQUEST_HEADER, ReplyHeader, RequestHeader, Semantics};
use crate::service::{self, Fault};

/// How many bytes of arguments or of a result are shown.
const SHOWN: usize = 128;

/// The frame of a request with this body, line by line.
pub fn request(body: &[u8]) -> String {
    let header = RequestHeader::unmarshal(&mut Unmarshal::new(body)).unwrap_or_default();
    let semantics = Semantics::from_number(header.semantics);
    let mut table = Table::of_frame(REQUEST, "REQUEST", body);
    table.field(0..8, format_args!("stream: which client"));
    table.field(8..16, format_args!("call {}", header.call));
    table.field(16..20, format_args!("procedure {}, {}", header.procedure, service::name(header.procedure)));
    table.field(20..24, format_args!("{}", semantics.map_or("no semantics".into(), |s| s.to_string())));
    table.field(24..28, format_args!("attempt {}", header.attempt));
    table.rest(REQUEST_HEADER, "arguments")
}

/// The frame of a reply with this body, line by line.
pub fn reply(body: &[u8]) -> String {
    let header = ReplyHeader::unmarshal(&mut Unmarshal::new(body)).unwrap_or_default();
    let mut table = Table::of_frame(REPLY, "REPLY", body);
    table.field(0..8, format_args!("call {}", header.call));
    table.field(8..12, format_args!("pid {}", header.pid));
    match header.status {
        0 => table.field(12..16, format_args!("status 0: it ran")),
        status => table.field(12..16, format_args!("status {status}: {}", Fault::from_status(status))),
    }
    table.rest(REPLY_HEADER, "result")
}

struct Table<'a> {
    body: &'a [u8],
    text: String,
}

impl Table<'_> {
    fn of_frame<'a>(kind: u32, name: &str, body: &'a [u8]) -> Table<'a> {
        let mut table = Table { body, text: String::new() };
        let header = frame::header(kind, body.len()).unwrap_or_default();
        table.row("frame", &header, format_args!("{} bytes of kind {kind}, {name}", body.len()));
        table
    }

    fn field(&mut self, at: std::ops::Range<usize>, meaning: fmt::Arguments<'_>) {
        let bytes = self.body.get(at.clone()).unwrap_or_default();
        self.row(&at.start.to_string(), bytes, meaning);
    }

    fn rest(mut self, at: usize, meaning: &str) -> String {
        let bytes = self.body.get(at..).unwrap_or_default();
        for (i, row) in bytes[..bytes.len().min(SHOWN)].chunks(16).enumerate() {
            let meaning = if i == 0 { meaning } else { "" };
            self.row(&(at + 16 * i).to_string(), row, format_args!("{meaning}"));
        }
        if bytes.len() > SHOWN {
            let _ = writeln!(self.text, "{:>9}  and {} bytes more", at + SHOWN, bytes.len() - SHOWN);
        }
        self.text.truncate(self.text.trim_end().len());
        self.text
    }

    fn row(&mut self, offset: &str, bytes: &[u8], meaning: fmt::Arguments<'_>) {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let row = format!("{offset:>9}  {:<47}  {meaning}", hex.join(" "));
        let _ = writeln!(self.text, "{}", row.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marshal::Marshal;

    #[test]
    fn every_byte_is_shown_once() {
        let mut bytes = Marshal::default();
        let header = RequestHeader { stream: 7, call: 1, procedure: 2, semantics: 2, attempt: 1 };
        header.marshal(&mut bytes).i64s(&[1, 2]);
        let text = request(bytes.bytes());
        let hex: Vec<u8> = text
            .lines()
            .flat_map(|line| line[11..line.len().min(58)].split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
            .collect();
        assert_eq!(hex[..8], [48, 0, 0, 0, 4, 0, 0, 0]);
        assert_eq!(&hex[8..], bytes.bytes());
        assert!(text.contains("procedure 2, sum") && text.contains("at-most-once"), "{text}");
    }

    #[test]
    fn long_arguments_are_cut() {
        let mut bytes = Marshal::default();
        RequestHeader::default().marshal(&mut bytes).raw(&[0; 1000]);
        let text = request(bytes.bytes());
        assert!(text.ends_with("156  and 872 bytes more"), "{text}");
    }
}
