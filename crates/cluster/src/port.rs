use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// A loopback port that nobody listens on at the moment. Somebody else may take it first: whoever uses it tries another then.
pub(crate) fn free() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits until somebody accepts connections there; `false` when `is_alive` says that nobody ever will, or time is up.
pub(crate) fn wait(port: u16, span: Duration, is_alive: impl FnMut() -> bool) -> bool {
    wait_until(span, is_alive, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
}

/// As [`wait`], until a PostgreSQL begins a session: it accepts connections before that, and says that it is starting up.
pub(crate) fn wait_for_postgres(port: u16, user: &str, span: Duration, is_alive: impl FnMut() -> bool) -> bool {
    wait_until(span, is_alive, || begins_session(port, user).unwrap_or(false))
}

/// Asks for a session as the frontend protocol (3.0) has it. An error begins with E, everything else with R.
fn begins_session(port: u16, user: &str) -> io::Result<bool> {
    let mut asked = 196_608_u32.to_be_bytes().to_vec();
    asked.extend(format!("user\0{user}\0database\0postgres\0\0").bytes());
    let length = u32::try_from(asked.len() + 4).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&[&length.to_be_bytes(), &*asked].concat())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"R")
}

/// Waits until `/readyz` at this port says that all is ready.
pub(crate) fn wait_until_ready(port: u16, span: Duration, is_alive: impl FnMut() -> bool) -> bool {
    wait_until(span, is_alive, || is_ready(port).unwrap_or(false))
}

fn is_ready(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status == *b"HTTP/1.1 200")
}

fn wait_until(span: Duration, mut is_alive: impl FnMut() -> bool, answers: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < span && is_alive() {
        if answers() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
