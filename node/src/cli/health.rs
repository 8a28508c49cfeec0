//! `health`: one health page of a running system as an exit code, for probes that cannot speak HTTP themselves: a container
//! has nothing but this program.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a client at the edge has a socket of its own")]

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use clap::{Arg, ArgMatches, Command};

use super::{FAILED, fail, output};
use crate::Error;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

pub(super) fn command() -> Command {
    Command::new("health")
        .about("Asks the running system for one health page: 0 all is well, 1 something is missing, 4 nobody answers")
        .arg(Arg::new("page").value_parser(["livez", "readyz", "startupz"]).default_value("readyz"))
}

/// `admin` is where the system serves its pages.
pub(super) fn run(arguments: &ArgMatches, admin: SocketAddr) -> ExitCode {
    let page = arguments.get_one::<String>("page").map_or("readyz", String::as_str);
    let address = SocketAddr::new(nearby(admin.ip()), admin.port());
    match ask(address, page) {
        Ok((is_well, said)) => output::print_last(&said, if is_well { ExitCode::SUCCESS } else { FAILED.into() }),
        Err(error) => fail(&Error::Unreachable { url: format!("http://{address}/{page}"), source: error.into() }),
    }
}

/// Who listens on all addresses is asked on this machine's own.
fn nearby(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn ask(address: SocketAddr, page: &str) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    write!(stream, "GET /{page}?verbose HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    read(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers there is no system's health page"))
}

/// Whether a whole answer says that all is well, and its text.
fn read(answer: &str) -> Option<(bool, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    match head.strip_prefix("HTTP/1.1 ")?.split_once(' ')?.0 {
        "200" => Some((true, body.to_owned())),
        "503" => Some((false, body.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_well_missing_something_or_no_health_page() {
        for (answer, read_as) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nok\n", Some((true, "ok\n"))),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready\n", Some((false, "not ready\n"))),
            ("HTTP/1.1 404 Not Found\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH", None),
        ] {
            assert_eq!(read(answer), read_as.map(|(well, text)| (well, text.to_owned())), "{answer}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        for (listen, asked) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")] {
            let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(nearby(ip(listen)), ip(asked));
        }
    }
}
