//! The paused time of tests in a child process: its clock, and the count of the work in the process (rule I1).
//!
//! `isolation::child` makes it if the host asks for it, and `host` reads it. The clock moves only when the host says so. The
//! host does so only while nothing in this process can run. Deliberately absent: threads that a plugin starts itself, whose work
//! is not counted.

use std::{
    collections::BTreeMap,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{future::BoxFuture, task::AtomicWaker};
use tokio::{runtime::Handle, task::JoinHandle};

/// Receives the number of frames read so far, and the time at which the first sleep ends, in nanoseconds.
type Idle = Box<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// Time that stands while something in this process runs.
pub(crate) struct Paused {
    state: Mutex<State>,
    idle: Idle,
}

#[derive(Default)]
struct State {
    /// Nanoseconds since the zero of the host's clock.
    now: u64,
    /// Number of frames that were read.
    read: u64,
    /// Number of parts of the process that run, or can run.
    work: usize,
    /// The wakers of the sleeps, by their end and their number.
    sleeps: BTreeMap<(u64, u64), Waker>,
    /// Number of the next sleep.
    next: u64,
}

impl Paused {
    /// Makes a clock. `idle` is called each time that nothing can run any more.
    pub(crate) fn new(idle: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), idle: Box::new(idle) })
    }

    /// Counts a frame that was read. Its handling is work.
    pub(crate) fn read(self: &Arc<Self>) -> Busy {
        self.state().read += 1;
        self.busy()
    }

    /// Counts work until the result is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.state().work += 1;
        Busy(self.clone())
    }

    pub(crate) fn now(&self) -> u64 {
        self.state().now
    }

    /// Sets the clock, and wakes the sleeps that are over.
    pub(crate) fn set(&self, now: u64) {
        let over = {
            let mut state = self.state();
            state.now = now;
            let later = state.sleeps.split_off(&(now.saturating_add(1), 0));
            mem::replace(&mut state.sleeps, later)
        };
        over.into_values().for_each(Waker::wake);
    }

    /// Returns a future that ends after this time.
    pub(crate) fn sleep(self: &Arc<Self>, time: Duration) -> Sleep {
        let mut state = self.state();
        state.next += 1;
        let end = state.now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Sleep { paused: self.clone(), key: (end, state.next) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that is counted.
pub(crate) struct Busy(Arc<Paused>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.work -= 1;
        if state.work == 0 {
            // Under the lock, so that a later message is sent later.
            (self.0.idle)(state.read, state.sleeps.keys().next().map(|(end, _)| *end));
        }
    }
}

/// A wait on the paused clock.
pub(crate) struct Sleep {
    paused: Arc<Paused>,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.paused.state();
        if state.now >= self.key.0 {
            return Poll::Ready(());
        }
        let before = state.sleeps.insert(self.key, cx.waker().clone());
        // The last waker of a task counts it.
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.paused.state().sleeps.remove(&self.key);
        drop(waker);
    }
}

/// Starts a task. If time is paused, the task is work for as long as it can run.
pub(crate) fn spawn(
    runtime: &Handle,
    paused: Option<&Arc<Paused>>,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    match paused {
        None => runtime.spawn(task),
        Some(paused) => {
            let turn = Mutex::new(Turn { busy: Some(paused.busy()), is_over: false });
            let woken = Arc::new(Woken { paused: paused.clone(), turn, waker: AtomicWaker::new() });
            runtime.spawn(Counted { task: Box::pin(task), woken: Over(woken) })
        }
    }
}

/// A task whose work is counted.
struct Counted {
    task: BoxFuture<'static, ()>,
    /// Dropped after the task.
    woken: Over,
}

/// The waker of a task. A task that is woken is work until the next poll ends.
struct Woken {
    paused: Arc<Paused>,
    turn: Mutex<Turn>,
    waker: AtomicWaker,
}

struct Turn {
    /// `None` if the task waits, or runs and has not been woken since its poll began.
    busy: Option<Busy>,
    is_over: bool,
}

impl Woken {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let woken = self.woken.0.clone();
        woken.waker.register(cx.waker());
        let _running = woken.paused.busy();
        let woken_before = woken.turn().busy.take();
        drop(woken_before);
        let waker = Waker::from(woken.clone());
        self.task.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        {
            let mut turn = self.turn();
            if !turn.is_over && turn.busy.is_none() {
                turn.busy = Some(self.paused.busy());
            }
        }
        self.waker.wake();
    }
}

/// Ends the count of a task that is over.
struct Over(Arc<Woken>);

impl Drop for Over {
    fn drop(&mut self) {
        let turn = mem::replace(&mut *self.0.turn(), Turn { busy: None, is_over: true });
        drop(turn);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    /// Runs the ready tasks of this runtime.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn i1_a_child_is_idle_when_no_counted_task_can_run() {
        let (idle, told) = mpsc::channel();
        let paused = Paused::new(move |read, next| idle.send((read, next)).expect("a receiver"));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sleeper = paused.clone();
        let frame = paused.read();
        let task = spawn(&Handle::current(), Some(&paused), async move {
            sleeper.sleep(Duration::from_nanos(5)).await;
            receiver.await.expect("a sender");
            assert_eq!(sleeper.sleep(Duration::from_nanos(7)).now_or_never(), None, "it is polled once");
        });
        drop(frame);
        assert_eq!(told.try_recv().ok(), None, "the task can run");
        settle().await;
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(1, Some(5))]);
        let frame = paused.read();
        paused.set(4);
        drop(frame);
        assert_eq!(told.try_recv(), Ok((2, Some(5))), "its time has not come");
        let frame = paused.read();
        paused.set(5);
        drop(frame);
        assert_eq!(told.try_recv().ok(), None, "the task is woken and has not run");
        settle().await;
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(3, None)]);
        sender.send(()).expect("the task waits");
        assert_eq!(told.try_recv().ok(), None, "the task is woken and has not run");
        settle().await;
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(3, None)], "the sleep was dropped");
        assert!(task.is_finished());
    }
}
