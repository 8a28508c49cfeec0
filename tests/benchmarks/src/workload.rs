//! The workload of every figure about commands: orders that are placed with one to three lines, paid and shipped, about
//! 250 bytes of JSON an event, each order a stream of its own.

use std::fmt::Write as _;

use crate::Request;

/// Orders of one run; `prefix` keeps the runs' orders apart.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Begins every order's id.
    pub prefix: String,
    /// Whether each command has an idempotency key of its own.
    pub keyed: bool,
}

/// What payers and carriers are told: ordinary text, so that their events are as long as that of an order of two lines.
const PAYER_NOTE: &str = "Paid by transfer as agreed on the telephone this morning; please send the receipt to the accounts \
                          department and not to the shop, and mind the new address, which holds from the first of next month";
const CARRIER_NOTE: &str = "Two boxes, one of them marked fragile; the yard is open from seven to four, ring at the side door, \
                            and leave nothing with the neighbours: they have been told, and will not sign for it any more";

const STEPS: [&str; 3] = ["place", "pay", "ship"];

impl Journey {
    /// The path and the body of the `index`-th command of a connection.
    #[must_use]
    pub fn command(&self, connection: usize, index: usize) -> (String, String) {
        let (order, step) = (index / STEPS.len(), index % STEPS.len());
        let path = format!("/commands/order/{}-{connection}-{order}/{}", self.prefix, STEPS[step]);
        let lines = 1 + order % 3;
        let body = match step {
            0 => placed(connection + order, lines),
            1 => format!(r#"{{"amount":"{}.000","note":"{PAYER_NOTE}"}}"#, 10 * lines),
            _ => format!(r#"{{"carrier":"post","note":"{CARRIER_NOTE}"}}"#),
        };
        (path, body)
    }
}

fn placed(seed: usize, lines: usize) -> String {
    let mut body = format!(r#"{{"customer":"{}","country":"United Kingdom","lines":["#, 13_000 + seed % 1_000);
    for line in 1..=lines {
        let comma = if line > 1 { "," } else { "" };
        let stock = 20_000 + (seed * 7 + line * 131) % 3_000;
        // Writing to a String does not fail.
        let _ = write!(
            body,
            r#"{comma}{{"line":{line},"stock_code":"{stock}","description":"WHITE HANGING HEART","quantity":4,"price":"2.500","time":"2009-12-01T07:45:00"}}"#
        );
    }
    body.push_str("]}");
    body
}

impl Request for Journey {
    fn write(&self, connection: usize, index: usize, out: &mut Vec<u8>) {
        let (path, body) = self.command(connection, index);
        let key = if self.keyed {
            format!("Idempotency-Key: \"{}-{connection}-{index}\"\r\n", self.prefix)
        } else {
            String::new()
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
    }
}

/// Writes a GET of `path`.
pub fn get(path: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
}
