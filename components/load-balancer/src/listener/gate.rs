use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::Stream;

use super::{
    head::{Framing, Head, Progress},
    watch::{Exchange, Watch},
};
use crate::refusal::Refusal;

/// Stands between the socket and hyper, and lets one head through at a time, complete and unambiguous.
///
/// In the ordinary case a read brings exactly one request: it is looked at in hyper's own buffer and stays there. Only
/// what may not pass yet is copied aside: an incomplete head, and whatever follows a request before its answer is out.
///
/// A head that is refused never reaches hyper. It sees the end of the stream instead, closes, and the connection's task
/// takes the socket back to give the answer. What hyper itself refuses ends the same way, see [`Gate::poll_write`].
pub(super) struct Gate {
    stream: Stream,
    watch: Arc<Watch>,
    reading: Reading,
    /// Bytes that came and have not passed. The first `approved` of them may.
    held: BytesMut,
    approved: usize,
    /// hyper asked for a head that may not pass yet, and is to be woken when it may.
    is_awaited: bool,
    refusal: Option<Refusal>,
}

/// A connection after hyper.
pub(super) struct Remains {
    pub(super) stream: Stream,
    /// The answer that is still owed.
    pub(super) refusal: Option<Refusal>,
    /// Whether the peer may still be sending what nobody will read.
    pub(super) is_answer_at_risk: bool,
}

enum Reading {
    Head(Head),
    Body {
        left: u64,
    },
    /// A chunked body, whose end only hyper sees; the connection closes after it.
    Last,
}

/// How much is read at a time while a head is incomplete.
const PIECE_BYTES: usize = 4096;

impl Gate {
    pub(super) fn new(stream: Stream, watch: Arc<Watch>) -> Self {
        Self {
            stream,
            watch,
            reading: Reading::Head(Head::default()),
            held: BytesMut::new(),
            approved: 0,
            is_awaited: false,
            refusal: None,
        }
    }

    /// What is left once hyper is done.
    pub(super) fn into_remains(self) -> Remains {
        let is_between_requests = self.held.is_empty() && matches!(self.reading, Reading::Head(_));
        let is_answer_at_risk = self.refusal.is_some() || !is_between_requests;
        Remains { stream: self.stream, refusal: self.refusal, is_answer_at_risk }
    }

    fn poll_head(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.watch.is(Exchange::Quiet) {
            self.is_awaited = true;
            return Poll::Pending;
        }
        if self.held.is_empty() {
            let start = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if buffer.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            let passing = self.inspect(&buffer.filled()[start..]);
            self.held.extend_from_slice(&buffer.filled()[start + passing..]);
            buffer.set_filled(start + passing);
            if passing > 0 || self.refusal.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_held_head(context, buffer)
    }

    /// Completes a head of which some has come before.
    fn poll_held_head(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let held = std::mem::take(&mut self.held);
            self.approved = self.inspect(&held);
            self.held = held;
            if self.approved > 0 || self.refusal.is_some() {
                self.pass_held(buffer);
                return Poll::Ready(Ok(()));
            }
            self.watch.head_began();
            let mut piece = [std::mem::MaybeUninit::uninit(); PIECE_BYTES];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(piece.filled());
        }
    }

    /// Reads on in the head that `bytes` begin with. Returns how many of them may pass: a complete head and what there is
    /// of its body, or nothing.
    fn inspect(&mut self, bytes: &[u8]) -> usize {
        let Reading::Head(head) = &mut self.reading else { return 0 };
        match head.advance(bytes, self.watch.limits()) {
            Progress::Partial => 0,
            Progress::Refused(refusal) => {
                self.refusal = Some(refusal);
                0
            }
            Progress::Complete { length, framing } => {
                self.watch.release();
                self.reading = match framing {
                    Framing::Length(left) => Reading::Body { left },
                    Framing::Chunked => Reading::Last,
                };
                length + self.count_body(bytes.len() - length)
            }
        }
    }

    /// Takes note of up to `available` bytes of body, and returns how many of them are body.
    fn count_body(&mut self, available: usize) -> usize {
        let taken = match &mut self.reading {
            Reading::Head(_) => 0,
            Reading::Last => available,
            Reading::Body { left } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
                *left -= taken as u64;
                taken
            }
        };
        if taken > 0 {
            self.watch.body_came(taken);
        }
        if matches!(self.reading, Reading::Body { left: 0 }) {
            self.reading = Reading::Head(Head::default());
        }
        taken
    }

    fn pass_held(&mut self, buffer: &mut ReadBuf<'_>) {
        let passing = self.approved.min(buffer.remaining());
        buffer.put_slice(&self.held[..passing]);
        self.held.advance(passing);
        self.approved -= passing;
    }

    fn poll_body(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) else {
            self.watch.body_is_wanted();
            return Poll::Pending;
        };
        read?;
        let body = self.count_body(buffer.filled().len() - start);
        self.held.extend_from_slice(&buffer.filled()[start + body..]);
        buffer.set_filled(start + body);
        Poll::Ready(Ok(()))
    }

    /// Whether what hyper writes is its own refusal of the head it was given. Nothing else can be: the head before is
    /// answered and flushed, and the service has not been called.
    fn is_refused_by_hyper(&mut self) -> bool {
        let refused = self.watch.is(Exchange::Released);
        if refused {
            self.refusal = Some(Refusal::Malformed("the head is not one of HTTP/1.1"));
        }
        refused || self.refusal.is_some()
    }

    fn note_write<T>(&self, written: Poll<T>) -> Poll<T> {
        match written {
            Poll::Pending => self.watch.write_stalls(),
            Poll::Ready(_) => self.watch.write_goes_on(),
        }
        written
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.approved > 0 {
            this.pass_held(buffer);
            return Poll::Ready(Ok(()));
        }
        match this.reading {
            Reading::Head(_) => this.poll_head(context, buffer),
            Reading::Body { .. } | Reading::Last => this.poll_body(context, buffer),
        }
    }
}

impl AsyncWrite for Gate {
    /// hyper answers a head that it cannot parse with an empty body. That answer is swallowed: ours takes its place.
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refused_by_hyper() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refused_by_hyper() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once its buffer is empty: an answer that has ended is out then, and the next head may pass.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.flush() && self.is_awaited {
            self.is_awaited = false;
            context.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
