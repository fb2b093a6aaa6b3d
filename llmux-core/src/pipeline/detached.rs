//! A request that ends in an orderly way after its caller has dropped it, or does not poll it any more.
//!
//! The future of a request runs in its caller's task. If the caller drops it, or if the time of its snapshot is over
//! (rule O2), the flag is raised and the rest of the future moves to a task of its own. There it notices the flag, runs
//! the hooks that must still run (post hooks, the end of a stream, completion), and ends. So no caller cuts off a hook, no
//! caller keeps a retired instance by not polling, and a request whose caller stays costs no task.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::unconstrained,
};

use crate::cancel::{Cancel, Reason};

/// A future that runs to its end even if it is dropped.
pub(crate) struct Detached<T: Send + 'static> {
    stage: Stage<T>,
    cancel: Cancel,
    /// True once the snapshot's time is over.
    over: Arc<watch::Sender<bool>>,
    runtime: Handle,
}

enum Stage<T> {
    /// Has not waited yet. Many requests never do: a plugin answers them, or a provider that is ready at once.
    New(BoxFuture<'static, T>),
    /// Has waited. The second part wakes the place when the snapshot's time is over.
    Placed(Arc<Place<T>>, BoxFuture<'static, ()>),
    /// Has ended.
    Done,
}

/// The place of a future: in its caller's task, or in one of its own.
struct Place<T> {
    /// Only the end of a snapshot's time contends for it.
    work: Mutex<Work<T>>,
    cancel: Cancel,
    over: Arc<watch::Sender<bool>>,
    runtime: Handle,
}

enum Work<T> {
    /// Waits for a poll of the caller, whose waker it keeps.
    Here(BoxFuture<'static, T>, Waker),
    /// Runs in a task of its own, and the result comes here.
    Away(oneshot::Receiver<T>),
    /// Has ended, or is polled at this moment.
    Taken,
}

impl<T: Send + 'static> Detached<T> {
    /// Wraps a future. `over` is its snapshot's. Must be called inside a tokio runtime.
    pub(crate) fn new(
        cancel: Cancel,
        over: Arc<watch::Sender<bool>>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self { stage: Stage::New(Box::pin(future)), cancel, over, runtime: Handle::current() }
    }

    /// Returns true once the future has ended.
    pub(crate) fn is_done(&self) -> bool {
        match &self.stage {
            Stage::New(_) => false,
            Stage::Placed(place, _) => matches!(*place.work(), Work::Taken),
            Stage::Done => true,
        }
    }
}

impl<T: Send + 'static> Place<T> {
    /// Waits for the end of the snapshot's time, from now on.
    fn watch(self: &Arc<Self>) -> BoxFuture<'static, ()> {
        let mut over = self.over.subscribe();
        // Without a budget: a task that has spent its own would wake the place at once instead of waiting.
        let mut watch = Box::pin(unconstrained(async move {
            // The place keeps the sender.
            let _ = over.wait_for(|over| *over).await;
        }));
        let waker = Waker::from(self.clone());
        if watch.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
        watch
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        loop {
            match self.take() {
                Work::Here(mut future, waker) => {
                    if let Poll::Ready(output) = future.as_mut().poll(cx) {
                        return Poll::Ready(output);
                    }
                    if self.give_back(future, waker, cx) {
                        return Poll::Pending;
                    }
                }
                Work::Away(mut result) => {
                    let polled = Pin::new(&mut result).poll(cx);
                    if polled.is_pending() {
                        *self.work() = Work::Away(result);
                    }
                    // Without a result, the future has panicked.
                    return match polled {
                        Poll::Ready(Ok(output)) => Poll::Ready(output),
                        _ => Poll::Pending,
                    };
                }
                Work::Taken => return Poll::Pending,
            }
        }
    }

    fn work(&self) -> MutexGuard<'_, Work<T>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the work, which nobody else polls then.
    fn take(&self) -> Work<T> {
        std::mem::replace(&mut *self.work(), Work::Taken)
    }

    /// Gives back a future that waits for a poll by the caller's task. Returns false if it has moved to a task of its own,
    /// because the snapshot's time ended meanwhile.
    fn give_back(&self, future: BoxFuture<'static, T>, mut waker: Waker, cx: &Context<'_>) -> bool {
        waker.clone_from(cx.waker());
        let mut work = self.work();
        *work = Work::Here(future, waker);
        let stays = !self.cancel.is(Reason::Retired);
        if !stays {
            self.move_away(&mut work);
        }
        stays
    }

    /// Moves a future that waits to a task of its own. The caller's task is told, so that it waits for the result.
    fn move_away(&self, work: &mut Work<T>) {
        match std::mem::replace(work, Work::Taken) {
            Work::Here(future, waker) => {
                let (sender, result) = oneshot::channel();
                *work = Work::Away(result);
                // The caller may have gone away.
                self.runtime.spawn(async move { drop(sender.send(future.await)) });
                waker.wake();
            }
            other => *work = other,
        }
    }
}

/// The waker that the end of the snapshot's time calls.
impl<T: Send + 'static> Wake for Place<T> {
    fn wake(self: Arc<Self>) {
        if *self.over.borrow() {
            self.cancel.raise(Reason::Retired);
            self.move_away(&mut self.work());
        }
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        // A future that panics is dropped, and is not polled again.
        let (place, watch) = match std::mem::replace(&mut this.stage, Stage::Done) {
            Stage::New(mut future) => {
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                let place = Arc::new(Place {
                    work: Mutex::new(Work::Here(future, cx.waker().clone())),
                    cancel: this.cancel.clone(),
                    over: this.over.clone(),
                    runtime: this.runtime.clone(),
                });
                let watch = place.watch();
                this.stage = Stage::Placed(place, watch);
                return Poll::Pending;
            }
            Stage::Placed(place, watch) => (place, watch),
            Stage::Done => return Poll::Pending,
        };
        let polled = place.poll(cx);
        if polled.is_pending() {
            this.stage = Stage::Placed(place, watch);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        let future = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::New(future) => future,
            Stage::Placed(place, _) => match place.take() {
                Work::Here(future, _) => future,
                _ => return,
            },
            Stage::Done => return,
        };
        self.cancel.raise(Reason::Left);
        self.runtime.spawn(future);
    }
}
