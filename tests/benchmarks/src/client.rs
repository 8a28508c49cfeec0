//! A closed loop of HTTP/1.1 over kept connections: each sends its next request when it has the answer to the last.
//!
//! It parses no more than it needs (status, length), so that on two cores most of the time is the server's.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Writes the `index`-th request of connection `connection` to `out`.
pub trait Request: Send + Sync + 'static {
    /// Whole, with head and body.
    fn write(&self, connection: usize, index: usize, out: &mut Vec<u8>);
}

impl<F: Fn(usize, usize, &mut Vec<u8>) + Send + Sync + 'static> Request for F {
    fn write(&self, connection: usize, index: usize, out: &mut Vec<u8>) {
        self(connection, index, out);
    }
}

/// One run of load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections, each with one request under way.
    pub connections: usize,
    /// Requests that each connection sends at the most.
    pub requests_max: usize,
    /// When to stop, at the latest.
    pub time_max: Duration,
    /// The first index given to [`Request::write`].
    pub first: usize,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Run {
    /// Answers with a status of 2xx or 304.
    pub answered: usize,
    /// Others.
    pub failed: usize,
    /// The first other answer's head, for people.
    pub first_failure: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of each answer, ascending.
    pub latencies: Vec<Duration>,
}

impl Run {
    /// Answers a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

impl Load {
    /// Runs it on one thread of its own.
    ///
    /// # Errors
    /// When the server cannot be reached or closes a connection.
    pub fn run(self, address: SocketAddr, request: impl Request) -> io::Result<Run> {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        threads.block_on(self.drive(address, std::sync::Arc::new(request)))
    }

    async fn drive(self, address: SocketAddr, request: std::sync::Arc<dyn Request>) -> io::Result<Run> {
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let began = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(index, stream)| tokio::spawn(connection(self, index, stream, request.clone(), began)))
            .collect();
        let mut run =
            Run { answered: 0, failed: 0, first_failure: None, elapsed: Duration::ZERO, latencies: Vec::new() };
        for task in tasks {
            let (latencies, failed, first_failure) = task.await.map_err(io::Error::other)??;
            run.answered += latencies.len();
            run.failed += failed;
            run.first_failure = run.first_failure.or(first_failure);
            run.latencies.extend(latencies);
        }
        run.elapsed = began.elapsed();
        run.latencies.sort_unstable();
        Ok(run)
    }
}

type Connection = (Vec<Duration>, usize, Option<String>);

async fn connection(
    load: Load,
    connection: usize,
    mut stream: TcpStream,
    request: std::sync::Arc<dyn Request>,
    began: Instant,
) -> io::Result<Connection> {
    let mut latencies = Vec::new();
    let (mut failed, mut first_failure) = (0, None);
    let (mut out, mut answer) = (Vec::with_capacity(2048), Vec::with_capacity(64 * 1024));
    for index in load.first..load.first + load.requests_max {
        if began.elapsed() >= load.time_max {
            break;
        }
        out.clear();
        request.write(connection, index, &mut out);
        let sent = Instant::now();
        stream.write_all(&out).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        if (200..300).contains(&status) || status == 304 {
            latencies.push(sent.elapsed());
        } else {
            failed += 1;
            first_failure.get_or_insert_with(|| String::from_utf8_lossy(&answer).into_owned());
        }
    }
    Ok((latencies, failed, first_failure))
}

async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<u16> {
    answer.clear();
    loop {
        if let Some(head) = find(answer, b"\r\n\r\n") {
            let end = head + 4 + length(&answer[..head + 2]);
            while answer.len() < end {
                if stream.read_buf(answer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            return status.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn length(head: &[u8]) -> usize {
    let name = b"content-length:";
    let place = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name));
    let digits = place.map(|place| &head[place + name.len()..]).unwrap_or_default();
    let digits = digits.iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

/// One connection, one request at a time, without a runtime: for latencies of single steps.
#[derive(Debug)]
pub struct Blocking {
    stream: std::net::TcpStream,
    answer: Vec<u8>,
}

impl Blocking {
    /// # Errors
    /// When the server cannot be reached.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// Sends a whole request and returns the status of its answer.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        use io::{Read, Write};
        self.stream.write_all(request)?;
        self.answer.clear();
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&buffer[..read]);
            let Some(head) = find(&self.answer, b"\r\n\r\n") else { continue };
            if self.answer.len() >= head + 4 + length(&self.answer[..head + 2]) {
                let status = self.answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                return status.ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
        }
    }
}
