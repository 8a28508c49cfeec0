//! What a shard is sent: commands, and what became of those it handed on.
//!
//! Not a channel, since most of what a shard is sent comes while it runs, some of it from within: it is woken only when it
//! waits, and takes everything at one go.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::{
    job::Job,
    shard::{Appended, Pending},
};

#[allow(clippy::vec_box, reason = "a command is large, and handed on several times after this")]
pub(crate) type Jobs = Vec<Box<Job>>;

/// A mailbox of at most `jobs_max` commands.
pub(crate) fn mailbox(jobs_max: usize) -> (Sender, Receiver) {
    let mailbox = Arc::new(Mailbox { jobs_max, content: Mutex::default(), shard: AtomicWaker::new() });
    (Sender(mailbox.clone()), Receiver { mailbox, is_told: false })
}

struct Mailbox {
    jobs_max: usize,
    content: Mutex<Content>,
    shard: AtomicWaker,
}

#[derive(Default)]
struct Content {
    jobs: Jobs,
    appended: Vec<Appended>,
    /// Nobody is left to send commands.
    is_closed: bool,
    /// Nobody is left to take them.
    is_abandoned: bool,
}

/// The end that commands are sent from. Dropping it closes the mailbox to them.
pub(crate) struct Sender(Arc<Mailbox>);

/// The shard's end. Dropping it drops what was not taken, and what comes later.
pub(crate) struct Receiver {
    mailbox: Arc<Mailbox>,
    /// Whether it was said that there will be no more commands.
    is_told: bool,
}

/// Where what became of a submission is sent to.
#[derive(Clone)]
pub(crate) struct ReturnAddress(Arc<Mailbox>);

/// Why a command was not taken.
pub(crate) enum NotTaken {
    Full(Box<Job>),
    Abandoned(Box<Job>),
}

impl Sender {
    pub(crate) fn send(&self, job: Box<Job>) -> Result<(), NotTaken> {
        {
            let mut content = self.0.content.lock();
            if content.is_abandoned {
                return Err(NotTaken::Abandoned(job));
            }
            if content.jobs.len() >= self.0.jobs_max {
                return Err(NotTaken::Full(job));
            }
            content.jobs.push(job);
        }
        self.0.shard.wake();
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.content.lock().is_closed = true;
        self.0.shard.wake();
    }
}

impl ReturnAddress {
    pub(crate) fn send(self, pending: Vec<Pending>, result: command_database::Answer) {
        let appended = Appended { pending, result };
        {
            let mut content = self.0.content.lock();
            if content.is_abandoned {
                // Those who wait hear that nobody knows.
                drop(content);
                return drop(appended);
            }
            content.appended.push(appended);
        }
        self.0.shard.wake();
    }
}

impl Receiver {
    pub(crate) fn return_address(&self) -> ReturnAddress {
        ReturnAddress(self.mailbox.clone())
    }

    /// Waits until there is something, and puts all of it into `jobs` and `appended`, which are empty. Returns whether more
    /// commands may come; that there are none left to come is something to be told once.
    pub(crate) async fn receive(&mut self, jobs: &mut Jobs, appended: &mut Vec<Appended>) -> bool {
        poll_fn(|context| self.poll_receive(context, jobs, appended)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>, jobs: &mut Jobs, appended: &mut Vec<Appended>) -> Poll<bool> {
        if let Some(is_open) = self.take(jobs, appended) {
            // It runs now, and looks again before it waits: what comes until then need not wake it.
            self.mailbox.shard.take();
            return Poll::Ready(is_open);
        }
        self.mailbox.shard.register(context.waker());
        // What came before the waker was there woke nobody.
        self.take(jobs, appended).map_or(Poll::Pending, Poll::Ready)
    }

    fn take(&mut self, jobs: &mut Jobs, appended: &mut Vec<Appended>) -> Option<bool> {
        let mut content = self.mailbox.content.lock();
        let is_news = content.is_closed && !self.is_told;
        if content.jobs.is_empty() && content.appended.is_empty() && !is_news {
            return None;
        }
        self.is_told = content.is_closed;
        std::mem::swap(&mut content.jobs, jobs);
        std::mem::swap(&mut content.appended, appended);
        Some(!content.is_closed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let left = {
            let mut content = self.mailbox.content.lock();
            content.is_abandoned = true;
            (std::mem::take(&mut content.jobs), std::mem::take(&mut content.appended))
        };
        // Outside of the lock: whoever waits for an answer is woken by it.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        task::{Context, Wake, Waker},
    };

    use futures_util::FutureExt;

    use super::{Receiver, mailbox};

    /// Whether more may come, and how much came, if anything did.
    fn receive(receiver: &mut Receiver) -> Option<(bool, usize)> {
        let (mut jobs, mut appended) = (Vec::new(), Vec::new());
        let open = receiver.receive(&mut jobs, &mut appended).now_or_never()?;
        Some((open, jobs.len() + appended.len()))
    }

    #[test]
    fn what_was_sent_is_taken_at_one_go_and_the_end_is_told_once() {
        let (sender, mut receiver) = mailbox(10);
        assert_eq!(receive(&mut receiver), None, "nothing yet");
        for _ in 0..3 {
            receiver.return_address().send(Vec::new(), Ok(Vec::new()));
        }
        assert_eq!(receive(&mut receiver), Some((true, 3)));
        drop(sender);
        assert_eq!([receive(&mut receiver), receive(&mut receiver)], [Some((false, 0)), None]);
        receiver.return_address().send(Vec::new(), Ok(Vec::new()));
        assert_eq!(receive(&mut receiver), Some((false, 1)), "what was under way comes back all the same");
    }

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_shard_is_woken_only_while_it_waits() {
        let (_sender, mut receiver) = mailbox(10);
        let returns = receiver.return_address();
        let woken = Arc::new(Counted::default());
        let waker = Waker::from(woken.clone());
        let (mut jobs, mut appended) = (Vec::new(), Vec::new());
        let mut poll = |receiver: &mut Receiver| {
            appended.clear();
            pin!(receiver.receive(&mut jobs, &mut appended)).poll(&mut Context::from_waker(&waker)).is_ready()
        };
        assert!(!poll(&mut receiver));
        for _ in 0..2 {
            returns.clone().send(Vec::new(), Ok(Vec::new()));
        }
        assert_eq!(woken.0.load(Relaxed), 1, "once for both");
        assert!(poll(&mut receiver));
        returns.clone().send(Vec::new(), Ok(Vec::new()));
        assert_eq!(woken.0.load(Relaxed), 1, "it runs, and will look again");
        assert!(poll(&mut receiver) && !poll(&mut receiver));
        returns.send(Vec::new(), Ok(Vec::new()));
        assert_eq!(woken.0.load(Relaxed), 2);
    }
}
