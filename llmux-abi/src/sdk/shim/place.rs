//! The place of a hook's future: the memory that the host lends to the call, if the future fits.
//!
//! # Soundness
//!
//! The host lends the memory until the hook is ready, or the future that it was given is dropped. That future owns the
//! [`Placed`], which drops in place. Nothing else writes to the memory in the meantime, and the memory does not move.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use crate::raw::flow::RawMemory;

/// A future that does not move, in lent memory or in memory of its own.
pub(super) enum Placed<'a, F> {
    Lent(Lent<'a, F>),
    Own(Pin<Box<F>>),
}

impl<'a, F: Future> Placed<'a, F> {
    /// Puts a future into its place.
    #[inline]
    pub(super) fn new(memory: RawMemory<'a>, future: impl FnOnce() -> F) -> Self {
        let start = memory.start.cast::<F>();
        match NonNull::new(start).filter(|it| it.is_aligned() && size_of::<F>() <= memory.size) {
            Some(place) => {
                // SAFETY: the place is large enough, aligned, and lent for this future alone.
                unsafe { place.write(future()) };
                Self::Lent(Lent { place, lent: PhantomData })
            }
            None => Self::Own(Box::pin(future())),
        }
    }

    /// Returns the future where it lies.
    #[inline]
    pub(super) fn pinned(&mut self) -> Pin<&mut F> {
        match self {
            // SAFETY: initialized in `new`, dropped with `self`, and never moved.
            Self::Lent(lent) => unsafe { Pin::new_unchecked(lent.place.as_mut()) },
            Self::Own(future) => future.as_mut(),
        }
    }
}

impl<F: Future> Future for Placed<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.get_mut().pinned().poll(cx)
    }
}

/// A future in lent memory.
pub(super) struct Lent<'a, F> {
    place: NonNull<F>,
    lent: PhantomData<&'a mut F>,
}

// SAFETY: it owns the future, as a box would.
unsafe impl<F: Send> Send for Lent<'_, F> {}

impl<F> Drop for Lent<'_, F> {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, and dropped here alone.
        unsafe { self.place.drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        mem::MaybeUninit,
        sync::atomic::{AtomicU32, Ordering},
        task::Waker,
    };

    use super::*;

    #[repr(align(16))]
    struct Memory([MaybeUninit<u8>; 256]);

    fn lend(memory: &mut Memory, size: usize) -> RawMemory<'_> {
        RawMemory { start: memory.0.as_mut_ptr().cast(), size, lent: PhantomData }
    }

    struct Counted<'c>(&'c AtomicU32);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_that_fits_lies_in_the_lent_memory_and_is_dropped_once() {
        let mut memory = Memory([MaybeUninit::uninit(); 256]);
        let drops = AtomicU32::new(0);
        for (size, is_lent) in [(256, true), (16, false), (0, false)] {
            drops.store(0, Ordering::Relaxed);
            let mut placed = Placed::new(lend(&mut memory, size), || {
                let (counted, room) = (Counted(&drops), [7_u8; 32]);
                async move {
                    let _kept = (counted, room);
                    pending::<()>().await;
                }
            });
            assert_eq!(matches!(placed, Placed::Lent(_)), is_lent, "{size} bytes");
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut placed).poll(&mut cx).is_pending());
            assert_eq!(drops.load(Ordering::Relaxed), 0);
            drop(placed);
            assert_eq!(drops.load(Ordering::Relaxed), 1, "{size} bytes");
        }
    }

    #[test]
    fn memory_that_is_not_there_or_not_aligned_is_not_used() {
        let mut memory = Memory([MaybeUninit::uninit(); 256]);
        let nothing = RawMemory { start: std::ptr::null_mut(), size: 0, lent: PhantomData };
        assert!(matches!(Placed::new(nothing, pending::<()>), Placed::Own(_)));
        let lent = lend(&mut memory, 256);
        let odd = RawMemory { start: lent.start.wrapping_add(1), size: 200, lent: PhantomData };
        let number = 7_u64;
        let future = || async move {
            pending::<()>().await;
            number
        };
        assert!(matches!(Placed::new(odd, future), Placed::Own(_)));
    }
}
